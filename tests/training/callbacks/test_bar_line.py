from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from snnlab.training.callbacks.bar_line import Line, training_parts

VALUES = {"loss": 1.23456, "accuracy": 0.8925, "spikes_per_sample": 18792.4}


def drawn(width: int, total: float = 10.0, label: str = "epoch 12/12") -> list[str]:
    text = io.StringIO()
    parts = training_parts(VALUES, 1234.5, 65.0, 3725.0)
    Console(file=text, width=width, force_terminal=True, color_system=None).print(Line(label, 5.0, total, parts))
    return text.getvalue().splitlines()


def test_a_wide_terminal_gets_every_word() -> None:
    (line,) = drawn(140)
    assert line.startswith("epoch 12/12 ━━━")
    assert "loss 1.235  accuracy 89.2%  18,792 spikes a sample  1,234 samples/s  1:05 left, run 1:02:05" in line


def test_80_columns_get_every_figure() -> None:
    (line,) = drawn(80)
    assert "loss 1.235  89.2%  18.8k spikes  1.2k/s  1:05/1:02:05 left" in line


@pytest.mark.parametrize("width", [20, 30, 40, 50, 60, 70, 80, 100, 120, 140, 200])
def test_no_width_makes_a_second_line(width: int) -> None:
    (line,) = drawn(width)
    assert len(line) <= width


def test_the_narrower_the_fewer_and_the_time_left_stays() -> None:
    (line,) = drawn(60)
    assert "spikes" not in line
    assert "loss 1.235" in line
    (line,) = drawn(42)
    assert "loss" not in line
    assert "1:05/1:02:05 left" in line


def test_the_bar_is_as_full_as_the_work_is_done() -> None:
    text = io.StringIO()
    console = Console(file=text, width=60, force_terminal=True, color_system="truecolor")
    console.print(Line("test", 10.0, 10.0, []))
    assert "━" * 40 in text.getvalue()


def test_what_nobody_knows_is_a_question_mark() -> None:
    assert training_parts({}, 0.0, 1.0, math.inf)[-1].long == "0:01 left, run ?"
    (line,) = drawn(80, total=math.inf)
    assert line.startswith("epoch 12/12 ")


def test_values_have_an_error_in_place_of_an_accuracy() -> None:
    parts = training_parts({"loss": 1.0, "mae": 0.01234, "r2": 0.5}, 1.0, 1.0, 1.0)
    assert [(part.long, part.short) for part in parts[:2]][1] == ("mean error 0.0123", "error 0.0123")
