from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from snnlab.training.health import OverfitCheck

from ..refusals import assert_text_has


@pytest.mark.parametrize(
    ("accuracies", "words"),
    [
        ([0.5, 1.0], ("6 steps",)),
        ([0.5, 0.96875], ("96.9%", "6 steps")),
    ],
)
def test_it_reports_at_the_end_whether_the_whole_batch_is_right(
    fit_scripted: Callable[..., Any], caplog: pytest.LogCaptureFixture, accuracies: list[float], words: tuple
) -> None:
    with caplog.at_level(logging.INFO, logger="snnlab"):
        fit_scripted([OverfitCheck()], [1.0, 1.0], accuracies)
    assert_text_has(caplog.text, *words)


@pytest.mark.parametrize(("accuracies", "steps"), [([0.5, 1.0, 0.5, 0.5], 6), ([0.5, 0.9, 0.99], 9)])
def test_it_stops_when_all_is_right(fit_scripted: Callable[..., Any], accuracies: list[float], steps: int) -> None:
    assert fit_scripted([OverfitCheck()], [1.0] * len(accuracies), accuracies).global_step == steps
