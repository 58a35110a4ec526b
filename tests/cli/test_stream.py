"""`snnlab stream` answers while events arrive, as the run's network does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch

from snnlab import load, stream, train

from ..refusals import assert_error_has
from .conftest import FAST, Outcome

Snnlab = Callable[..., Outcome]
PipeIn = Callable[[bytes], None]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, digits_store: str) -> Path:
    folder = tmp_path_factory.mktemp("stream")
    return train(*FAST, "data.num_bins=16", digits_store, f"output_dir={folder}").folder


@pytest.fixture(scope="module")
def recording(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of the run's first test recording."""
    opened = load(run)
    store, place = opened.data.store, opened.store_indices("test", [0])
    events = store[int(place[0])]
    path = tmp_path_factory.mktemp("recordings") / "one.npy"
    table = np.zeros(events.t.size, [(name, np.int64) for name in "txyp"])
    for name in "txyp":
        table[name] = getattr(events, name)
    np.save(path, table)
    return path


def rows(done: Outcome) -> list[dict[str, float]]:
    assert done.status == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def test_the_stream_of_a_run_has_the_outputs_of_its_network(run: Path) -> None:
    opened = load(run)
    x = opened.batch("test", [0]).x
    found, events = stream(opened), opened.data.store[int(opened.store_indices("test", [0])[0])]
    steps = np.concatenate([*(part.y for part in found.feed(events)), found.finish()[None]])
    with torch.no_grad():
        y = opened.network(x)[0][: len(steps), 0].numpy()
    np.testing.assert_allclose(steps, y, atol=1e-4)


def as_lines(recording: Path) -> bytes:
    table = np.load(recording)
    return "".join(f"{t},{x},{y},{p}\n" for t, x, y, p in table.tolist()).encode()


@pytest.fixture
def pipe_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[PipeIn]:
    """Return a function that makes a text the command's standard input."""
    with ExitStack() as opened:

        def give(text: bytes) -> None:
            path = tmp_path / "input"
            path.write_bytes(text)
            monkeypatch.setattr("sys.stdin", opened.enter_context(path.open()))

        yield give


def test_the_last_answer_to_a_file_is_the_prediction(run: Path, recording: Path, snnlab: Snnlab) -> None:
    found = rows(snnlab("stream", str(run), str(recording), "--every", "20"))
    (expected,) = [
        json.loads(line) for line in snnlab("predict", str(run), str(recording), "--format", "jsonl").out.splitlines()
    ]
    assert found[-1]["answer"] == expected["answer"]
    assert found[-1]["probability"] == pytest.approx(expected["probability"], abs=2e-3)
    assert len(found) > 3
    assert all(row["t_ms"] % 20 == 0 for row in found[:-1])


def test_lines_on_standard_input_get_the_answers_of_the_file(
    run: Path, recording: Path, snnlab: Snnlab, pipe_in: PipeIn
) -> None:
    expected = rows(snnlab("stream", str(run), str(recording)))
    pipe_in(as_lines(recording))
    assert rows(snnlab("stream", str(run), "-")) == expected


def test_late_events_and_events_outside_are_counted(
    run: Path, recording: Path, snnlab: Snnlab, pipe_in: PipeIn
) -> None:
    last = int(np.load(recording)["t"][-1])
    pipe_in(as_lines(recording) + f"{last},999,0,0\n-5,0,0,0\n".encode())
    done = snnlab("stream", str(run))
    assert rows(done) == rows(snnlab("stream", str(run), str(recording)))
    assert re.search(r"1 late, 1 outside", done.err)


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["--every", "15", "--dt", "10"], ("stream", 15, 10)),
        (["--dt", "0"], ("stream", "--dt", 0)),
        (["--time-unit", "h"], ("stream", "--time-unit", "us")),
        (["missing.npy"], ("stream", "missing.npy")),
    ],
)
def test_a_wrong_argument_is_one_line(
    run: Path, snnlab: Snnlab, arguments: list[str], facts: tuple[object, ...], pipe_in: PipeIn
) -> None:
    pipe_in(b"")
    done = snnlab("stream", str(run), *arguments)
    assert done.status == 2
    assert_error_has(done.error, *facts)


def test_nothing_arrives_and_nothing_is_answered(run: Path, snnlab: Snnlab, pipe_in: PipeIn) -> None:
    pipe_in(b"")
    assert rows(snnlab("stream", str(run))) == []


def test_a_line_that_is_no_event_ends_the_stream_with_its_number(run: Path, snnlab: Snnlab, pipe_in: PipeIn) -> None:
    pipe_in(b"0,0,0,0\nhello\n")
    done = snnlab("stream", str(run))
    assert done.status == 2
    assert_error_has(done.error, "line 2", "hello")
