"""A grid of runs in one folder, and its table: a row for every combination but the seed, over whose runs it is a mean.

grid.json  table.csv  NUMBER_SEED/, a run's folder each
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich import box
from rich.table import Table

from snnlab.console import table_console
from snnlab.errors import RecordError
from snnlab.files import remove_empty, unwritable, write_json, write_text
from snnlab.masking import without_passwords
from snnlab.printable import cell
from snnlab.record.run_folder import RESULT
from snnlab.record.run_reading import find_runs, read_run

FILE, TABLE = "grid.json", "table.csv"
# Hydra's own record of a grid.
_HYDRAS = "multirun.yaml"
SCHEMA = 1
SEED = "seed"
# What is printed of a run that was tested, and of one that was not; table.csv has all.
_TESTED = ("test/accuracy", "test/r2", "test/loss", "test/spikes_per_sample")
_VALIDATED = ("val/accuracy", "val/r2", "val/loss", "val/spikes_per_sample")


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

    def remove(self) -> None:
        """Remove what says of runs that were never begun, and the folders that are empty then."""
        for name in (FILE, _HYDRAS):
            (self.folder / name).unlink(missing_ok=True)
        for place in self.runs:
            remove_empty(self.folder / place, 0)
        remove_empty(self.folder, 2)


@dataclass(frozen=True)
class Row:
    """The runs that differ in nothing but their seed.

    Attributes:
        values: What they have in common, by setting.
        runs: How many are complete.
        missing: How many failed, or have not ended.
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
        return Grid(folder, page["overrides"], page["keys"], page["runs"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path}: cannot be read ({error})") from error


def find_all_runs(root: Path) -> list[Path]:
    """Return the folders of runs below `root`, as `find_runs` does, and those of the grids below it, oldest first."""
    of_grids = [path.parent for path in root.glob("*/*/*/config.yaml") if (path.parents[1] / FILE).is_file()]
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
    """Return the table as texts, with what was measured on test recordings, or where none was on validation ones.

    Returns:
        What it is, the columns' names, and the rows.
    """
    rows = grouped(grid)
    there = {name for row in rows for name in row.metrics}
    tested = any(name in there for name in _TESTED)
    names = [name for name in (_TESTED if tested else _VALIDATED) if name in there]
    over = "mean ± sd over seeds" if SEED in grid.keys else "a run each"
    title = f"{len(grid.runs)} runs: {over}" + ("" if tested else "; on validation recordings, nothing was tested")
    numbers = (f"{row.runs} of {row.runs + row.missing}" if row.missing else str(row.runs) for row in rows)
    lines = [
        [*row.values.values(), number, *(_mean_sd(row.metrics.get(name, ()), name) for name in names)]
        for row, number in zip(rows, numbers, strict=True)
    ]
    return title, [*(key for key in grid.keys if key != SEED), "runs", *names], lines


def print_grouped(grid: Grid) -> None:
    """Print the table."""
    title, head, lines = texts(grid)
    print(title)  # as a title it would be as narrow as the table
    table = Table(box=box.SIMPLE_HEAD)
    for column in head:
        table.add_column(column, justify="right", overflow="fold")
    for line in lines:
        table.add_row(*line)
    table_console().print(table)


def _row(grid: Grid, values: Mapping[str, str], places: Sequence[str]) -> Row:
    metrics: dict[str, list[float]] = {}
    complete = 0
    for place in places:
        folder = grid.folder / place
        if not (folder / RESULT).is_file() or (recorded := read_run(folder)).page["status"] != "completed":
            continue
        complete += 1
        for name, value in recorded.metrics.items():
            if isinstance(value, int | float):
                metrics.setdefault(name, []).append(value)
    return Row(values, complete, len(places) - complete, metrics)


def _cells(values: Sequence[float]) -> tuple[Any, Any, int]:
    return fmean(values) if values else "", stdev(values) if len(values) > 1 else "", len(values)


def _mean_sd(values: Sequence[float], name: str) -> str:
    if not values:
        return ""
    form = ".2%" if name.endswith("/accuracy") else ".4g"
    spread = f" ± {stdev(values):{form}}" if len(values) > 1 else ""
    return f"{fmean(values):{form}}{spread}"
