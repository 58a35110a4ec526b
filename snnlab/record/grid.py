"""A grid of runs in one folder, and its table: a row for every combination but the seed, over whose runs it is a mean.

grid.json  table.csv  NUMBER_SEED/, a run's folder each
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich import box
from rich.table import Table

from snnlab.console import table_console
from snnlab.errors import DamagedError, RecordError
from snnlab.files import unwritable, write_json, write_text
from snnlab.masking import without_passwords
from snnlab.printable import cell
from snnlab.record.metric_text import mean_sd_text
from snnlab.record.run_reading import find_runs, is_run, read_ended

FILE, TABLE = "grid.json", "table.csv"
SCHEMA = 1
SEED = "seed"
# What is printed, for choosing first; table.csv has all.
_SHOWN = ("val/accuracy", "val/r2", "val/loss", "val/spikes_per_sample", "test/accuracy", "test/r2", "test/loss")
_TEST = "test/"


@dataclass
class Grid:
    """A grid of runs.

    Attributes:
        folder: Its folder.
        overrides: What it was started with.
        keys: The settings with several values.
        runs: By a run's place in the folder, the values it has of these, as words.
    """

    folder: Path
    overrides: Sequence[str]
    keys: Sequence[str]
    runs: dict[str, Mapping[str, str]] = field(default_factory=dict)

    def write(self) -> None:
        """Write `grid.json`.

        Raises:
            RecordError: if the folder cannot be written.
        """
        page = {"schema": SCHEMA, "overrides": list(self.overrides), "keys": list(self.keys), "runs": dict(self.runs)}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / FILE, without_passwords(page))
        except OSError as error:
            raise unwritable(self.folder, error) from error


@dataclass(frozen=True)
class Row:
    """The runs that differ in nothing but their seed.

    Attributes:
        values: What they have in common, by setting.
        runs: How many are complete.
        missing: How many failed, have not ended, or cannot be read.
        metrics: By name, the figures of the complete ones.
    """

    values: Mapping[str, str]
    runs: int
    missing: int
    metrics: Mapping[str, Sequence[float]]


def read_grid(folder: Path) -> Grid | None:
    """Return the grid of a folder, None where it holds none.

    Raises:
        RecordError: if its file cannot be read.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        page = json.loads(path.read_text(encoding="utf-8"))
        if page["schema"] != SCHEMA:
            raise RecordError(f"{path}: was not written by this version of snnlab")
        grid = Grid(folder, list(page["overrides"]), list(page["keys"]), dict(page["runs"]))
        return replace(grid, runs={place: dict(values) for place, values in grid.runs.items()})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(path, error, "without it, if it is removed, the runs are listed one by one") from error


def find_all_runs(root: Path) -> list[Path]:
    """Return the folders of runs below `root`, as `find_runs` does, and those of the grids below it, oldest first."""
    deeper = [path.parent for path in root.glob("*/*/*/config.yaml") if (path.parents[1] / FILE).is_file()]
    of_grids = filter(is_run, deeper)
    times = {run: run.name for run in find_runs(root)} | {run: run.parent.name for run in of_grids}
    return sorted(times, key=lambda run: (times[run], len(run.name), str(run)))


def grouped(grid: Grid) -> list[Row]:
    """Return a row for every combination of the settings but the seed, in the order of the runs."""
    groups: dict[tuple[str, ...], list[str]] = {}
    keys = [key for key in grid.keys if key != SEED]
    for place, values in grid.runs.items():
        groups.setdefault(tuple(values.get(key, "") for key in keys), []).append(place)
    return [_row(grid, dict(zip(keys, common, strict=True)), places) for common, places in groups.items()]


def write_table(grid: Grid) -> Path:
    """Write `table.csv`: of every metric mean, standard deviation and number of runs, and return its path.

    Raises:
        RecordError: if it cannot be written.
    """
    rows = grouped(grid)
    names = list(dict.fromkeys(name for row in rows for name in row.metrics))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    settings = [key for key in grid.keys if key != SEED]
    writer.writerow(
        [*settings, "runs", "missing", *(f"{name}_{what}" for name in names for what in ("mean", "sd", "n"))]
    )
    for row in rows:
        figures = [cell for name in names for cell in _cells(row.metrics.get(name, ()))]
        writer.writerow([*map(cell, row.values.values()), row.runs, row.missing, *figures])
    path = grid.folder / TABLE
    try:
        write_text(path, text.getvalue())
    except OSError as error:
        raise unwritable(grid.folder, error) from error
    return path


def texts(grid: Grid) -> tuple[str, list[str], list[list[str]]]:
    """Return the table as texts: what was measured on validation recordings, to choose by, and then on test recordings.

    Returns:
        What it is, the columns' names, and the rows.
    """
    rows = grouped(grid)
    there = {name for row in rows for name in row.metrics}
    names = [name for name in _SHOWN if name in there]
    over = "mean ± sd over seeds" if SEED in grid.keys else "a run each"
    tested = any(name.startswith(_TEST) for name in names)
    title = f"{len(grid.runs)} runs: {over}; " + (
        "choose by validation, not by test" if tested else "on validation recordings, nothing was tested"
    )
    numbers = (f"{row.runs} of {row.runs + row.missing}" if row.missing else str(row.runs) for row in rows)
    lines = [
        [*row.values.values(), number, *(mean_sd_text(name, row.metrics.get(name, ())) for name in names)]
        for row, number in zip(rows, numbers, strict=True)
    ]
    return title, [*(key for key in grid.keys if key != SEED), "runs", *names], lines


def print_grouped(grid: Grid) -> None:
    """Print the table."""
    title, head, lines = texts(grid)
    print(title)  # as a title it would be as narrow as the table
    table = Table(box=box.SIMPLE_HEAD)
    for column in head:
        style = "dim" if column.startswith(_TEST) else None
        table.add_column(column, justify="right", overflow="fold", style=style)
    for line in lines:
        table.add_row(*line)
    table_console().print(table)


def _row(grid: Grid, values: Mapping[str, str], places: Sequence[str]) -> Row:
    metrics: dict[str, list[float]] = {}
    complete = 0
    for place in places:
        try:
            recorded = read_ended(grid.folder / place)
        except DamagedError:
            continue
        if recorded is None or recorded.status != "completed":
            continue
        complete += 1
        for name, value in recorded.metrics.items():
            metrics.setdefault(name, []).append(value)
    return Row(values, complete, len(places) - complete, metrics)


def _cells(values: Sequence[float]) -> tuple[Any, Any, int]:
    return fmean(values) if values else "", stdev(values) if len(values) > 1 else "", len(values)
