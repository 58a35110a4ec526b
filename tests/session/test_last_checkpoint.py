"""The versions of the kernels in the checkpoint of a run."""

from __future__ import annotations

from typing import Any

import pytest

from snnlab.kernels import function
from snnlab.session.last_checkpoint import changed_kernels


@pytest.mark.parametrize(
    ("node", "backend", "found"),
    [
        ({"kernels": 1}, "auto", (1, 3)),
        ({"kernels": 3}, "auto", ()),
        ({"kernels": 3}, "numba", ()),
        ({"kernels": None}, "reference", ()),
        ({"kernels": "a stranger's"}, "auto", (None, 3)),
        ({}, "auto", ()),  # without a checkpoint the run starts from the beginning
    ],
)
def test_the_plain_loop_has_no_versions(
    node: dict[str, Any], backend: function.Backend, found: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(function, "KERNEL_VERSION", 3)
    assert changed_kernels(node, backend) == found
