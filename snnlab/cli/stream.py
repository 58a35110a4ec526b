"""`snnlab stream`: answers of a run's network while events arrive."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snnlab.cli.options import CHECKPOINTS, option_choice, split_options
from snnlab.cli.predict import named_plugins
from snnlab.console import until_pipe_closes
from snnlab.errors import ConfigError, DataError

USAGE = """usage: snnlab stream RUN [FILE|-] [--dt MS] [--every MS] [--checkpoint best|last]
                     [--time-unit UNIT] [--fold-norm]

Run the network of a run on events as they arrive, step by step on one core, with work only where there are events.
FILE is one of snnlab predict; - is standard input, with lines t,x,y,p (t in us from the start of the stream). Each line
on stdout is a JSON object: t_ms (the end of the step), answer (the class' number), name, probability, from the outputs
of the last data.duration_ms. A step ends when an event of a later step arrives, or at the end of the input. Events of
a step that has ended, or outside the sensor, are dropped; their numbers are in the last line on stderr.

--dt is the length of a step, by default that of the run. --every is the time from one answer to the next, a whole
number of steps, by default 100 ms (one step if steps are longer). --fold-norm folds batch normalizations into the
layers before them.

  snnlab stream outputs/NAME/TIME_SEED one.npy --dt 1 --every 10
  camera_program | snnlab stream RUN -
"""
_PIECE = 1 << 16


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    options, words = split_options("stream", arguments)
    plugins, words = named_plugins(words)
    if not 1 <= len(words) <= 2:
        raise ConfigError("stream", "name a run's folder, such as outputs/NAME/TIME_SEED, then a file of events or -")
    checkpoint = option_choice("stream", options, "--checkpoint", CHECKPOINTS)
    dt, every = (_milliseconds(options, name) for name in ("--dt", "--every"))
    file = None if words[1:] in ([], ["-"]) else Path(words[1]).expanduser()
    if file is not None and not file.is_file():
        raise DataError("stream", f"there is no file {file}")

    from snnlab.session import loading, open_stream

    run = loading.load(words[0], checkpoint, plugins)
    live = open_stream.LiveStream(run, dt, every, fold_norm="--fold-norm" in options)
    unit = options.get("--time-unit")
    pieces = live.read_file(file, unit) if file is not None else live.read_lines(_standard_input(), unit)
    with until_pipe_closes():
        for row in live.answers(pieces):
            print(json.dumps(row), flush=True)
    took = time.perf_counter() - started
    print(f"snnlab: {live.summary()}, in {took:.1f} s", file=sys.stderr)
    return 0


def _standard_input() -> Iterator[bytes]:
    """Yield what has arrived, without waiting for more."""
    while piece := os.read(sys.stdin.fileno(), _PIECE):
        yield piece


def _milliseconds(options: dict[str, Any], name: str) -> float | None:
    if name not in options:
        return None
    try:
        value = float(options[name])
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise ConfigError("stream", f"{name} needs a time above 0, ms, got {options[name]}")
    return value
