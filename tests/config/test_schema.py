from __future__ import annotations

from typing import get_args

from snnlab.config import schema
from snnlab.data import ablation
from snnlab.kernels import function


def test_the_backends_are_those_of_the_kernels() -> None:
    assert schema.Backend == function.Backend


def test_the_controls_are_those_of_the_data() -> None:
    assert schema.Control == ablation.Control
    assert set(get_args(schema.Control)) == set(ablation.CONTROL_TEXTS)
