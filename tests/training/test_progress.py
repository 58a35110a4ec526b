from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import pytest

from snnlab.training.progress import Bar, EpochLines, Timing, console_callbacks

from ..refusals import assert_text_has


def test_each_epoch_says_one_line(fit_scripted: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    timing = Timing(0.0)
    with caplog.at_level(logging.INFO, logger="snnlab"):
        fit_scripted([timing, EpochLines(timing)], [2.5, 1.25], [0.5, 0.975])
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("snnlab")]
    assert len(lines) == 3
    assert_text_has(lines.pop(0), "2 epochs", "3 batches")
    assert_text_has(lines[0], "epoch 1/2", "loss 2.500", "accuracy 50.0%", "samples/s")
    assert_text_has(lines[1], "epoch 2/2", "loss 1.250", "accuracy 97.5%")


def test_training_and_spikes_are_in_the_line(
    make_module: Callable[..., Any], quiet_trainer: Callable[..., Any], loader: Any, caplog: pytest.LogCaptureFixture
) -> None:
    timing = Timing(0.0)
    callbacks = [timing, EpochLines(timing)]
    with caplog.at_level(logging.INFO, logger="snnlab"):
        quiet_trainer(max_epochs=1, callbacks=callbacks).fit(make_module(), loader, loader)
    _, line = [record.getMessage() for record in caplog.records if record.name.startswith("snnlab")]
    figures = [
        r"epoch 1/1",
        r"train loss \d\.\d{3}",
        r"accuracy [\d.]+%",
        r"val loss \d\.\d{3}",
        r"\d+\.\d s",
        r"\d+ samples/s",
    ]
    assert [figure for figure in figures if not re.search(figure, line)] == [], line
    assert "spikes" in line


def test_an_open_end_is_shown_as_such(fit_scripted: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    timing = Timing(0.0)
    with caplog.at_level(logging.INFO, logger="snnlab"):
        fit_scripted([timing, EpochLines(timing)], [1.0], max_epochs=-1, max_steps=3)
    assert "epoch 1/?" in caplog.text


def test_a_narrow_terminal_gets_a_line_of_less_than_80_characters(
    make_module: Callable[..., Any], quiet_trainer: Callable[..., Any], loader: Any, caplog: pytest.LogCaptureFixture
) -> None:
    timing = Timing(0.0)
    callbacks = [timing, EpochLines(timing)]
    with caplog.at_level(logging.INFO, logger="snnlab"):
        quiet_trainer(max_epochs=1, callbacks=callbacks).fit(make_module(), loader, loader)
    record = next(record for record in caplog.records if "epoch 1/1" in record.getMessage())
    short = record.short  # type: ignore[attr-defined]
    assert re.fullmatch(r"epoch 1/1 train [\d.]+ [\d.]+% \| val [\d.]+ [\d.]+% spikes \d+ \| \d+ s", short), short
    assert len(short) < 70


@pytest.mark.parametrize(
    ("terminal", "kind", "wanted", "bar"),
    [
        (True, "xterm", True, True),
        (True, "xterm", False, False),
        (True, "dumb", True, False),
        (False, "xterm", True, False),
    ],
)
def test_a_bar_is_shown_where_there_is_a_terminal_and_it_is_wanted(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, kind: str, wanted: bool, bar: bool
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    monkeypatch.setenv("TERM", kind)
    kinds = [type(callback) for callback in console_callbacks(Timing(0.0), bar=wanted)]
    assert kinds == ([Bar, EpochLines] if bar else [EpochLines])
