from __future__ import annotations

from snnlab.config import schema
from snnlab.nn.kernels import ops


def test_the_backends_are_those_that_there_are() -> None:
    assert schema.Backend == ops.Backend
