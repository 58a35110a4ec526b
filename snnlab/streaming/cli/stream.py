"""`snnlab stream`: answers of a run's network while events arrive."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, closing, suppress
from typing import Annotated

from snnlab.cli.command import (
    AS_RECORDED,
    Alone,
    Call,
    Checkpoint,
    FileReading,
    Milliseconds,
    Plugins,
    Probability,
    Run,
    command,
)
from snnlab.cli.predict import named_plugins
from snnlab.console import console_logging, until_pipe_closes
from snnlab.errors import ConfigError
from snnlab.spec.interval import between


@command("stream", section="use a run")
def stream(
    run: Run,
    source: Annotated[str, "source"] = "-",
    *,
    dt: Milliseconds | None = None,
    every: Milliseconds | None = None,
    until: Probability | None = None,
    max_wait: Milliseconds | None = None,
    latency: bool = False,
    follow: bool = False,
    binary: bool = False,
    reading: FileReading = AS_RECORDED,
    checkpoint: Checkpoint = "best",
    fold_norm: bool = False,
    page: Annotated[int | None, "port", between(0, 65535), Alone(0)] = None,
    keep_page: bool = False,
    speed: Annotated[float | None, "factor", between(1e-6, 1e6)] = None,
    plugins: Plugins = None,
    call: Call,
) -> None:
    """Answer while events arrive, from a file or a pipe.

    The network of a run runs step by step on one core, with work only where there are events. Each line on stdout is a
    JSON object: t_ms (the end of the step), answer (the class' number), name, probability, from the outputs of the last
    data.duration_ms; spikes (of all layers since the line before).

    Events come from a file as for snnlab predict, a FIFO, or standard input (-). --follow reads a file on as it grows.
    These have a line t,x,y,p for each event, t in us; or with --binary 16 bytes, little endian: t int64, x uint16,
    y uint16, p uint8, three that are not read. Without --follow a text file needs a first line with the names of its
    columns, or --columns. A writer that is faster than the network waits. Events of a step that has ended, outside the
    sensor, or more than an hour ahead, and lines that are no events, are dropped; the first of each kind is reported,
    and the last line on stderr has their numbers.

    A step ends when an event of a later step arrives, or at the end of the input. With --max-wait it also ends by the
    clock, this long after it would end in real time: for a camera that falls silent. --latency adds latency_us to the
    lines: from the arrival of the events that end the step to the line; and ends with its percentiles.

    --page serves a page for a browser on this machine, and prints its address: events, spikes of all layers, answers
    over time, the time of a step, dropped events. The page ends with the stream, and says so; what it shows stays.
    --speed plays a recording at its own pace; with --page, from when the page is opened.

    Args:
        source: a file, a FIFO, or -
        dt: length of a step, by default that of the run
        every: time from one line to the next, a whole number of steps, by default 100
        until: end with the first answer that has this probability
        max_wait: end a step by the clock too
        latency: measure the time from events to the line
        follow: read a file on as it grows
        binary: events are 16 bytes each
        fold_norm: fold batch normalizations into the layers before them
        page: serve a page, at any free port by default
        keep_page: serve it until Ctrl-C
        speed: 1 is real time, 0.1 ten times slower

    Examples:
        snnlab stream outputs/NAME/TIME_SEED one.npy --dt 1 --every 10
        snnlab stream RUN one.npy --page --speed 1
        camera_program | snnlab stream RUN - --binary --max-wait 5 --latency
        nc -l 9000 | snnlab stream RUN -                    what a program sends to a port
    """
    if keep_page and page is None:
        raise ConfigError("stream: --keep-page", "needs --page")

    from snnlab.session import loading
    from snnlab.streaming.session import live_stream, stream_input, stream_page

    given = stream_input.InputOptions(source, binary, follow, reading.given, speed)
    given.check()
    server = None if page is None else stream_page.PageServer(page)
    console_logging()
    opened_run = loading.load(run, checkpoint, named_plugins(plugins))
    live = live_stream.LiveStream(opened_run, live_stream.LiveOptions(dt, every, until, max_wait, fold_norm, latency))
    with ExitStack() as opened:
        if server is not None:
            opened.callback(live.show(server, given.word, speed).close)
            waits = "; the recording begins when it is opened" if speed else ""
            print(f"snnlab: page at {server.address}{waits}", file=sys.stderr, flush=True)
        events = stream_input.open_input(given, live, opened_run)
        begun = time.perf_counter()
        try:
            _print_lines(live.lines(events))
        finally:
            took = f"took {time.perf_counter() - begun:.2f} s after a start of {begun - call.started:.1f} s"
            print(f"snnlab: {live.summary(events.num_bad)}; {took}", file=sys.stderr)
            if latency:
                print(f"snnlab: latency {live.latency.text()}", file=sys.stderr)
        if keep_page:
            print("snnlab: the page is served until Ctrl-C", file=sys.stderr, flush=True)
            with suppress(KeyboardInterrupt):
                threading.Event().wait()


def _print_lines(lines: Generator[str]) -> None:
    with until_pipe_closes(), closing(lines):
        for text in lines:
            sys.stdout.write(text)
            sys.stdout.flush()
