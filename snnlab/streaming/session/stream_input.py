"""Opens the events of `snnlab stream`: a recording, a growing file, a pipe, a socket."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from snnlab.data.formats import SUFFIXES, ReadOptions, names_columns, read_file
from snnlab.errors import ConfigError, DataError
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
from snnlab.streaming.session.live_stream import LiveStream, SavedPlace, SourceName

_FORMS = {
    "recording": "as a recording, without --follow",
    "lines": "as a stream of lines, with --follow",
    "binary": "with --binary",
}
_LONGEST_LINE = 1 << 16
_OTHER_STATE = "name another file for --state"


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

    def source(self, run: OpenedRun) -> SourceName:
        """Return the input's name in a saved state, and the form in which it is read."""
        reading = reading_settings(run.experiment.data, self.reading, "stream")
        kind, options = "recording", repr(reading)
        if _is_live(self):
            kind = "binary" if self.is_binary else "lines"
            options = repr((reading.time_origin, "" if self.is_binary else (self.time_unit, reading.columns)))
        name = self.word if self.word == "-" or is_address(self.word) else os.path.realpath(self.path)
        return SourceName.of(name, f"{kind} {hashlib.sha256(options.encode()).hexdigest()}")

    @property
    def time_unit(self) -> str:
        """Unit of the times in lines."""
        return self.reading.get("--time-unit", "us")

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.word).expanduser()

    def check(self) -> None:
        """Raise a DataError or a ConfigError if there is no such input, before anything takes time."""
        if is_address(self.word):
            parse_address(self.word)
        elif self.word != "-" and not os.path.exists(self.path):  # not even with a name that is too long
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
    """
    options.check()
    reading = reading_settings(run.experiment.data, options.reading, "stream")
    place = _known_place(options, live.place, options.source(run))
    try:
        if _is_live(options):
            events = _live_input(options, reading, live, run, place)
        else:
            events = _recording(options, reading, live, run, place)
        if place is not None and events.checksum(place.position) != place.checksum:
            events.close()
            raise DataError(options.word, "has changed before the place in the state", _OTHER_STATE)
    except OSError as error:
        raise DataError(options.word, f"cannot be read ({error.strerror})") from None
    return events


def _known_place(options: InputOptions, place: SavedPlace, source: SourceName) -> SavedPlace | None:
    """Return the saved place if it is in this input."""
    if place.source == source:
        return place
    if place.source.name == source.name and _is_file(options):
        then, now = (form.partition(" ")[0] for form in (place.source.form, source.form))
        was = f"was read {_FORMS.get(then, 'otherwise')}, and is now read {_FORMS[now]}"
        problem = "was read with other --columns, --time-unit or --time-origin" if then == now else was
        raise ConfigError("--state", f"{options.word} {problem}", f"read it as before, or {_OTHER_STATE}")
    return None


def _live_input(
    options: InputOptions, reading: ReadOptions, live: LiveStream, run: OpenedRun, place: SavedPlace | None
) -> LiveInput:
    position = 0 if place is None else place.position
    starts_anew = reading.time_origin == "first"
    origin = None if starts_anew else 0
    if place is not None and (position or not starts_anew):
        origin = place.origin_us
    decoder = _decoder(options, reading, run)
    if place is not None and position:
        _begin_within(options, decoder, place)
    source = _source(options, position)
    start_us = live.stream.start_us(live.stream.num_steps)
    has_places = _is_file(options)
    return LiveInput(source, decoder, position=position, origin_us=origin, start_us=start_us, has_places=has_places)


def _begin_within(options: InputOptions, decoder: Decoder, place: SavedPlace) -> None:
    """Let a decoder go on at a place in a file, whose first line may name the columns."""
    if options.is_binary:
        return
    with options.path.open("rb") as file:
        decoder.decode(file.readline(_LONGEST_LINE).rstrip(b"\n") + b"\n")
        file.seek(place.position - 1)
        last, following = file.read(1), file.read(1)
    decoder.count_lines(place.num_lines - 1)
    if last != b"\n" and following not in b"\r\n":
        problem = f"its line before byte {place.position:,} was read as an event, and has grown since"
        raise DataError(options.word, problem, f"use --follow for a file that grows; {_OTHER_STATE}")


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
    decoder = LineDecoder(options.time_unit, reading.columns or "txyp", polarities)
    decoder.warm_up()
    return decoder


def _recording(
    options: InputOptions, reading: ReadOptions, live: LiveStream, run: OpenedRun, place: SavedPlace | None
) -> RecordedInput:
    if not os.access(options.path, os.R_OK):
        raise DataError(options.word, "cannot be read (permission denied)")
    if reading.columns is None and not names_columns(options.path):
        problem = "its first line names no columns, which have one order in files and another one in streams"
        raise DataError(options.word, problem, "add --columns with their names, such as t,x,y,p")
    sensor_size = run.session.settings.size
    events = columns_of(read_file(options.path, reading, sensor_size), sensor_size[1])
    position = 0
    start_us = live.stream.start_us(live.stream.num_steps) if reading.time_origin == "first" else 0
    if place is not None and place.origin_us is not None:
        position, start_us = place.position, -place.origin_us
    if position > (size := events["t"].size):
        problem = f"has {size:,} events, and {position:,} of it were read: it was cut"
        raise DataError(options.word, problem, _OTHER_STATE)
    if options.speed is None:
        return RecordedInput(events, position=position, start_us=start_us)
    wait = None if live.page is None else live.page.wait
    return PacedInput(events, options.speed, wait, position=position, start_us=start_us)
