"""For every test one seed, one thread, and rendered loops in Python."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from snnlab.kernels import function


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one thread: small tensors are slower on several, which wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _loops_in_python(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run the rendered loops as Python, with the same results: compiling one takes longer than the rest of a test.

    A test with the mark `compiled` runs them compiled, and so does one with `slow`, which has long inputs.
    """
    if any(request.node.get_closest_marker(name) for name in ("compiled", "slow")):
        yield
        return
    with function._kernels_in_mode("python"), np.errstate(all="ignore"):
        yield
