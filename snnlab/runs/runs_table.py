"""Tables of recorded runs: lists, comparisons, and grids with a row for every combination of settings except the seed.

A grid's folder contains grid.json, table.csv and the run folders NUMBER_SEED/.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, TypeVar

from snnlab.errors import ConfigError, DamagedError, RunFolderError, VersionError, did_you_mean
from snnlab.files import folders_at, read_text, unwritable, write_json, write_text
from snnlab.printable import without_passwords
from snnlab.runs.recorded import (
    RecordedRun,
    RunFiles,
    find_runs,
    flat,
    is_run,
    read_run_if_ended,
    read_run_if_usable,
    reading_record,
)
from snnlab.runs.tables import Table, csv_text, mean_sd_text

Settings = Mapping[str, Any]
# Settings that may differ between runs of the same training settings: the seed, and settings without effect on it.
IGNORED_KEYS = (
    *("seed", "output_dir", "name", "tags", "threads", "logger", "plots", "monitors", "checkpoint_every_s"),
    *("trainer.enable_progress_bar", "data.root", "data.name", "data.store_dir", "data.download", "data.num_workers"),
)
_LAYERS_PREFIX = "model.layers."
_NONE = "-"
T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


def group_by(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Return the items grouped by their key, in their order."""
    found: dict[K, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def training_settings(config: Settings) -> dict[str, Any]:
    """Return the settings that affect a training, without the seed.

    Args:
        config: A run's config.yaml by dotted keys.
    """
    found = {
        k: v
        for k, v in config.items()
        if not any(k == ignored or k.startswith(f"{ignored}.") for ignored in IGNORED_KEYS)
    }
    if isinstance(devices := found.get("trainer.devices"), list) and len(devices) == 1:
        found["trainer.devices"] = 1  # of parallel runs each has its own GPU
    return found


def training_key(config: Settings) -> str:
    """Return a text that is the same for all runs with the same training settings."""
    return json.dumps(training_settings(config), sort_keys=True, default=str)


def differing_settings(settings: Sequence[Settings]) -> dict[str, list[str]]:
    """Return the settings that differ between runs, each with its values as texts, one per run.

    A setting that several layers share with the same values is one entry: `model.layers.*.tau_mem`.

    Args:
        settings: Of each run, by dotted keys.
    """
    keys = dict.fromkeys(key for run_settings in settings for key in run_settings)
    columns = {key: tuple(_setting_text(run_settings, key) for run_settings in settings) for key in keys}
    differing_keys = (key for key, column in columns.items() if len(set(column)) > 1)
    groups = group_by(
        differing_keys, lambda key: (key.rpartition(".")[2] if key.startswith(_LAYERS_PREFIX) else key, columns[key])
    )
    return {
        keys[0] if len(keys) == 1 else f"{_LAYERS_PREFIX}*.{name}": list(column)
        for (name, column), keys in groups.items()
    }


def settings_beyond_seed(configs: Sequence[Settings]) -> list[str]:
    """Return the training settings that differ between runs and do not follow the seed, as `data.permutation` may.

    A setting that is missing, as in an older run, counts as null.

    Args:
        configs: The config.yaml of each run, by dotted keys.
    """
    settings = [{k: v for k, v in training_settings(config).items() if v is not None} for config in configs]
    seeds = [str(config.get("seed")) for config in configs]
    return [key for key, column in differing_settings(settings).items() if column != seeds]


def distinguishing_names(settings: Sequence[Settings]) -> list[str]:
    """Return a name for each set of training settings: the few settings that distinguish it from the others."""
    if len(settings) == 1:
        return ["all runs"]
    columns = differing_settings(settings)
    keys_used: list[str] = []

    def count_combinations(*keys: str) -> int:
        return len(set(zip(*(columns[key] for key in keys), strict=True)))

    # First settings that all have, then those with the most different values; a type before its own settings.
    for key in sorted(columns, key=lambda key: (_NONE in columns[key], -count_combinations(key), key[-4:] != "type")):
        if count_combinations(*keys_used, key) > (count_combinations(*keys_used) if keys_used else 1):
            keys_used.append(key)
    return [" ".join(f"{short_key(key)}={columns[key][index]}" for key in keys_used) for index in range(len(settings))]


def short_key(key: str) -> str:
    """Return a setting's name without the prefix of all layers' settings."""
    return key.removeprefix(_LAYERS_PREFIX).removeprefix("*.")


def _setting_text(run_settings: Settings, key: str) -> str:
    """Return a setting's value as in YAML, `-` if it is missing."""
    value = run_settings.get(key, _NONE)
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


_LIMITS = ("limit_train_batches", "limit_val_batches", "limit_test_batches")


def run_marks(config: Mapping[str, Any]) -> list[str]:
    """Return marks of a run: a control, a mode other than train, a training on some batches; empty for a full training.

    Args:
        config: The run's configuration, by dotted keys.
    """
    found = [f"control {config['control']}"] if config.get("control") else []
    if (mode := config.get("mode", "train")) != "train":
        found.append(str(mode))
    found += [name for name in ("fast_dev_run", "overfit_batches") if config.get(f"trainer.{name}")]
    return [*found, "limited"] if limits(config) else found


def limits(config: Mapping[str, Any]) -> list[str]:
    """Return the trainer's limits that skip batches, as settings.

    Args:
        config: The configuration, by dotted keys.
    """
    values = {f"trainer.{name}": config.get(f"trainer.{name}") for name in _LIMITS}
    return [f"{name}={value}" for name, value in values.items() if is_limit(value)]


def is_limit(value: Any) -> bool:
    """Return whether a limit of batches skips some: 1 is one batch, 1.0 is all of them."""
    return value is not None and not (isinstance(value, float) and value == 1)


# Entries of a result that always differ between two runs, or are no result.
_NOT_COMPARED = ("timing", "provenance", "schema_version", "metrics")
_RUNNING, DAMAGED = "not ended", "damaged"
_LIST_WIDTH = 10_000
# Settings that identify a run and have no effect on its result, except the seed.
RUN_KEYS = ("output_dir", "name", "seed", "tags")
# Number of differing settings that a row shows.
_MAX_SHOWN_SETTINGS = 5


@dataclass(frozen=True)
class ListedRun:
    """A run in a list, read from its folder.

    Attributes:
        status: completed, failed, interrupted, `not ended`, or `damaged`.
        settings: The settings by dotted keys.
        result: Content of result.json by dotted keys; metrics by their own names.
        fit_s: Duration of the training, s, or None.
        problem: The error of a file that cannot be read, or None.
    """

    folder: Path
    status: str
    settings: dict[str, Any]
    result: dict[str, Any]
    fit_s: float | None = None
    problem: RunFolderError | None = None

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return str(self.settings.get("name") or self.folder.absolute().parent.name)

    @property
    def tags(self) -> list[str]:
        """The experiment's tags."""
        found = self.settings.get("tags")
        return [str(tag) for tag in found] if isinstance(found, list) else []

    @property
    def marked_status(self) -> str:
        """Status, with marks of a control and of a training on some batches."""
        return ", ".join([self.status, *run_marks(self.settings)])

    def value(self, key: str) -> Any:
        """Return the value of a key from the result or the configuration; None if it is in neither."""
        return self.status if key == "status" else self.result.get(key, self.settings.get(key))


def read_listed_run(folder: Path) -> ListedRun:
    """Read a run, also one that has not ended, or one with damaged files."""
    settings: dict[str, Any] = {}
    recorded: RecordedRun | None = None
    problem: RunFolderError | None = None
    try:
        settings = RunFiles(folder).settings
    except DamagedError as error:
        problem = error
    try:
        recorded = read_run_if_ended(folder)
    except (DamagedError, VersionError) as error:
        problem = problem or error
    if recorded is None:
        return ListedRun(folder, DAMAGED if problem else _RUNNING, settings, {}, problem=problem)
    result = (
        flat({name: value for name, value in recorded.content.items() if name not in _NOT_COMPARED}) | recorded.metrics
    )
    return ListedRun(
        folder, DAMAGED if problem else recorded.status, settings, result, recorded.timing.get("fit_s"), problem
    )


def filter_runs(lines: Sequence[ListedRun], conditions: Sequence[tuple[str, ...]], sort: str | None) -> list[ListedRun]:
    """Return the runs that meet all conditions, sorted by a key, the best run last.

    Args:
        conditions: Keys and values as texts; for a list such as `tags`, one of its values.
        sort: A key; a loss is best if it is lowest. None keeps the order.
    """
    known = {"status"}.union(*(line.settings.keys() | line.result.keys() for line in lines))
    for key in [key for key, _ in conditions] + ([sort] if sort else []):
        if lines and key not in known:
            raise ConfigError("runs list", f"no run has {key}", did_you_mean(key, known))
    kept = [line for line in lines if all(_matches(line.value(key), text) for key, text in conditions)]
    if sort is None:
        return kept
    sign = -1.0 if sort.endswith("loss") else 1.0
    numbers = {line.folder: _to_number(line.value(sort)) * sign for line in kept}
    return sorted(kept, key=lambda line: -math.inf if math.isnan(numbers[line.folder]) else numbers[line.folder])


def print_runs(lines: Sequence[ListedRun], root: Path, total: int) -> None:
    """Print a table with a row for each run, and then the errors of damaged files to stderr.

    Args:
        root: The folder below which the runs were found.
        total: Number of all runs there.
    """
    if not lines:
        print(f"no runs in {root}" if not total else f"of {total:,} runs in {root} none matches")
        return
    tags = ["tags"] if any(line.tags for line in lines) else []
    rows = []
    for line, differs in zip(lines, differing_overrides(lines), strict=True):
        epoch, of = line.value("selection.epoch"), line.value("selection.epochs")
        rows.append(
            [
                *(
                    line.marked_status,
                    _formatted(line.value("val/loss"), ".4f"),
                    _score(line, "val"),
                    _score(line, "test"),
                ),
                *("" if epoch is None else f"{epoch + 1} of {of}", _formatted(line.fit_s, ".0f"), line.name),
                *(str(line.settings.get("data.type", "")), *(", ".join(line.tags) for _ in tags)),
                *(differs, str(line.folder)),
            ]
        )
    head = ["status", "val loss", "val", "test", "epoch", "s", "name", "data", *tags, "differs in", "run"]
    # A folder is to be copied: a narrow terminal may wrap the line, but no space is inserted into the path.
    Table(head, rows, text_columns=(0, *range(6, len(head)))).print(_LIST_WIDTH)
    for line in lines:
        if line.problem:
            print(line.problem, file=sys.stderr)


def differing_overrides(lines: Sequence[ListedRun]) -> list[str]:
    """Return for each run, as overrides, the settings that differ between runs with the same name and layers."""

    def kind(index: int) -> tuple[str, ...]:
        layers = (key for key in lines[index].settings if key.startswith("model.layers.") and key.endswith(".type"))
        return lines[index].name, *layers

    found = [""] * len(lines)
    for indices in group_by(range(len(lines)), kind).values():
        run_settings = [
            {key: value for key, value in lines[index].settings.items() if key not in RUN_KEYS} for index in indices
        ]
        columns = differing_settings(run_settings)
        for number, index in enumerate(indices):
            overrides = [
                f"{short_key(key)}={values[number]}" for key, values in columns.items() if values[number] != "-"
            ]
            more = f"  and {len(overrides) - _MAX_SHOWN_SETTINGS} more" if len(overrides) > _MAX_SHOWN_SETTINGS else ""
            found[index] = "  ".join(overrides[:_MAX_SHOWN_SETTINGS]) + more
    return found


def print_comparison(one: ListedRun, other: ListedRun) -> None:
    """Print the differences between two runs, first the settings, then the results."""
    for title, first, second in (("settings", one.settings, other.settings), ("results", one.result, other.result)):
        keys = [key for key in dict.fromkeys([*first, *second]) if first.get(key) != second.get(key)]
        rows = [[key, _value_text(first, key), _value_text(second, key)] for key in keys]
        Table(("", str(one.folder), str(other.folder)), rows, title, text_columns=(0, 1, 2)).print()
        if not keys:
            print(f"{title}: no difference")


def _matches(value: Any, text: str) -> bool:
    if isinstance(value, list):
        return str(value) == text or any(_matches(one, text) for one in value)
    if isinstance(value, bool) or value is None:
        return str(value).lower() == text.lower() or (value is None and text == "null")
    if isinstance(value, int | float):
        return _to_number(text) == value
    return str(value) == text


def _to_number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _score(line: ListedRun, part: str) -> str:
    """Return the accuracy, or R2 for predicted values."""
    r2 = _formatted(line.value(f"{part}/r2"), ".3f")
    return f"R2 {r2}" if r2 else _formatted(line.value(f"{part}/accuracy"), ".1%")


def _formatted(value: Any, form: str) -> str:
    return format(value, form) if isinstance(value, int | float) else ""


def _value_text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key, "-")
    return f"{value:.6g}" if isinstance(value, float) else str(value)


