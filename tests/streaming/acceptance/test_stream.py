"""`snnlab stream`: what docs/stream.md and its `--help` promise."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnlab import load, stream
from snnlab.streaming.byte_sources import PipeSource
from snnlab.streaming.event_decoders import LineDecoder
from snnlab.streaming.event_input import LiveInput
from snnlab.streaming.session.live_stream import LiveOptions, LiveStream

from ...refusals import assert_error_has, assert_text_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]
PipeIn = Callable[[bytes], None]


@pytest.fixture(scope="module")
def run(digits_run: Path) -> Path:
    return digits_run


@pytest.fixture(scope="module")
def recording(digit: Path) -> Path:
    return digit


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


def test_a_stream_in_python_takes_pieces_goes_on_from_a_state_and_begins_again(run: Path) -> None:
    opened = load(run)
    events = opened.data.store[int(opened.store_indices("test", [0])[0])]
    half = np.arange(len(events.t)) < len(events.t) // 2
    one, other = stream(opened), stream(run)
    before = [steps.y.copy() for steps in one.feed(events.take(np.flatnonzero(half)))]
    other.load(one.state())
    after = [[steps.y.copy() for steps in each.feed(events.take(np.flatnonzero(~half)))] for each in (one, other)]
    ends = [each.finish().copy() for each in (one, other)]
    assert all(np.array_equal(a, b) for a, b in zip(*after, strict=True))
    assert np.array_equal(ends[0], ends[1])
    one.reset()
    whole = np.concatenate([steps.y.copy() for steps in one.feed(events)])
    assert np.array_equal(np.concatenate([*before, *after[0]]), whole)
    assert "lif1" in str(one.stats())


def test_dt_is_the_length_of_a_step_and_every_the_time_between_lines(
    run: Path, recording: Path, snnlab: Snnlab
) -> None:
    found = rows(snnlab("stream", str(run), str(recording), "--dt", "5", "--every", "10"))
    assert [row["t_ms"] for row in found[:-1]] == [10.0 * (n + 1) for n in range(len(found) - 1)]
    table = np.load(recording)
    expected = stream(run, dt=5.0)
    ends = [end for part in expected.feed({name: table[name] for name in "txyp"}) for end in part.t.tolist()]
    expected.finish()
    assert ends[:3] == [5.0, 10.0, 15.0]
    assert sum(row["spikes"] for row in found) == expected.num_spikes > 0


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
    assert_text_has(done.err, "34 x 34", "1 late", "1 outside the sensor")


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["--every", "15", "--dt", "10"], ("--every", 15, 10)),
        (["--dt", "0"], ("--dt", 0)),
        (["--time-unit", "h"], ("stream", "time_unit", "us")),
        (["--columns", "x,y"], ("stream", "columns", "x")),
        (["--until", "2"], ("--until", 2)),
        (["--max-wait", "-1"], ("--max-wait", -1)),
        (["--max-wait", "1e300"], ("--max-wait", "1e+300")),
        (["--max-wait", "inf"], ("--max-wait", "inf")),
        (["--every", "1e308"], ("--every", "1e+308")),
        (["--every", "nan"], ("--every", "nan")),
        (["--every", "1e-300"], ("--every", "1e-300")),
        (["--dt", "1e308"], ("--dt", "1e+308")),
        (["--dt", "4e6"], ("dt", "4e+06")),
        (["--dt", "1e-9"], ("dt", "1e-09")),
        (["--until", "nan"], ("--until", "nan")),
        (["--follow"], ("--follow",)),
        (["a" * 300], ("stream", "a" * 300)),
        (["missing.npy"], ("stream", "missing.npy")),
        (["."], (".", "folder")),
        (["--page", "70000"], ("--page", 70000)),
        (["--page=x"], ("--page", "x")),
        (["--keep-page"], ("--keep-page", "--page")),
        (["--speed", "0"], ("--speed", 0)),
        (["--speed", "1"], ("--speed", "-")),
        (["--speed", "1e-300"], ("--speed", "1e-300")),
        (["--speed", "1e300"], ("--speed", "1e+300")),
        (["--page=" + "9" * 5000], ("--page",)),
        (["-", "--page", "x"], ("stream", "x")),
    ],
)
def test_a_wrong_argument_is_one_line(
    run: Path, snnlab: Snnlab, arguments: list[str], facts: tuple[object, ...], pipe_in: PipeIn
) -> None:
    pipe_in(b"")
    done = snnlab("stream", str(run), *arguments)
    assert done.status == 2
    assert_error_has(done.error, *facts)


def test_a_file_of_lines_without_names_of_columns_is_refused(
    run: Path, recording: Path, snnlab: Snnlab, tmp_path: Path
) -> None:
    source = tmp_path / "events.csv"
    source.write_bytes(as_lines(recording))
    done = snnlab("stream", str(run), str(source))
    assert done.status == 2
    assert_error_has(done.error, "events.csv", "--columns", "t,x,y,p")
    expected = rows(snnlab("stream", str(run), str(recording)))
    assert rows(snnlab("stream", str(run), str(source), "--columns", "t,x,y,p")) == expected


def test_nothing_arrives_and_nothing_is_answered(run: Path, snnlab: Snnlab, pipe_in: PipeIn) -> None:
    pipe_in(b"")
    assert rows(snnlab("stream", str(run))) == []


def test_lines_that_are_no_events_are_dropped_and_counted(
    run: Path, recording: Path, snnlab: Snnlab, pipe_in: PipeIn
) -> None:
    text = as_lines(recording).splitlines(keepends=True)
    pipe_in(b"".join([text[0], b"hello\n", *text[1:], b"1,nan,2,0\n"]))
    done = snnlab("stream", str(run))
    assert rows(done) == rows(snnlab("stream", str(run), str(recording)))
    assert_text_has(done.err, "line 2", "hello", "2 unreadable")


def test_a_first_line_that_is_no_event_ends_the_stream(run: Path, snnlab: Snnlab, pipe_in: PipeIn) -> None:
    pipe_in(b"hello\n0,0,0,0\n")
    done = snnlab("stream", str(run))
    assert done.status == 2
    assert_error_has(done.error, "line 1", "hello")


def as_binary(recording: Path) -> bytes:
    table = np.load(recording)
    events = np.zeros(table.size, [("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1"), ("unused", "V3")])
    for name in "txyp":
        events[name] = table[name]
    return events.tobytes()


def test_events_of_sixteen_bytes_get_the_answers_of_the_file(
    run: Path, recording: Path, snnlab: Snnlab, pipe_in: PipeIn
) -> None:
    expected = rows(snnlab("stream", str(run), str(recording)))
    pipe_in(as_binary(recording) + b"cut")
    done = snnlab("stream", str(run), "-", "--binary")
    assert rows(done) == expected
    assert_text_has(done.err, "3 unreadable")


def test_camera_times_begin_at_the_first_event(run: Path, snnlab: Snnlab, pipe_in: PipeIn) -> None:
    at = 1_750_000_000_000_000
    pipe_in(b"".join(f"{at + 5000 * n},{n % 20},{n % 20},1\n".encode() for n in range(100)))
    found = rows(snnlab("stream", str(run), "-", "--time-origin", "first"))
    pipe_in(b"".join(f"{5000 * n},{n % 20},{n % 20},1\n".encode() for n in range(100)))
    assert found == rows(snnlab("stream", str(run), "-"))
    pipe_in(f"{at},1,1,1\n{at},1,1,1\n".encode())
    done = snnlab("stream", str(run), "-", "--time-origin", "zero")
    assert_text_has(done.err, "--time-origin", "2 an hour ahead")


def test_the_first_answer_with_a_probability_is_the_last_one(run: Path, recording: Path, snnlab: Snnlab) -> None:
    found = rows(snnlab("stream", str(run), str(recording), "--every", "20"))
    requests = sorted(row["probability"] for row in found)[-2]
    first = next(n for n, row in enumerate(found) if row["probability"] >= requests)
    assert (
        rows(snnlab("stream", str(run), str(recording), "--every", "20", "--until", str(requests)))
        == found[: first + 1]
    )


def test_latencies_are_in_the_lines_and_summed_up(run: Path, recording: Path, snnlab: Snnlab) -> None:
    done = snnlab("stream", str(run), str(recording), "--latency")
    found = rows(done)
    assert all(row["latency_us"] > 0 for row in found)
    assert_text_has(done.err, "p50", "p99", "max", f"{len(found)} answers")


def test_a_fifo_gets_the_answers_of_the_file(run: Path, recording: Path, snnlab: Snnlab, tmp_path: Path) -> None:
    expected = rows(snnlab("stream", str(run), str(recording)))
    fifo, text = tmp_path / "events", as_binary(recording)
    os.mkfifo(fifo)
    with writing(lambda: fifo.write_bytes(text)):
        assert rows(snnlab("stream", str(run), str(fifo), "--binary")) == expected


def test_a_file_is_read_on_as_it_grows(run: Path, recording: Path, snnlab: Snnlab, tmp_path: Path) -> None:
    expected = rows(snnlab("stream", str(run), str(recording), "--every", "20"))
    last = max(range(len(expected) - 1), key=lambda number: expected[number]["probability"])
    source, whole = tmp_path / "events", as_binary(recording)
    source.write_bytes(whole[:1005])

    def grow() -> None:
        time.sleep(0.2)
        with source.open("ab") as file:
            file.write(whole[1005:])

    words = ("--binary", "--follow", "--every", "20", "--until", str(expected[last]["probability"]))
    with writing(grow):
        found = rows(snnlab("stream", str(run), str(source), *words))
    assert found == expected[: last + 1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Page:
    """A page of a stream that another thread opens, and asks for its data until the stream ends."""

    def __init__(self, port: int, then: Callable[[], object] = lambda: None) -> None:
        self.port, self._then = port, then
        self.values: list[dict[str, Any]] = []
        self.arrays: dict[str, np.ndarray] = {}

    def look(self) -> None:
        """Ask until the stream has ended or its page is gone."""
        after = ""
        connection: http.client.HTTPConnection | None = None
        for _ in range(3000):
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                connection.request("GET", f"/data?after={after}")
                content = connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                connection = None
                if self.values:
                    break
                time.sleep(0.02)
                continue
            length = int.from_bytes(content[:4], "little")
            found = json.loads(content[4 : 4 + length])
            for name, (kind, place, size) in found["arrays"].items():
                new = np.frombuffer(content, kind, size, 4 + length + place)
                self.arrays[name] = np.concatenate([self.arrays[name], new]) if name in self.arrays else new
            if not self.values:
                self._then()
            self.values.append(found)
            after = found["next"]
            if found["ended"]:
                break
        if connection is not None:
            connection.close()


def test_a_page_shows_the_stream_and_changes_nothing(
    run: Path, recording: Path, snnlab: Snnlab, tmp_path: Path
) -> None:
    expected = rows(snnlab("stream", str(run), str(recording), "--every", "20"))
    fifo, text = tmp_path / "events", as_binary(recording)
    os.mkfifo(fifo)
    page = Page(free_port(), lambda: fifo.write_bytes(text + b"cut"))
    stuck: list[socket.socket] = []
    with writing(lambda: (connect(page.port, stuck), page.look())):
        words = ("--every", "20", "--binary", "--page", str(page.port))
        done = snnlab("stream", str(run), str(fifo), *words)
    stuck[0].close()
    assert rows(done) == expected
    assert_text_has(done.err, f"http://127.0.0.1:{page.port}/", "3 unreadable")
    first, last = page.values[0], page.values[-1]
    events = np.load(recording)
    assert (first["layout"]["picture"], first["layout"]["outputs"]) == ([34, 34], [str(n) for n in range(10)])
    assert [name for name, *_ in first["layout"]["layers"]] == ["lif1"]
    assert (last["ended"], last["numbers"]["unreadable"]) == (1, 3)
    assert last["numbers"]["spikes"] == sum(row["spikes"] for row in expected)
    recent = events["t"] > events["t"].max() - 900_000
    assert np.unique(page.arrays["pixels"]).size == np.unique((events["y"] * 34 + events["x"])[recent]).size
    assert page.arrays["answers"].reshape(-1, 10).sum(1) == pytest.approx(1, abs=1e-5)
    assert page.arrays["answers"].reshape(-1, 10)[-1].max() == pytest.approx(expected[-1]["probability"], abs=1e-3)
    assert page.arrays["times_us"].min() > 0


def connect(port: int, clients: list[socket.socket]) -> None:
    """Ask for data, and never read them."""
    for _ in range(3000):
        with suppress(ConnectionRefusedError):
            clients.append(socket.create_connection(("127.0.0.1", port)))
            clients[0].sendall(b"GET /data HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
            return
        time.sleep(0.02)


def test_a_port_in_use_is_one_line_and_a_recording_plays_at_its_pace(
    run: Path, recording: Path, snnlab: Snnlab
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = snnlab("stream", str(run), str(recording), "--page", str(port))
        assert done.status == 2
        assert_error_has(done.error, "--page", port)
    begun = time.perf_counter()
    found = rows(snnlab("stream", str(run), str(recording), "--speed", "2"))
    assert time.perf_counter() - begun > np.load(recording)["t"][-1] / 2e6
    assert found == rows(snnlab("stream", str(run), str(recording)))


@contextmanager
def writing(write: Callable[[], object]) -> Iterator[None]:
    """Write from another thread."""
    thread = threading.Thread(target=write)
    thread.start()
    yield
    thread.join()


def test_a_silent_source_is_answered_by_the_clock(run: Path) -> None:
    reading, writer = os.pipe()
    os.write(writer, b"0,1,1,1\n1000,1,1,1\n")
    events = LiveInput(PipeSource(reading, closes=True), LineDecoder())
    with closing(LiveStream(load(run), LiveOptions(every=20.0, max_wait=1.0, times=True)).lines(events)) as lines:
        found = (json.loads(line)["t_ms"] for text in lines for line in text.splitlines())
        assert [next(found) for _ in range(3)] == [20, 40, 60]
        os.write(writer, b"60000000,1,1,1\n")  # a busy machine may need seconds
        os.close(writer)
        assert list(found)[-1] == 60_020


def test_standard_input_that_cannot_be_read_is_one_line(
    run: Path, snnlab: Snnlab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "input").open("w") as file:
        monkeypatch.setattr("sys.stdin", file)
        done = snnlab("stream", str(run), "-")
    assert done.status == 2
    assert_error_has(done.error, "stdin")
