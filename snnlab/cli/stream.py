"""`snnlab stream`: answers of a run's network while events arrive."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from snnlab.cli.options import (
    CHECKPOINTS,
    option_choice,
    option_port,
    parse_fraction,
    parse_milliseconds,
    parse_positive,
    split_options,
)
from snnlab.cli.predict import named_plugins
from snnlab.console import console_logging, until_pipe_closes
from snnlab.errors import ConfigError, join_names
from snnlab.live_pages.page_server import open_port, page_address, wait_for_interrupt

USAGE = """usage: snnlab stream RUN [FILE|FIFO|-|tcp://HOST:PORT] [--dt MS] [--every MS] [--until PROBABILITY]
                     [--by-event] [--max-wait MS] [--latency] [--state FILE] [--follow] [--binary]
                     [--time-unit UNIT] [--time-origin first|zero] [--columns t,x,y,p]
                     [--checkpoint best|last] [--fold-norm] [--page [PORT]] [--keep-page] [--speed FACTOR]

Run the network of a run on events as they arrive, step by step on one core, with work only where there are events.
Each line on stdout is a JSON object: t_ms (the end of the step), answer (the class' number), name, probability, from
the outputs of the last data.duration_ms; spikes (of all layers since the line before).

Events come from a file as for snnlab predict, a FIFO, standard input (-), or the first program that sends something to
the port (0: any free one). --follow reads a file on as it grows. These have a line t,x,y,p for each event, t in us; or
with --binary 16 bytes, little endian: t int64, x uint16, y uint16, p uint8, three that are not read. Without --follow a
text file needs a first line with the names of its columns, or --columns. A writer that is faster than the network
waits. Events of a step that has ended, outside the sensor, or more than an hour ahead, and lines that are no events,
are dropped; the first of each kind is reported, and the last line on stderr has their numbers.

A step ends when an event of a later step arrives, or at the end of the input. With --max-wait it also ends by the
clock, this long after it would end in real time: for a camera that falls silent. --dt is the length of a step, by
default that of the run. --every is the time from one line to the next, a whole number of steps, by default 100 ms.
--by-event runs each event through the network when it arrives, and prints a line for each one that causes an output;
for networks that do not change with time, such as those of iaf. --until ends with the first answer that has this
probability. --latency adds latency_us to the lines: from the arrival of the events that end the step to the line; and
ends with its percentiles. --state goes on from the state in FILE, if it exists, and writes it every 10 s and at the
end, also after Ctrl-C or kill; a file goes on at its place, if it is read with the same options. --fold-norm folds
batch normalizations into the layers before them.

--page serves a page for a browser on this machine, and prints its address: events, spikes of all layers, answers over
time, the time of a step, dropped events. PORT is any free one by default. The page ends with the stream, and says so;
what it shows stays. With --keep-page it is served until Ctrl-C. --speed plays a recording at its own pace, 1 is real
time, 0.1 ten times slower; with --page, from when the page is opened.

  snnlab stream outputs/NAME/TIME_SEED one.npy --dt 1 --every 10
  snnlab stream RUN one.npy --page --speed 1
  camera_program | snnlab stream RUN - --binary --max-wait 5 --latency
"""
_TIMES = ("--dt", "--every", "--max-wait")
_READING = ("--time-unit", "--time-origin", "--columns")


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    options, words = split_options("stream", arguments)
    plugins, words = named_plugins(words)
    if len(words) > 2:
        raise ConfigError("stream", f"takes a run's folder and a source of events, got also {join_names(words[2:])}")
    if not words:
        raise ConfigError("stream", "name a run's folder, such as outputs/NAME/TIME_SEED, then a file of events or -")
    checkpoint = option_choice("stream", options, "--checkpoint", CHECKPOINTS)
    dt, every, max_wait = (parse_milliseconds("stream", options, name) for name in _TIMES)
    until = parse_fraction(options["--until"], "stream: --until needs a probability") if "--until" in options else None
    speed = parse_positive("stream", options, "--speed", "a factor from 1e-6 to 1e6", least=1e-6, most=1e6)
    state = _state_file(options["--state"]) if "--state" in options else None

    from snnlab.session import live_stream, loading, stream_input

    reading = {name: options[name] for name in _READING if name in options}
    word = words[1] if len(words) > 1 else "-"
    given = stream_input.InputOptions(word, "--binary" in options, "--follow" in options, reading, speed)
    given.check()
    listener = _open_page(options)
    console_logging()
    run = loading.load(words[0], checkpoint, plugins)
    flags = ("--by-event" in options, max_wait, "--fold-norm" in options, "--latency" in options)
    live = live_stream.LiveStream(run, live_stream.LiveOptions(dt, every, until, *flags))
    if state is not None and os.path.exists(state):
        live.load(state)
    with ExitStack() as opened:
        if listener is not None:
            address = page_address(listener)
            opened.callback(live.show(listener, given.word, speed).close)
            waits = "; the recording begins when it is opened" if speed else ""
            print(f"snnlab: page at {address}{waits}", file=sys.stderr, flush=True)
        events = stream_input.open_input(given, live, run)
        try:
            with until_pipe_closes(), closing(live.lines(events, given.source(run), state, _descriptor())) as lines:
                for text in lines:
                    sys.stdout.write(text)
                    sys.stdout.flush()
        finally:
            took = time.perf_counter() - started
            print(f"snnlab: {live.summary(events.num_bad)}, in {took:.1f} s", file=sys.stderr)
            if "--latency" in options:
                print(f"snnlab: latency {live.latency.text()}", file=sys.stderr)
        if "--keep-page" in options:
            print("snnlab: the page is served until Ctrl-C", file=sys.stderr, flush=True)
            wait_for_interrupt()
    return 0


def _state_file(word: str) -> Path:
    path = Path(word).expanduser()
    try:
        path.lstat()
    except FileNotFoundError:
        if not os.path.isdir(path.absolute().parent):
            raise ConfigError("--state", f"there is no folder {path.parent}") from None
    except OSError as error:
        raise ConfigError("--state", f"{path} cannot be read ({error.strerror})") from None
    return path


def _descriptor() -> int | None:
    """Return the descriptor of stdout; None if it is no file."""
    with suppress(OSError, ValueError):
        return sys.stdout.fileno()
    return None


def _open_page(options: Mapping[str, str]) -> socket.socket | None:
    if "--page" in options:
        return open_port(option_port(options, "--page"), "--page")
    if "--keep-page" in options:
        raise ConfigError("--keep-page", "needs --page")
    return None
