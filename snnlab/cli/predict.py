"""`snnlab predict`: predictions of a run's network for files of events."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from snnlab.cli.options import CHECKPOINTS, option_choice, parse_fraction, split_options
from snnlab.config.compose import parse_assignment
from snnlab.console import until_pipe_closes
from snnlab.data.formats import SUFFIXES
from snnlab.errors import ConfigError, DataError, join_names
from snnlab.printable import csv_cell, printable

USAGE = """usage: snnlab predict RUN FILE ... [--format csv|jsonl] [--pieces MS] [--checkpoint best|last]
                      [--until PROBABILITY] [--time-unit UNIT] [--time-origin first|zero] [--columns x,y,t,p]

Predict with the network of a run from files of events of its sensor (.npy, .npz, .csv, .txt, .h5, .bin, .aedat4, .dat,
.raw), each from its first event on, and in windows if the run has a data.stride_ms. Columns on stdout: file, start_ms,
answer (the class' number), name, probability, events (in the window), left_out (later events). Values are columns
value_NAME instead; of labels over time each interval with the same answer is a row, from start_ms to end_ms. Times and
columns are read as in the run's dataset, unless options change that.

--pieces MS feeds MS ms at a time, a whole number of steps, and carries the network's state over: less memory for long
windows, and the same answer. With jsonl there is a line after each piece: the answer so far, until_ms, final.

--until 0.9 is early exit: the network answers as soon as a class reaches this probability, at the latest at the end; a
column until_ms gives the time. Steps (or pieces) after the answer are not fed. For the accuracy at each probability:
snnlab evaluate --anytime.

  snnlab predict outputs/NAME/TIME_SEED mine/*.npy
  snnlab predict zoo:nmnist_small one.bin             with a network that comes with snnlab (snnlab list zoo)
  snnlab predict RUN one.csv --time-unit ms --format jsonl
  snnlab predict RUN one.npy --pieces 50 --format jsonl
  snnlab predict RUN mine/*.npy --until 0.9
  snnlab predict RUN one.npy 'plugins=[my_layers]'    with the code that another user's run needs
"""
FORMATS = ("csv", "jsonl")


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    options, positional = split_options("predict", arguments)
    plugins, positional = named_plugins(positional)
    if not positional:
        raise ConfigError("predict", "name a run's folder, such as outputs/NAME/TIME_SEED, then files of events")
    if len(positional) == 1:
        raise ConfigError("predict", "no files of events are named", f"snnlab predict {positional[0]} FILE ...")
    form = option_choice("predict", options, "--format", FORMATS)
    checkpoint = option_choice("predict", options, "--checkpoint", CHECKPOINTS)
    until = None
    if "--until" in options:
        until = parse_fraction(options["--until"], "predict: --until needs a probability")
    files = [Path(argument).expanduser() for argument in positional[1:]]
    _check_files(files)

    from snnlab.session import loading, prediction

    run = loading.load(positional[0], checkpoint, plugins)
    reading = {name: options.get(f"--{name.replace('_', '-')}") for name in ("time_unit", "time_origin", "columns")}
    predictor = prediction.RunPredictor(run, reading)
    with until_pipe_closes():
        found = predictor.predict_files(files, options.get("--pieces"), until, each=form == "jsonl")
        write(found, [*predictor.rows.fields, *(["until_ms"] if until is not None else [])], form, sys.stdout)
    return 0


def _check_files(files: Sequence[Path]) -> None:
    for path in files:
        if not path.exists() or path.is_dir():
            raise DataError("predict", f"there is no file {path}")
        if path.suffix.lower() not in SUFFIXES:
            raise DataError(path, f"files of events end in {join_names(SUFFIXES)}")


def named_plugins(positional: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the plugins that `plugins=[...]` names among a command's arguments, and the other arguments.

    Raises:
        ConfigError: if it cannot be read.
    """
    assignments = [argument for argument in positional if argument.startswith("plugins=")]
    if not assignments:
        return [], list(positional)
    value = parse_assignment(assignments[-1])[1]
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(assignments[-1], "expected names of modules, such as plugins=[my_layers]")
    return names, [argument for argument in positional if argument not in assignments]


def write(rows: Iterator[dict[str, Any]], fields: Sequence[str], form: str, stream: TextIO) -> None:
    """Write rows as they are computed: CSV with a header, or a JSON object per line."""
    if form == "jsonl":
        for row in rows:
            print(json.dumps(row), file=stream, flush=True)
        return
    table = csv.DictWriter(stream, fields, lineterminator="\n")
    first = next(rows, None)  # an error in the first file is raised before the header is written
    table.writeheader()
    for row in chain([first] if first is not None else [], rows):
        shown = {name: printable(value) if isinstance(value, str) else value for name, value in row.items()}
        table.writerow({name: csv_cell(value) for name, value in shown.items()})
        stream.flush()
