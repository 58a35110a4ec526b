from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from snnlab.training.health import OverfitCheck


@pytest.mark.parametrize(("accuracies", "steps"), [([0.5, 1.0, 0.5, 0.5], 6), ([0.5, 0.9, 0.99], 9)])
def test_it_stops_when_all_is_right(fit_scripted: Callable[..., Any], accuracies: list[float], steps: int) -> None:
    assert fit_scripted([OverfitCheck()], [1.0] * len(accuracies), accuracies).global_step == steps
