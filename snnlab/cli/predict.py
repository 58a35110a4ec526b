"""`snnlab predict`: predictions of a run's network for files of events."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

from snnlab.cli.command import AS_RECORDED, Checkpoint, FileReading, Plugins, Probability, Run, command
from snnlab.config.compose import parse_assignment
from snnlab.console import until_pipe_closes
from snnlab.data.formats import SOUND_SUFFIXES, SUFFIXES
from snnlab.errors import ConfigError, DataError, join_names
from snnlab.printable import csv_cell, printable


@command("predict", section="use a run", page="runs", synonyms=("infer",))
def predict(
    run: Run,
    *files: Annotated[str, "file"],
    format_: Literal["csv", "jsonl"] = "csv",
    pieces: Annotated[str | None, "ms"] = None,
    checkpoint: Checkpoint = "best",
    until: Probability | None = None,
    reading: FileReading = AS_RECORDED,
    plugins: Plugins = None,
) -> None:
    """Predict the class or the values of files of events.

    The files are of the run's sensor: .npy, .npz, .csv, .txt, .h5, or of a camera (.aedat, .aedat4, .bin, .dat, .es,
    .raw), each from its first event on, and in windows if the run has a data.stride_ms; for a run on sound, .wav, which
    becomes events by the run's data.cochlea. Columns on stdout: file,
    start_ms, answer (the class' number), name, probability, events (in the window), left_out (later events). Values are
    columns value_NAME instead; of labels over time each interval with the same answer is a row, from start_ms to
    end_ms. A window without events, or whose outputs are all equal, has no answer: empty fields, and a line on stderr.
    Times and columns are read as in the run's dataset, unless options change that.

    --pieces feeds MS ms at a time, a whole number of steps, and carries the network's state over: less memory for long
    windows, and the same answer. With jsonl there is a line after each piece: the answer so far, until_ms, final.

    --until 0.9 is early exit: the network answers as soon as a class reaches this probability, at the latest at the
    end; a column until_ms gives the time. Steps (or pieces) after the answer are not fed. For the accuracy at each
    probability: snnlab evaluate --anytime.

    Args:
        files: of events
        format_: of the rows
        pieces: length of a piece
        until: early exit

    Examples:
        snnlab predict outputs/NAME/TIME_SEED mine/*.npy
        snnlab predict zoo:nmnist_small one.bin             with a network that comes with snnlab (snnlab list zoo)
        snnlab predict RUN one.csv --time-unit ms --format jsonl
        snnlab predict RUN one.npy --pieces 50 --format jsonl
        snnlab predict RUN mine/*.npy --until 0.9
        snnlab predict RUN voice.wav                        a run on data=spoken_digits
        snnlab predict RUN one.npy 'plugins=[my_layers]'
    """
    if not files:
        raise ConfigError("predict", "no files of events are named", f"snnlab predict {run} FILE ...")
    paths = [Path(word).expanduser() for word in files]
    _check_files(paths)

    from snnlab.session import loading, prediction

    predictor = prediction.RunPredictor(loading.load(run, checkpoint, named_plugins(plugins)), vars(reading))
    with until_pipe_closes():
        found = predictor.predict_files(paths, pieces, until, each=format_ == "jsonl")
        fields = [*predictor.rows.fields, *(["until_ms"] if until is not None else [])]
        write(found, fields, format_, sys.stdout)


def _check_files(files: Sequence[Path]) -> None:
    for path in files:
        if not path.exists() or path.is_dir():
            raise DataError("predict", f"there is no file {path}")
        if path.suffix.lower() not in (*SUFFIXES, *SOUND_SUFFIXES):
            raise DataError(path, f"files of events end in {join_names(SUFFIXES)}")


def named_plugins(text: str | None) -> list[str]:
    """Return the modules that the text of `plugins=` names."""
    if text is None:
        return []
    value = parse_assignment(f"plugins={text}")[1]
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"plugins={text}", "expected names of modules, such as plugins=[my_layers]")
    return names


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
