"""A grid of runs in one folder, and its table: a row for every combination but the seed, over whose runs it is a mean.

grid.json  table.csv  NUMBER_SEED/, a run's folder each
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, stdev

from snnlab.errors import DamagedError, RecordError
from snnlab.files import unwritable, write_json, write_text
from snnlab.masking import without_passwords
from snnlab.record import groups
from snnlab.record.run_reading import find_runs, is_run, read_ended
from snnlab.record.tables import Table, csv_text, mean_sd_text

FILE, TABLE = "grid.json", "table.csv"
SCHEMA = 1
SEED = "seed"
# What is printed, for choosing first; table.csv has all.
_SHOWN = ("val/accuracy", "val/r2", "val/loss", "val/spikes_per_sample", "test/accuracy", "test/r2", "test/loss")


@dataclass
class Grid:
    """A grid of runs.

    Attributes:
        overrides: What it was started with.
        keys: The settings with several values.
        runs: By a run's place in the folder, the values it has of these, as words.
    """

    folder: Path
    overrides: Sequence[str]
    keys: Sequence[str]
    runs: dict[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def settings(self) -> list[str]:
        """The settings with several values but the seed."""
        return [key for key in self.keys if key != SEED]

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
            raise RecordError(path, "was not written by this version of snnlab")
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
    settings = grid.settings
    alike = groups.grouped(grid.runs, lambda place: tuple(grid.runs[place].get(key, "") for key in settings))
    rows = []
    for common, places in alike.items():
        found = [metrics for place in places if (metrics := _metrics(grid.folder / place)) is not None]
        names = dict.fromkeys(name for metrics in found for name in metrics)
        figures = {name: [metrics[name] for metrics in found if name in metrics] for name in names}
        values = dict(zip(settings, common, strict=True))
        rows.append(Row(values, len(found), len(places) - len(found), figures))
    return rows


def write_table(grid: Grid) -> Path:
    """Write `table.csv`: of every metric mean, standard deviation and number of runs, and return its path.

    Raises:
        RecordError: if it cannot be written.
    """
    rows, path = grouped(grid), grid.folder / TABLE
    names = list(dict.fromkeys(name for row in rows for name in row.metrics))
    head = [*grid.settings, "runs", "missing", *(f"{name}_{what}" for name in names for what in ("mean", "sd", "n"))]
    lines = []
    for row in rows:
        line = [*row.values.values(), row.runs, row.missing]
        for values in (row.metrics.get(name, ()) for name in names):
            line += [fmean(values) if values else "", stdev(values) if len(values) > 1 else "", len(values)]
        lines.append(line)
    try:
        write_text(path, csv_text(head, lines))
    except OSError as error:
        raise unwritable(grid.folder, error) from error
    return path


def table(grid: Grid) -> Table:
    """Return the table: what was measured on validation recordings, to choose by, and then on test recordings."""
    rows = grouped(grid)
    names = [name for name in _SHOWN if any(name in row.metrics for row in rows)]
    over = "mean ± sd over seeds" if SEED in grid.keys else "a run each"
    tested = any(name.startswith("test/") for name in names)
    how = "choose by validation, not by test" if tested else "on validation recordings, nothing was tested"
    lines = [
        [
            *(*row.values.values(), f"{row.runs} of {row.runs + row.missing}" if row.missing else str(row.runs)),
            *(mean_sd_text(name, row.metrics.get(name, ())) for name in names),
        ]
        for row in rows
    ]
    head = [*grid.settings, "runs", *names]
    dim = [place for place, name in enumerate(head) if name.startswith("test/")]
    return Table(head, lines, f"{len(grid.runs)} runs: {over}; {how}", words=(), dim=dim)


def print_grouped(grid: Grid) -> None:
    """Print the table."""
    made = table(grid)
    print(made.title)  # as a title it would be as narrow as the table
    replace(made, title="").print()


def _metrics(folder: Path) -> Mapping[str, float] | None:
    try:
        recorded = read_ended(folder)
    except DamagedError:
        return None
    return recorded.metrics if recorded is not None and recorded.status == "completed" else None
