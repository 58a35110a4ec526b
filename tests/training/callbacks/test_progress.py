from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import pytest

from snnlab.training.callbacks import progress
from snnlab.training.callbacks.progress import EpochLines, ProgressBar, console_callbacks
from snnlab.training.callbacks.timing import Timing


def test_each_epoch_says_one_line(fit_scripted: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    timing = Timing(0.0)
    with caplog.at_level(logging.INFO, logger="snnlab"):
        fit_scripted([timing, EpochLines(timing)], [2.5, 1.25], [0.5, 0.975])
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("snnlab")]
    assert len(lines) == 2
    assert re.fullmatch(r"epoch 1/2  \| val loss 2\.500  accuracy 50\.0%  \d+\.\d s, \d+ samples/s", lines[0])
    assert lines[1].startswith("epoch 2/2  | val loss 1.250  accuracy 97.5%")


def test_training_and_spikes_are_in_the_line(
    make_module: Callable[..., Any], quiet_trainer: Callable[..., Any], loader: Any, caplog: pytest.LogCaptureFixture
) -> None:
    timing = Timing(0.0)
    callbacks = [timing, EpochLines(timing)]
    with caplog.at_level(logging.INFO, logger="snnlab"):
        quiet_trainer(max_epochs=1, callbacks=callbacks, enable_checkpointing=True).fit(make_module(), loader, loader)
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("snnlab")]
    pattern = (
        r"epoch 1/1  train loss \d\.\d{3}  accuracy [\d.]+%  \| val loss \d\.\d{3}  accuracy [\d.]+%  "
        r"spikes a sample \d+  \d+\.\d s, \d+ samples/s"
    )
    assert re.fullmatch(pattern, line), line


def test_an_open_end_is_shown_as_such(fit_scripted: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    timing = Timing(0.0)
    with caplog.at_level(logging.INFO, logger="snnlab"):
        fit_scripted([timing, EpochLines(timing)], [1.0], max_epochs=-1, max_steps=3)
    assert "epoch 1/?" in caplog.text


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_shown_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: terminal, raising=False)
    kinds = [type(callback) for callback in console_callbacks(Timing(0.0))]
    assert kinds == ([ProgressBar, EpochLines] if terminal else [EpochLines])


def test_the_bar_does_not_show_a_loggers_version(
    fit_scripted: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning.pytorch.callbacks import RichProgressBar

    monkeypatch.setattr(RichProgressBar, "get_metrics", lambda *_: {"v_num": "tensorboard", "train/loss": 1.0})
    assert ProgressBar().get_metrics(None, None) == {"train/loss": 1.0}  # type: ignore[arg-type]
