"""Pipes, growing files: what has arrived, silence, the end."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from snnlab.errors import DataError
from snnlab.streaming.byte_sources import FileSource, PipeSource

from ..refusals import assert_raises


def test_a_pipe_gives_what_has_arrived_and_ends_with_its_writer() -> None:
    reading, writing = os.pipe()
    source = PipeSource(reading, closes=True)
    assert source.read(0.001) is None
    os.write(writing, b"one")
    assert source.read(1) == b"one"
    os.write(writing, b"two")
    os.close(writing)
    assert source.read(None) == b"two"
    assert source.read(None) == b""
    source.close()


def test_a_file_is_followed_as_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_bytes(b"two")
    source = FileSource(path, follows=True)
    assert source.read(1) == b"two"
    assert source.read(0.005) is None
    with path.open("ab") as file:
        file.write(b" three")
    assert source.read(1) == b" three"
    path.write_bytes(b"cut")
    with assert_raises(DataError, "events", 3, 9):
        source.read(1)
    source.close()
    whole = FileSource(path)
    assert [whole.read(None), whole.read(None)] == [b"cut", b""]
    whole.close()


def test_what_cannot_be_read_is_an_error_of_its_name(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "events", os.O_WRONLY | os.O_CREAT)
    for timeout_s in (None, 1.0):
        with assert_raises(DataError, "mine"):
            PipeSource(descriptor, "mine").read(timeout_s)
    os.close(descriptor)
    for timeout_s in (None, 1.0):
        with assert_raises(DataError, "mine"):
            PipeSource(descriptor, "mine").read(timeout_s)


def test_a_pipe_that_does_not_block_is_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    source = PipeSource(reading, closes=True)
    timer = threading.Timer(0.05, lambda: os.write(writing, b"one"))
    timer.start()
    assert source.read(None) == b"one"
    timer.join()
    os.close(writing)
    source.close()
