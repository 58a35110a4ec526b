"""`snnlab stream`: what docs/stream.md and its `--help` promise."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnlab import load, stream
from snnlab.errors import ConfigError
from snnlab.nn import build_network
from snnlab.streaming.byte_sources import FileSource, PipeSource
from snnlab.streaming.event_decoders import BinaryDecoder, LineDecoder
from snnlab.streaming.event_input import LiveInput
from snnlab.streaming.event_stream import EventStream
from snnlab.streaming.session import live_stream, stream_page
from snnlab.streaming.session.live_stream import LiveOptions, LiveStream, SourceName

from ...refusals import assert_error_has, assert_raises, assert_text_has
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
        (["--state", "missing/file"], ("--state", "missing")),
        (["--state", "a" * 300], ("--state", "a" * 300)),
        (["--state", f"{__file__}/x"], ("--state", f"{__file__}/x")),
        (["a" * 300], ("stream", "a" * 300)),
        (["missing.npy"], ("stream", "missing.npy")),
        (["tcp://localhost"], ("tcp://localhost", "PORT")),
        (["tcp://nowhere.invalid:1"], ("tcp://nowhere.invalid:1",)),
        (["."], (".", "folder")),
        (["--page", "70000"], ("--page", 70000)),
        (["--page=x"], ("--page", "x")),
        (["--keep-page"], ("--keep-page", "--page")),
        (["--speed", "0"], ("--speed", 0)),
        (["--speed", "1"], ("--speed", "-")),
        (["--speed", "1e-300"], ("--speed", "1e-300")),
        (["--speed", "1e300"], ("--speed", "1e+300")),
        (["--page=" + "9" * 5000], ("--page",)),
        (["tcp://127.0.0.1:7000?x"], ("tcp://127.0.0.1:7000?x", "PORT")),
        (["tcp://me:secret@127.0.0.1:7000"], ("tcp://me:***@127.0.0.1:7000", "PORT")),
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


def test_a_fifo_and_a_socket_get_the_answers_of_the_file(
    run: Path, recording: Path, snnlab: Snnlab, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = rows(snnlab("stream", str(run), str(recording)))
    fifo, text = tmp_path / "events", as_binary(recording)
    os.mkfifo(fifo)
    with writing(lambda: fifo.write_bytes(text)):
        assert rows(snnlab("stream", str(run), str(fifo), "--binary")) == expected
    port = free_port()
    with writing(lambda: send(port, text)):
        done = snnlab("stream", str(run), f"tcp://127.0.0.1:{port}", "--binary")
    assert rows(done) == expected


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


def test_a_page_whose_process_has_ended_is_reported_once_and_keeps_no_stream_waiting(
    run: Path, recording: Path, snnlab: Snnlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = rows(snnlab("stream", str(run), str(recording), "--every", "20"))

    def ended(_layout: object, listener: socket.socket, _memory: int) -> subprocess.Popen[bytes]:
        listener.close()
        process = subprocess.Popen(["true"], stdin=subprocess.PIPE)
        process.wait()
        return process

    monkeypatch.setattr(stream_page, "_serve", ended)
    monkeypatch.setattr(stream_page, "_CHECK_S", 0.0)
    done = snnlab("stream", str(run), str(recording), "--every", "20", "--page", "--speed", "1000")
    assert rows(done) == expected
    assert done.err.count("the process that serves the page has ended") == 1


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


def send(port: int, text: bytes) -> None:
    for _ in range(500):
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(text)
            return
        time.sleep(0.02)


def opened_live(run: Path, events: LiveInput, state: Path | None = None, **options: Any) -> Generator[dict[str, Any]]:
    """Return the rows of a live stream, which goes on from a state if there is one."""
    live = LiveStream(load(run), LiveOptions(**options))
    if state is not None and state.exists():
        live.load(state)
    return live_rows(live, events, state=state)


def live_rows(live: LiveStream, *arguments: Any, **options: Any) -> Generator[dict[str, Any]]:
    """Yield the rows in the lines of a live stream."""
    with closing(live.lines(*arguments, **options)) as lines:
        for text in lines:
            yield from map(json.loads, text.splitlines())


def test_a_silent_source_is_answered_by_the_clock(run: Path) -> None:
    reading, writer = os.pipe()
    os.write(writer, b"0,1,1,1\n1000,1,1,1\n")
    events = LiveInput(PipeSource(reading, closes=True), LineDecoder())
    found = opened_live(run, events, every=20.0, max_wait=1.0, times=True)
    silent = [next(found) for _ in range(3)]
    assert [row["t_ms"] for row in silent] == [20, 40, 60]
    os.write(writer, b"60000000,1,1,1\n")  # a busy machine may need seconds
    os.close(writer)
    assert [row["t_ms"] for row in found][-1] == 60_020


def test_a_stream_that_was_stopped_goes_on_with_the_same_answers(run: Path, recording: Path, tmp_path: Path) -> None:
    expected = list(opened_live(run, binary_input(recording), every=20.0))
    state, cut = tmp_path / "state.npz", 16 * 3000 + 7
    reading, writer = os.pipe()
    os.write(writer, as_binary(recording)[:cut])
    live = LiveStream(load(run), LiveOptions(every=20.0))
    source = SourceName("one", "binary")
    part = live_rows(live, LiveInput(PipeSource(reading, closes=True), BinaryDecoder(), has_places=True), source, state)
    before = [next(part), next(part)]
    part.close()
    os.close(writer)
    live = LiveStream(load(run), LiveOptions(every=20.0))
    live.load(state)
    assert (live.place.source, live.place.position) == (source, 16 * 3000)
    rest = list(live_rows(live, binary_input(recording, live.place.position), source, state))
    steps = round(rest[0]["t_ms"] / 20)
    assert [*before, *rest] == [*expected[:2], *expected[steps - 1 :]]
    assert list(tmp_path.iterdir()) == [state]


@pytest.mark.slow  # four processes
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_stream_that_was_killed_goes_on_from_its_state(
    run: Path, recording: Path, tmp_path: Path, number: signal.Signals
) -> None:
    source, whole, state = tmp_path / "events", as_binary(recording), tmp_path / "state.npz"
    words = [str(run), str(source), "--binary", "--every", "20"]
    found: list[str] = []
    for part, ending in ((1, signal.SIGTERM), (2, number)):
        events = part * len(whole) // 48  # of 16 bytes: a third of the recording, and two
        source.write_bytes(whole[: 16 * events + 5])
        with command(*words, "--follow", "--state", str(state)) as process, ExitStack() as at_the_end:
            at_the_end.callback(process.kill)
            assert process.stdout is not None
            ended = np.load(recording)["t"][events - 1] // 20_000
            found += [process.stdout.readline().strip() for _ in range(ended - len(found))]
            process.send_signal(ending)
            assert process.communicate(timeout=120)[0] == ""
            assert process.returncode == (-ending if ending == signal.SIGKILL else 128 + ending)
    source.write_bytes(whole)
    rest = command(*words, "--state", str(state)).communicate(timeout=120)[0].splitlines()
    expected = command(*words).communicate(timeout=120)[0].splitlines()
    rows = {json.loads(line)["t_ms"]: line for line in [*rest, *found]}
    assert [rows[t] for t in sorted(rows)] == expected
    # After SIGKILL the answers since the last saved state come twice.
    assert (len(found) + len(rest) > len(expected)) == (number == signal.SIGKILL)


def command(*arguments: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "snnlab", "stream", *arguments]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def binary_input(recording: Path, position: int = 0) -> LiveInput:
    path = recording.with_suffix(".bin")
    path.write_bytes(as_binary(recording))
    return LiveInput(FileSource(path, position=position), BinaryDecoder(), position=position, has_places=True)


def test_a_saved_state_of_something_else_is_refused(run: Path, recording: Path, snnlab: Snnlab, tmp_path: Path) -> None:
    state = tmp_path / "state"
    first = snnlab("stream", str(run), str(recording), "--state", str(state))
    again = snnlab("stream", str(run), str(recording), "--state", str(state))
    assert (len(rows(first)) > 2, rows(again)) == (True, [])
    done = snnlab("stream", str(run), str(recording), "--state", str(state), "--dt", "5")
    assert done.status == 2
    assert_error_has(done.error, "state", "step")
    state.write_bytes(state.read_bytes()[:-100])
    done = snnlab("stream", str(run), str(recording), "--state", str(state))
    assert done.status == 2
    assert_error_has(done.error, "state", "delete")


def num_events(done: Outcome) -> int:
    """Return the number of events that a command read."""
    assert done.status == 0, done.err
    found = re.search(r"([\d,]+) events;", done.err)
    assert found is not None, done.err
    return int(found[1].replace(",", ""))


def num_late(done: Outcome) -> int:
    """Return the number of events of a step that the end of the input before had ended."""
    found = re.search(r"dropped (\d+) late", done.err)
    assert found is not None, done.err
    return int(found[1])


def test_a_file_is_read_on_in_the_form_of_its_place_or_not_at_all(
    run: Path, recording: Path, snnlab: Snnlab, tmp_path: Path
) -> None:
    source, state, lines = tmp_path / "e.csv", tmp_path / "state", as_lines(recording).splitlines(keepends=True)[:2000]
    words = ("stream", str(run), str(source), "--state", str(state))
    follow, columns = ("--follow", "--until", "0.001", "--every", "20"), ("--columns", "t,x,y,p")
    source.write_bytes(b"".join(lines[:1000]))
    assert num_events(snnlab(*words, *columns, *follow)) == 1000
    source.write_bytes(b"".join(lines))
    saved = state.read_bytes()
    for other, fact in (((), "--follow"), (("--binary",), "--binary")):
        done = snnlab(*words, *(columns if not other else ()), *other)
        assert done.status == 2
        assert_error_has(done.error, "--state", "e.csv", fact)
    for other in (("--columns", "t,y,x,p"), ("--time-unit", "ms"), ("--time-origin", "first")):
        done = snnlab(*words, *(columns if other[0] != "--columns" else ()), *follow, *other)
        assert done.status == 2
        assert_error_has(done.error, "--state", "e.csv", other[0])
    assert state.read_bytes() == saved
    assert num_events(snnlab(*words, *columns, *follow)) == 2000
    state.unlink()
    assert num_events(snnlab(*words, *columns)) == 2000
    done = snnlab(*words, *columns, *follow)
    assert done.status == 2
    assert_error_has(done.error, "--state", "e.csv", "--follow")
    (tmp_path / "link.csv").symlink_to(source)
    words = ("stream", str(run), str(tmp_path / "link.csv"), "--state", str(state))
    assert num_events(snnlab(*words, *columns)) == 2000  # and none of them as late
    assert_text_has(snnlab(*words, *columns).err, "0 late")


@pytest.mark.long
def test_a_file_that_was_replaced_is_not_read_on(run: Path, recording: Path, snnlab: Snnlab, tmp_path: Path) -> None:
    source, state, lines = tmp_path / "e.csv", tmp_path / "state", as_lines(recording).splitlines(keepends=True)[:2000]
    for words in (("--columns", "t,x,y,p"), ("--follow", "--until", "0.001", "--every", "20")):
        words = ("stream", str(run), str(source), "--state", str(state), *words)
        source.write_bytes(b"".join(lines[:1000]))
        assert num_events(snnlab(*words)) == 1000
        for content in (lines[1:], lines[:500]):
            source.write_bytes(b"".join(content))
            done = snnlab(*words)
            assert done.status == 2
            assert_error_has(done.error, "e.csv")
        state.unlink()


@pytest.mark.long
def test_the_columns_that_a_file_names_hold_after_its_place(
    run: Path, recording: Path, snnlab: Snnlab, tmp_path: Path
) -> None:
    table, source, state = np.load(recording)[:2000], tmp_path / "events", tmp_path / "state"
    lines = [f"{x} {y} {t} {p}\n" for t, x, y, p in table.tolist()]
    words = ("stream", str(run), str(source), "--every", "20")
    source.write_text("".join(["x y t p\n", *lines]))
    expected = rows(snnlab(*words))
    for end in ("", lines[1000][:3]):  # of a line that is being written
        source.write_text("".join(["x y t p\n", *lines[:1000], end]))
        first = rows(snnlab(*words, "--state", str(state)))
        source.write_text("".join(["x y t p\n", *lines, "no event\n"]))
        done = snnlab(*words, "--state", str(state))
        last = first.pop()  # of a step that the end of the file had ended
        found = [*first, *rows(done)]
        assert [row["t_ms"] for row in found] == [row["t_ms"] for row in expected if row["t_ms"] != last["t_ms"]]
        assert (num_events(done) + num_late(done), found[-1]["answer"]) == (2000, expected[-1]["answer"])
        assert_text_has(done.err, "line 2002", "0 outside", "1 unreadable")
        state.unlink()
    source.write_text("".join(["x y t p\n", *lines[:1000]]).rstrip("\n"))
    assert num_events(snnlab(*words, "--state", str(state))) == 1000
    source.write_text("".join(["x y t p\n", *lines[:1000]]).rstrip("\n") + "0\n")
    done = snnlab(*words, "--state", str(state))
    assert done.status == 2
    assert_error_has(done.error, str(source), "--follow")


@pytest.mark.long
def test_the_beginning_of_an_event_is_read_again_with_its_end(
    run: Path, recording: Path, snnlab: Snnlab, tmp_path: Path
) -> None:
    source, state, whole = tmp_path / "events", tmp_path / "state", as_binary(recording)
    words = ("stream", str(run), str(source), "--binary", "--state", str(state))
    source.write_bytes(whole[: 16 * 1000 + 5])
    assert_text_has(snnlab(*words).err, "1,000 events", "5 unreadable")
    source.write_bytes(whole)
    done = snnlab(*words)
    assert num_events(done) + num_late(done) == len(whole) // 16
    assert_text_has(done.err, "0 outside", "0 unreadable")


@pytest.mark.long
def test_a_state_of_single_events_is_none_of_steps(
    run: Path, recording: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    layers: dict[str, dict[str, Any]] = {"flatten": {"type": "flatten"}}
    layers |= {"fc": {"type": "linear", "out_features": 10, "bias": False}, "iaf": {"type": "iaf"}}
    network = build_network(layers, in_shape=(2, 34, 34), dt=20.0).network.eval()
    monkeypatch.setattr(live_stream, "stream", lambda *_, **__: EventStream(network))
    state = tmp_path / "state"
    for by_event in (True, False):
        live = LiveStream(load(run), LiveOptions(by_event=by_event))
        list(live_rows(live, binary_input(recording), state=state))
        with assert_raises(ConfigError, "state", "--by-event"):
            LiveStream(load(run), LiveOptions(by_event=not by_event)).load(state)
        LiveStream(load(run), LiveOptions(by_event=by_event)).load(state)
        state.unlink()


@pytest.mark.long
def test_any_other_file_for_the_state_is_one_line_and_stays(
    run: Path, recording: Path, snnlab: Snnlab, tmp_path: Path
) -> None:
    text, old, fifo = tmp_path / "text", tmp_path / "old", tmp_path / "fifo"
    text.write_bytes(as_lines(recording))
    with old.open("wb") as file:
        np.savez(file, values=np.zeros(9, np.float32), bits=np.full(9, 2**64 - 1), more=np.array([{}], object))
    os.mkfifo(fifo)
    for path in (text, old, fifo, tmp_path, Path(os.devnull)):
        before = path.read_bytes() if path.is_file() else b""
        done = snnlab("stream", str(run), str(recording), "--state", str(path))
        assert done.status == 2
        assert_error_has(done.error, path.name)
        assert "pickle" not in done.err
        assert not path.is_file() or path.read_bytes() == before


def test_standard_input_that_cannot_be_read_is_one_line(
    run: Path, snnlab: Snnlab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "input").open("w") as file:
        monkeypatch.setattr("sys.stdin", file)
        done = snnlab("stream", str(run), "-")
    assert done.status == 2
    assert_error_has(done.error, "stdin")


def test_each_event_that_causes_an_output_is_answered(
    run: Path, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers: dict[str, dict[str, Any]] = {"flatten": {"type": "flatten"}}
    layers |= {"fc": {"type": "linear", "out_features": 10, "bias": False}, "iaf": {"type": "iaf"}}
    network = build_network(layers, in_shape=(2, 34, 34), dt=20.0).network.eval()
    monkeypatch.setattr(live_stream, "stream", lambda *_, **__: EventStream(network))
    table = np.load(recording)
    outputs, spikes = EventStream(network).feed_each({name: table[name] for name in "txyp"})
    found = list(opened_live(run, binary_input(recording), by_event=True))
    caused = outputs.any(1)
    assert caused.any()
    assert [row["t_ms"] for row in found] == (table["t"][caused] / 1e3).round(4).tolist()
    assert sum(row["spikes"] for row in found) == spikes[caused][-1]


def test_a_run_that_changes_with_time_has_no_steps_of_one_event(run: Path, recording: Path, snnlab: Snnlab) -> None:
    done = snnlab("stream", str(run), str(recording), "--by-event")
    assert done.status == 2
    assert_error_has(done.error, "model.layers.lif1", "events")
