"""The compiled loop of a live stream: numbers, windows, what it leaves to Python."""

from __future__ import annotations

import numpy as np
import pytest

from snnlab.streaming.live_loop import (
    WINDOW,
    Answers,
    add_outputs,
    put_number,
)


@pytest.mark.parametrize(
    ("number", "decimals", "text"),
    [(0, 0, "0"), (421, 0, "421"), (0, 4, "0.0"), (9312, 4, "0.9312"), (10000, 4, "1.0"), (7000000, 4, "700.0"),
     (50, 4, "0.005"), (3, 1, "0.3"), (1234, 1, "123.4"), (36_000_000_500_000, 4, "3600000050.0")],
)  # fmt: skip
def test_numbers_are_written_as_python_writes_them(number: int, decimals: int, text: str) -> None:
    line = np.zeros(40, np.uint8)
    end = put_number(line, 3, number, decimals)
    assert line[3:end].tobytes().decode() == text
    assert not decimals or text == repr(number / 10**decimals)


@pytest.mark.long
def test_the_sum_of_a_window_is_that_of_its_outputs() -> None:
    outputs = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    answers = window(5)
    for n in range(100):
        add_outputs(answers.memory, answers.total, answers.windows, outputs[n : n + 1])
        np.testing.assert_allclose(answers.total, outputs[max(0, n - 4) : n + 1].sum(0, np.float64), atol=1e-6)


def window(num_steps: int) -> Answers:
    windows = np.zeros(1, WINDOW)
    windows["num_steps"], windows["is_mean"] = num_steps, 1
    return Answers(windows, np.zeros((2 * num_steps + 3, 3), np.float32), np.zeros(3))
