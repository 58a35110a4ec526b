"""Opens the events of `snnlab stream`: a recording, a growing file, a pipe, a socket."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from snnlab.data.formats import SUFFIXES, ReadOptions, names_columns, read_file
from snnlab.errors import ConfigError, DataError
from snnlab.session.live_stream import LiveStream
from snnlab.session.opened_run import OpenedRun
from snnlab.session.prediction import reading_settings
from snnlab.streaming.byte_sources import (
    ByteSource,
    FileSource,
    PipeSource,
    SocketSource,
    is_address,
    is_pipe,
    open_pipe,
    parse_address,
)
from snnlab.streaming.event_decoders import BinaryDecoder, Decoder, LineDecoder
from snnlab.streaming.event_input import EventInput, LiveInput, PacedInput, RecordedInput, columns_of


class InputOptions(NamedTuple):
    """Where events come from, and their form.

    Attributes:
        word: A file, a FIFO, `-` for standard input, or `tcp://HOST:PORT`.
        is_binary: Whether events are 16 bytes each rather than lines.
        follows: Whether the file grows.
        reading: `--time-unit`, `--time-origin` and `--columns`, where they are given.
        speed: How much faster than real time a recording plays; None: as fast as the network runs.
    """

    word: str
    is_binary: bool = False
    follows: bool = False
    reading: Mapping[str, str] = {}
    speed: float | None = None

    @property
    def name(self) -> str:
        """The input's name in a saved state."""
        return self.word if self.word == "-" or is_address(self.word) else str(self.path.absolute())

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.word).expanduser()

    def check(self) -> None:
        """Raise a DataError or a ConfigError if there is no such input, before anything takes time."""
        if is_address(self.word):
            parse_address(self.word)
        elif self.word != "-" and not self.path.exists():
            raise DataError("stream", f"there is no file {self.word}")
        elif self.word != "-" and self.path.is_dir():
            raise DataError(self.word, "is a folder", "name a file of events")
        if self.follows and (self.word == "-" or is_address(self.word)):
            raise ConfigError("--follow", "is for a file that grows")
        if self.is_binary and "--columns" in self.reading:
            raise ConfigError("--columns", "is for lines of text")
        if self.speed is not None and _is_live(self):
            raise ConfigError("--speed", f"is for a recording, {self.word} is read as it comes")


def open_input(options: InputOptions, live: LiveStream, run: OpenedRun) -> EventInput:
    """Return the events of an input; a stream with a saved state goes on in the same file where it was saved.

    Raises:
        DataError: if the input cannot be read.
        ConfigError: if an option or the address is invalid.
    """
    options.check()
    reading = reading_settings(run.experiment.data, options.reading, "stream")
    is_known = live.place.name == options.name
    try:
        if not _is_live(options):
            return _recording(options, reading, live, run, is_known=is_known)
        place = live.place.position if is_known else 0
        starts_anew = reading.time_origin == "first"
        origin = live.place.origin_us if is_known and (place or not starts_anew) else None if starts_anew else 0
        decoder = _decoder(options, reading, run)
        source = _source(options, place)
    except OSError as error:
        raise DataError(options.word, f"cannot be read ({error.strerror})") from None
    start_us = live.stream.start_us(live.stream.num_steps)
    return LiveInput(source, decoder, position=place, origin_us=origin, start_us=start_us, has_places=_is_file(options))


def _is_file(options: InputOptions) -> bool:
    return options.word != "-" and not is_address(options.word) and not is_pipe(options.path)


def _is_live(options: InputOptions) -> bool:
    return not _is_file(options) or options.follows or options.is_binary or options.path.suffix.lower() not in SUFFIXES


def _source(options: InputOptions, position: int) -> ByteSource:
    if options.word == "-":
        return PipeSource(sys.stdin.fileno())
    if is_address(options.word):
        return SocketSource(options.word)
    if is_pipe(options.path):
        return open_pipe(options.path)
    return FileSource(options.path, follows=options.follows, position=position)


def _decoder(options: InputOptions, reading: ReadOptions, run: OpenedRun) -> Decoder:
    if options.is_binary:
        return BinaryDecoder()
    polarities = run.session.settings.size[2]
    decoder = LineDecoder(options.reading.get("--time-unit", "us"), reading.columns or "txyp", polarities)
    decoder.warm_up()
    return decoder


def _recording(
    options: InputOptions, reading: ReadOptions, live: LiveStream, run: OpenedRun, *, is_known: bool
) -> RecordedInput:
    if not os.access(options.path, os.R_OK):
        raise DataError(options.word, "cannot be read (permission denied)")
    if reading.columns is None and not names_columns(options.path):
        problem = "its first line names no columns, which have one order in files and another one in streams"
        raise DataError(options.word, problem, "add --columns with their names, such as t,x,y,p")
    size = run.session.settings.size
    events = columns_of(read_file(options.path, reading, size), size[1])
    position = 0
    start_us = live.stream.start_us(live.stream.num_steps) if reading.time_origin == "first" else 0
    if is_known and live.place.origin_us is not None:
        position, start_us = live.place.position, -live.place.origin_us
    if options.speed is None:
        return RecordedInput(events, position=position, start_us=start_us)
    wait = None if live.page is None else live.page.wait
    return PacedInput(events, options.speed, wait, position=position, start_us=start_us)
