"""The compiled loop of a live stream: numbers, windows, what it leaves to Python."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from snnlab.nn import build_network
from snnlab.streaming import EventStream
from snnlab.streaming.event_decoders import EVENT, LineDecoder, LineForm
from snnlab.streaming.latency import LatencyHistogram
from snnlab.streaming.live_loop import (
    DECODE,
    DONE,
    DROPPED,
    PAUSE,
    READ,
    WINDOW,
    WRITE,
    Answers,
    LiveLoop,
    add_outputs,
    put_number,
)
from snnlab.streaming.system_calls import now_s

NAMES = ("null", 'say "ö"', "c")


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


def opened_loop(until: float | None = None, max_wait: float | None = None) -> tuple[EventStream, LiveLoop]:
    torch.manual_seed(0)
    layers = {"flatten": {"type": "flatten"}, "fc": {"type": "linear", "out_features": 3}, "li": {"type": "li"}}
    stream = EventStream(build_network(layers, in_shape=(2, 4, 4), dt=1.0).network.eval())
    loop = LiveLoop(stream, window(4), NAMES, every=2, until=until, max_wait=max_wait, latency=LatencyHistogram())
    return stream, loop


def packed(events: Sequence[tuple[int, int, int, int]]) -> bytes:
    found = np.zeros(len(events), EVENT)
    for at, event in enumerate(events):
        found["t"][at], found["x"][at], found["y"][at], found["p"][at] = event
    return found.tobytes()


EVENTS = [(100 * n, n % 4, n // 4 % 4, n % 2) for n in range(60)]  # 6 ms


def test_bytes_in_any_pieces_become_lines_of_answers() -> None:
    texts = []
    for size in (16 * 60, 16 * 7, 13):
        stream, loop = opened_loop()
        reading, writing = os.pipe()
        text, rest = "", b""
        for at in range(0, 16 * 60, size):
            os.write(writing, packed(EVENTS)[at : at + size])
            loop.read_from((reading,), LineForm(), rest=rest)
            while (reason := loop.run(now_s() + 1e-3)) == WRITE:
                text += loop.take_text()
            assert reason == PAUSE
            rest = loop.data[: loop.live["rest"]].tobytes()
        os.close(writing)
        while (reason := loop.run(now_s() + 10)) == WRITE:
            text += loop.take_text()
        assert reason == READ
        assert (stream.num_events, stream.num_steps) == (60, 5)
        rows = [json.loads(line) for line in text.splitlines()]
        assert [row.pop("latency_us") > 0 for row in rows] == [True, True]
        texts.append(rows)
    assert texts[0] == texts[1] == texts[2]
    assert [row["t_ms"] for row in texts[0]] == [2, 4]
    assert all(row["name"] == NAMES[row["answer"]] for row in texts[0])


def test_lines_are_written_to_a_descriptor_until_its_reader_has_gone() -> None:
    _, loop = opened_loop()
    reading, loop.live["output"] = os.pipe()
    loop.give([*np.array(EVENTS[:45]).T], now_s())
    assert loop.run(now_s()) == READ
    assert [json.loads(line)["t_ms"] for line in os.read(reading, 10_000).splitlines()] == [2, 4]
    os.close(reading)
    loop.give([*np.array([*EVENTS[45:], (6000, 0, 0, 0)]).T], now_s())
    assert loop.run(now_s()) == WRITE
    assert json.loads(loop.take_text())["t_ms"] == 6
    assert loop.is_whole
    os.close(int(loop.live["output"]))


def test_pieces_with_lines_that_are_no_events_are_left_to_python() -> None:
    _, loop = opened_loop()
    form = LineDecoder().form()
    assert form is None  # before the first line, which may name the columns
    reading, writing = os.pipe()
    os.write(writing, b"0,1,1,1\n900,1")
    loop.read_from((reading,), LineForm(np.arange(4), 0, -1))
    assert loop.run(now_s() + 1e-3) == PAUSE
    os.write(writing, b",1,1\nhello\n")
    assert loop.run(now_s() + 10) == DECODE
    end = int(loop.live["rest"] + loop.live["piece"])
    assert loop.data[:end].tobytes() == b"900,1,1,1\nhello\n"
    os.close(writing)
    os.close(reading)


def test_the_loop_ends_with_the_last_answer_and_tells_of_the_first_dropped_event() -> None:
    stream, loop = opened_loop(until=0.1)
    loop.give([*np.array([(0, 9, 9, 0), *EVENTS]).T], now_s())
    assert loop.run(now_s()) == WRITE
    assert loop.take_text().count("\n") == 1
    assert loop.run(now_s()) == DONE
    assert stream.num_steps == 5  # the others run, but are not answered
    _, loop = opened_loop()
    for reason in (DROPPED, READ):
        loop.give([*np.array([(0, 9, 9, 0)]).T], now_s())
        assert loop.run(now_s()) == reason


def test_a_silent_source_is_answered_by_the_clock_and_another_descriptor_ends_the_waiting() -> None:
    stream, loop = opened_loop(max_wait=1.0)
    reading, writing = os.pipe()
    other, knocking = os.pipe()
    loop.give([*np.array(EVENTS[:1]).T], now_s())
    loop.read_from((reading, other), LineForm())
    assert loop.run(now_s() + 10) == WRITE
    assert json.loads(loop.take_text().splitlines()[0])["t_ms"] == 2
    assert stream.num_steps >= 2
    os.write(knocking, b"1")
    while (reason := loop.run(now_s() + 10)) == WRITE:
        loop.take_text()
    assert reason == READ
    for descriptor in (reading, writing, other, knocking):
        os.close(descriptor)