FILE, TABLE = "grid.json", "table.csv"
SCHEMA = 1
SEED, FOLD = "seed", "data.fold"
# The printed metrics, validation first; table.csv has all.
_PRINTED_METRICS = (
    "val/accuracy",
    "val/r2",
    "val/loss",
    "val/spikes_per_sample",
    "test/accuracy",
    "test/r2",
    "test/loss",
)


@dataclass
class Grid:
    """A grid of runs.

    Attributes:
        overrides: The overrides of the command.
        keys: The settings with several values.
        runs: The values of these settings as texts, by a run's folder name.
    """

    folder: Path
    overrides: Sequence[str]
    keys: Sequence[str]
    runs: dict[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def settings(self) -> list[str]:
        """The settings with several values, without the seed and the fold."""
        return [key for key in self.keys if key not in (SEED, FOLD)]

    def write(self) -> None:
        """Write `grid.json`."""
        content = {
            "schema": SCHEMA,
            "overrides": list(self.overrides),
            "keys": list(self.keys),
            "runs": dict(self.runs),
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / FILE, without_passwords(content))
        except OSError as error:
            raise unwritable(self.folder, error) from error


@dataclass(frozen=True)
class GridRow:
    """The runs of a grid that differ only in seed and fold.

    Attributes:
        values: Their common values, by setting.
        runs: Number of completed runs.
        missing: Number of runs that failed, have not ended, or cannot be read.
        metrics: The values of the completed runs, by name.
        subfolders: Folders of all of them, in the grid's folder.
        folds: Number of folds.
    """

    values: Mapping[str, str]
    runs: int
    missing: int
    metrics: Mapping[str, Sequence[float]]
    subfolders: Sequence[str] = ()
    folds: int = 1


def read_grid(folder: Path) -> Grid | None:
    """Return the grid of a folder, or None if the folder has no grid.json.

    Raises:
        RunFolderError: if its file cannot be read.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    with reading_record(path, "remove it to list the runs one by one"):
        content = json.loads(read_text(path))
        if content["schema"] != SCHEMA:
            raise RunFolderError(path, "was not written by this version of snnlab")
        runs: dict[str, Mapping[str, str]] = {name: dict(values) for name, values in content["runs"].items()}
        return Grid(folder, list(content["overrides"]), list(content["keys"]), runs)


def find_all_runs(root: Path) -> list[Path]:
    """Return the run folders below `root`, as `find_runs`, including those in grids, oldest first."""
    of_grids = [run for run in folders_at(root, 3) if os.path.isfile(run.parent / FILE) and is_run(run)]
    times = {run: run.name for run in find_runs(root)} | {run: run.parent.name for run in of_grids}
    return sorted(times, key=lambda run: (times[run], len(run.name), str(run)))


def grid_rows(grid: Grid) -> list[GridRow]:
    """Return a row for every combination of the settings except seed and fold, in the order of the runs."""
    settings = grid.settings
    groups = group_by(grid.runs, lambda subfolder: tuple(grid.runs[subfolder].get(key, "") for key in settings))
    rows = []
    for common, subfolders in groups.items():
        found = [metrics for subfolder in subfolders if (metrics := _read_metrics(grid.folder / subfolder)) is not None]
        names = dict.fromkeys(name for metrics in found for name in metrics)
        metrics_by_name = {name: [metrics[name] for metrics in found if name in metrics] for name in names}
        values = dict(zip(settings, common, strict=True))
        folds = len({grid.runs[subfolder].get(FOLD) for subfolder in subfolders})
        rows.append(GridRow(values, len(found), len(subfolders) - len(found), metrics_by_name, subfolders, folds))
    return rows


def write_table(grid: Grid) -> Path:
    """Write `table.csv` with mean, standard deviation and number of runs of every metric, and return its path."""
    rows, path = grid_rows(grid), grid.folder / TABLE
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
    """Return the table of a grid: metrics on validation recordings, then on test recordings."""
    rows = grid_rows(grid)
    names = [name for name in _PRINTED_METRICS if any(name in row.metrics for row in rows)]
    over = [word for key, word in ((FOLD, "folds"), (SEED, "seeds")) if key in grid.keys]
    repeats = f"mean ± sd over {' and '.join(over)}" if over else "one run each"
    tested = any(name.startswith("test/") for name in names)
    how = "choose by validation, not by test" if tested else "on validation recordings, without a test"
    lines = [
        [
            *(*row.values.values(), f"{row.runs} of {row.runs + row.missing}" if row.missing else str(row.runs)),
            *(mean_sd_text(name, row.metrics.get(name, ())) for name in names),
        ]
        for row in rows
    ]
    head = [*grid.settings, "runs", *names]
    dim = [column for column, name in enumerate(head) if name.startswith("test/")]
    return Table(head, lines, f"{len(grid.runs)} runs: {repeats}; {how}", text_columns=(), dim=dim)


def print_grid(grid: Grid) -> None:
    """Print the table of a grid."""
    grid_table = table(grid)
    print(grid_table.title)  # as the table's title it would be wrapped to the table's width
    replace(grid_table, title="").print()


def _read_metrics(folder: Path) -> Mapping[str, float] | None:
    recorded = read_run_if_usable(folder)
    return recorded.metrics if recorded is not None and recorded.status == "completed" else None
