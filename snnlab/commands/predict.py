"""`snnlab predict`: what a run's network answers to files of events."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from snnlab.commands.options import split_options
from snnlab.errors import ConfigError, DataError, RecordError, listing

if TYPE_CHECKING:
    from snnlab.commands.loading import Run
    from snnlab.data.formats import Reading
    from snnlab.data.settings import DataSettings
    from snnlab.events import Events

USAGE = """usage: snnlab predict RUN FILE ... [--format csv|jsonl] [--checkpoint best|last] [--time-unit UNIT]
                      [--time-origin first|zero] [--columns x,y,t,p]

Let the network of a run answer to files of events of its sensor, of any kind that snnlab reads (.npy, .npz, .csv, .txt,
.h5, .bin, .aedat4, .dat, .raw), each from its start on, and with a data.stride_ms in the run in windows. Written to
stdout: file, start_ms, answer (the class' number), name, probability, events (in the window), left_out (later ones).
Times and columns are those of the run's own dataset, unless options say otherwise.

  snnlab predict outputs/NAME/TIME_SEED mine/*.npy
  snnlab predict RUN one.csv --time-unit ms --format jsonl
"""
FORMATS = ("csv", "jsonl")
FIELDS: tuple[str, ...] = ("file", "start_ms", "answer", "name", "probability", "events", "left_out")
_OPTIONS = ("--format", "--checkpoint", "--time-unit", "--time-origin", "--columns")


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    if not arguments or "-h" in arguments or "--help" in arguments:
        print(USAGE, end="")
        return 0
    options, words = split_options("predict", arguments, _OPTIONS)
    if len(words) < 2:
        raise ConfigError("predict: name a run's folder, such as outputs/NAME/TIME_SEED, and files behind it")
    form, checkpoint = options.get("--format", "csv"), options.get("--checkpoint", "best")
    if form not in FORMATS:
        raise ConfigError(f"predict: --format must be one of {listing(FORMATS)}, got {form}")
    if checkpoint not in ("best", "last"):
        raise ConfigError(f"predict: --checkpoint must be best or last, got {checkpoint}")
    files = [Path(word).expanduser() for word in words[1:]]
    if missing := [path for path in files if not path.is_file()]:
        raise DataError(f"predict: there is no file {missing[0]}")

    from snnlab.commands.loading import load
    from snnlab.config import assemble
    from snnlab.console import until_nobody_reads

    run = load(words[0], "last" if checkpoint == "last" else "best")
    settings = assemble.data_settings(run.experiment)
    if settings.targets != "class":
        raise ConfigError(
            f"predict: gives classes as yet, and this run has data.targets={settings.targets}; use evaluate"
        )
    if settings.hot_pixels_hz is not None:
        raise ConfigError("predict: this run left hot pixels out that only its training recordings tell; use evaluate")
    reading = reading_of(run.experiment.data, options)
    with until_nobody_reads():
        write(predictions(run, settings, reading, files), form, sys.stdout)
    return 0


def predictions(run: Run, settings: DataSettings, reading: Reading, files: list[Path]) -> Iterator[dict[str, Any]]:
    """Yield what the network answers to each window of each file.

    Raises:
        DataError: naming a file that cannot be used.
    """
    import torch

    from snnlab.config import assemble
    from snnlab.data.formats import read_file
    from snnlab.events import check_events

    loss, names, framing = assemble.loss(run.experiment), class_names(run), settings.framing()
    for path in files:
        events = read_file(path, reading, settings.size)
        check_events(events, settings.size, str(path))
        for start_us, seen, later in windows(events, settings):
            batch = framing(one_batch(seen))
            with torch.no_grad():
                y, _ = run.network(batch.x, lengths=batch.lengths)
            probabilities = loss.readout(y, batch.lengths)[0].float().softmax(0)
            answer = int(probabilities.argmax())
            yield {
                "file": str(path),
                "start_ms": start_us / 1000,
                "answer": answer,
                "name": str(answer) if names is None else names[answer],
                "probability": round(float(probabilities[answer]), 4),
                "events": seen.t.size,
                "left_out": later,
            }


def windows(events: Events, settings: DataSettings) -> Iterator[tuple[int, Events, int]]:
    """Yield each window's start (us), its events with times from there on, and how many later ones no window has."""
    import numpy as np

    from snnlab.data.windows import window_counts

    stride, last_t = settings.stride_us, events.t[-1:] if events.t.size else np.array([-1])
    many = 1 if stride is None else int(window_counts(last_t, stride, settings.duration_us)[0])
    for number in range(many):
        start = number * (stride or 0)
        first, stop = np.searchsorted(events.t, (start, start + settings.duration_us)).tolist()
        seen = events.take(slice(first, stop))
        yield start, seen._replace(t=seen.t - start), events.t.size - stop if stride is None else 0


def one_batch(events: Events) -> Any:
    """Return a recording as a batch of one."""
    import numpy as np

    from snnlab.events import Packed
    from snnlab.events.frames import EventBatch

    none, offsets = np.zeros(1, np.int64), np.array([0, events.t.size])
    t, x, y, p = (None if column is None else np.array(column) for column in events)
    assert t is not None
    assert x is not None
    assert p is not None
    return EventBatch.from_packed(Packed(t, x, y, p, offsets, none, none))


def reading_of(data: Mapping[str, Any], options: Mapping[str, str]) -> Reading:
    """Return how files are read: as the run's dataset reads its own, with what the options say.

    Raises:
        ConfigError: if an option is none of what there is.
    """
    from dataclasses import replace

    from snnlab.data.formats import Reading
    from snnlab.data.settings import DATASETS

    own = getattr(DATASETS.get(data["type"], "data"), "reading", Reading(time_origin="zero"))
    if data["type"] == "folder":
        columns = data.get("columns")
        own = Reading(data["time_unit"], data["time_origin"], data["sort"], None if columns is None else tuple(columns))
    given: dict[str, Any] = {
        name.lstrip("-").replace("-", "_"): value for name, value in options.items() if name in _OPTIONS[2:]
    }
    if "columns" in given:
        given["columns"] = tuple(given["columns"].split(","))
    try:
        return replace(own, **given)
    except ValueError as error:
        raise ConfigError(f"predict: {error}") from error


def class_names(run: Run) -> list[str] | None:
    """Return what the run's classes are called, or None."""
    path = run.folder / "split.json"
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("classes")
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: cannot be read ({error})") from error


def write(rows: Iterator[dict[str, Any]], form: str, stream: TextIO) -> None:
    """Write rows as they come: CSV with a head, or a JSON object a line."""
    if form == "jsonl":
        for row in rows:
            print(json.dumps(row), file=stream, flush=True)
        return
    table = csv.DictWriter(stream, FIELDS, lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow(row)
        stream.flush()
