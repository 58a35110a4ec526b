from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from snnlab.training import progress
from snnlab.training.module import SpikingModule
from snnlab.training.progress import Bar, Timing, first_fitting, progress_texts

from ..refusals import assert_text_has

ERASED = "\x1b[2K"  # erases a line


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Return the output to a terminal of 140 columns."""
    monkeypatch.setenv("TERM", "xterm")
    return io.StringIO()


@pytest.fixture
def make_bar(terminal: io.StringIO) -> Callable[..., Bar]:
    def make(timing: Timing) -> Bar:
        return Bar(timing, Console(file=terminal, width=140, force_terminal=True, color_system=None))

    return make


@pytest.fixture
def train(make_module: Any, quiet_trainer: Any, loader: Any, make_bar: Any) -> Callable[..., Any]:
    """Return a function that trains with a bar: 3 batches per epoch, and 3 of validation."""

    def run(**settings: Any) -> Any:
        timing = Timing(0.0)
        bar = make_bar(timing)
        trainer = quiet_trainer(callbacks=[timing, bar], enable_progress_bar=True, **{"max_epochs": 2, **settings})
        trainer.fit(make_module(), loader, loader)
        return trainer

    return run


def test_epoch_metrics_and_remaining_time_are_in_the_line(
    train: Callable[..., Any], terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "REFRESH_S", 0.0)
    train()
    shown = terminal.getvalue()
    for texts in ("epoch 1/2", "epoch 2/2", "loss ", "accuracy ", "spikes", "samples/s", "left, run 0:0"):
        assert texts in shown
    assert "v_num" not in shown


def test_a_terminal_that_is_gone_ends_the_bar_and_not_the_training(
    train: Callable[..., Any], terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_text: str) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(terminal, "write", gone)
    assert train().current_epoch == 2


def test_nothing_is_left_on_the_screen(train: Callable[..., Any], terminal: io.StringIO) -> None:
    train()
    assert terminal.getvalue().rstrip("\x1b[?25h").endswith(ERASED)


def test_metrics_are_read_only_when_the_bar_is_drawn(
    train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []
    running_values = SpikingModule.running_values
    monkeypatch.setattr(SpikingModule, "running_values", lambda module: fetched.append(1) or running_values(module))
    monkeypatch.setattr(progress, "REFRESH_S", 1000.0)
    train(max_epochs=5)
    assert not fetched
    monkeypatch.setattr(progress, "REFRESH_S", 0.0)
    train(max_epochs=1)
    assert len(fetched) == 6  # 3 batches of training and 3 of validation; none when the bar is removed


def test_validation_and_test_on_their_own_have_a_bar_too(
    make_module: Any, quiet_trainer: Any, loader: Any, make_bar: Any, terminal: io.StringIO
) -> None:
    trainer = quiet_trainer(callbacks=[make_bar(Timing(0.0))], enable_progress_bar=True)
    trainer.validate(make_module(), loader, verbose=False)
    trainer.test(make_module(), loader, verbose=False)
    assert "validation ━" in terminal.getvalue()
    assert "test ━" in terminal.getvalue()


def test_an_error_removes_the_bar(
    train: Callable[..., Any], terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(SpikingModule, "validation_step", fail)
    with pytest.raises(ZeroDivisionError):
        train()
    assert terminal.getvalue().rstrip("\x1b[?25h").endswith(ERASED)


def test_the_time_left_counts_validation_and_the_epochs_to_come(make_bar: Any) -> None:
    from types import SimpleNamespace

    bar: Any = make_bar(Timing(0.0))
    bar._trainer = SimpleNamespace(
        max_epochs=3,
        max_steps=-1,
        current_epoch=0,
        global_step=4,
        num_training_batches=10,
        num_val_batches=[6],
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(_should_check_val_epoch=lambda: True)),
    )
    bar._done = 4.0  # a batch of validation counts as a third of a training step
    assert bar._seconds_left(4.0) == (6 + 2, 6 + 2 + 2 * (10 + 2))
    bar._done = 10.0 + 1.0
    assert bar._seconds_left(10.0)[0] == pytest.approx(1.0)
    bar._trainer.max_steps = 5
    assert bar._seconds_left(10.0)[1] == 1.0
    bar._trainer.max_steps, bar._trainer.max_epochs = -1, -1
    assert bar._seconds_left(10.0)[1] == float("inf")


VALUES = {"loss": 1.23456, "accuracy": 0.8925, "spikes_per_sample": 18792.4}


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_no_width_makes_a_second_line(width: int, train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=width, force_terminal=True, color_system=None)
    monkeypatch.setattr(progress, "REFRESH_S", 0.0)
    monkeypatch.setattr(progress, "Console", lambda **_: console)
    bar = Bar(Timing(0.0))
    bar._start()
    bar._begin("epoch 12/12", 10.0)
    monkeypatch.setattr(bar, "_texts", lambda: progress_texts(VALUES, 1234.5, 65.0, 3725.0))
    bar._training = True
    bar._advance(5.0)
    lines = [line for line in screen.getvalue().replace("\x1b[2K", "\r").split("\r") if "epo" in line]
    assert lines
    assert all("\n" not in line and len(line.rstrip()) <= width for line in lines)


def test_wider_terminals_get_longer_texts_and_all_show_the_remaining_time() -> None:
    texts = progress_texts(VALUES, 1234.5, 65.0, 3725.0)
    assert_text_has(
        texts[0],
        "loss 1.235",
        "accuracy 89.2%",
        "18,792 spikes a sample",
        "1,234 samples/s",
        "1:05 left",
        "run 1:02:05",
    )
    assert first_fitting(texts, 60) == "loss 1.235  89.2%  18.8k spikes  1.2k/s  1:05/1:02:05 left"
    assert first_fitting(texts, 40) == "loss 1.235  89.2%  1:05/1:02:05 left"
    assert first_fitting(texts, 20) == "1:05/1:02:05 left"
    assert first_fitting(texts, 3) == ""


def test_values_have_an_error_in_place_of_an_accuracy() -> None:
    long, short, *_ = progress_texts({"loss": 1.0, "mae": 0.01234, "r2": 0.5}, 1.0, 1.0, 1.0)
    assert ("mean error 0.0123" in long, "error 0.0123" in short, "R2" in long) == (True, True, False)


def test_an_unknown_time_is_a_question_mark() -> None:
    assert_text_has(progress_texts({}, 0.0, 1.0, math.inf)[0], "0:01 left, run ?")
