"""The compiled walks against the plain loop."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cases import Case
from equality import CASES, check

from snnlab.nn.kernels.numba_cpu import run


@pytest.mark.parametrize("case", CASES)
def test_it_equals_the_plain_loop(case: Callable[[], Case]) -> None:
    check(run, case())
