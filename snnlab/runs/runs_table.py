"""Recorded runs as tables: listed, compared, and grids with a row for every combination but the seed.

A grid's folder holds grid.json, table.csv and NUMBER_SEED/, a run's folder each.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, TypeVar

from snnlab.errors import ConfigError, DamagedError, ForeignError, RecordError, did_you_mean
from snnlab.files import unwritable, write_json, write_text
from snnlab.printable import without_passwords
from snnlab.runs.recorded import Recorded, find_runs, is_run, read_config, read_ended, resolve_references
from snnlab.runs.tables import Table, csv_text, mean_sd_text

Settings = Mapping[str, Any]
# What may differ between runs of one way of training: the seed, and what is around a training.
FREE = (
    *("seed", "output_dir", "name", "tags", "threads", "logger", "pictures", "monitors", "checkpoint_every_s"),
    *("trainer.enable_progress_bar", "data.root", "data.name", "data.store_dir", "data.download", "data.num_workers"),
)
_LAYERS = "model.layers."
_NONE = "-"
T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


def grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Return what is alike together, in the order in which it comes."""
    found: dict[K, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def settings_of(config: Settings) -> dict[str, Any]:
    """Return what makes a run what it is, but for its seed.

    Args:
        config: Its config.yaml by dotted keys.
    """
    found = {k: v for k, v in config.items() if not any(k == free or k.startswith(f"{free}.") for free in FREE)}
    if isinstance(devices := found.get("trainer.devices"), list) and len(devices) == 1:
        found["trainer.devices"] = 1  # runs at the same time have a GPU each
    return found


def identity(config: Settings) -> str:
    """Return a text that is the same for all runs of one way of training."""
    return json.dumps(settings_of(config), sort_keys=True, default=str)


def differing(settings: Sequence[Settings]) -> dict[str, list[str]]:
    """Return the settings that are not the same in all, each with its value in every one as a text.

    A setting that several layers have, with the same values, is one: `model.layers.*.tau_mem` for `neuron.tau_mem`.

    Args:
        settings: Of each run, by dotted keys.
    """
    keys = dict.fromkeys(key for own in settings for key in own)
    columns = {key: tuple(_text_of(own, key) for own in settings) for key in keys}
    apart = (key for key, column in columns.items() if len(set(column)) > 1)
    alike = grouped(apart, lambda key: (key.rpartition(".")[2] if key.startswith(_LAYERS) else key, columns[key]))
    return {keys[0] if len(keys) == 1 else f"{_LAYERS}*.{name}": list(column) for (name, column), keys in alike.items()}


def names_of(settings: Sequence[Settings]) -> list[str]:
    """Return a name for each way of training: the fewest settings that tell it from the others."""
    if len(settings) == 1:
        return ["all runs"]
    columns = differing(settings)
    chosen: list[str] = []

    def kinds(*keys: str) -> int:
        return len(set(zip(*(columns[key] for key in keys), strict=True)))

    # What all have comes first, then what most differ in; a type says more than what comes with it.
    for key in sorted(columns, key=lambda key: (_NONE in columns[key], -kinds(key), key[-4:] != "type")):
        if kinds(*chosen, key) > (kinds(*chosen) if chosen else 1):
            chosen.append(key)
    return [" ".join(f"{short(key)}={columns[key][place]}" for key in chosen) for place in range(len(settings))]


def short(key: str) -> str:
    """Return a setting's name without what all layers' settings begin with."""
    return key.removeprefix(_LAYERS).removeprefix("*.")


def _text_of(own: Settings, key: str) -> str:
    """Return a setting as a YAML has it, and `-` where it is not there."""
    value = own.get(key, _NONE)
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


_LIMITS = ("limit_train_batches", "limit_val_batches", "limit_test_batches")


def marks(config: Mapping[str, Any]) -> list[str]:
    """Return what a run is: a control, a trial run, a training on a part of the batches; nothing of a whole one.

    Args:
        config: Its configuration, by dotted keys.
    """
    found = [f"control {config['control']}"] if config.get("control") else []
    if (mode := config.get("mode", "train")) != "train":
        found.append(str(mode))
    found += [name for name in ("fast_dev_run", "overfit_batches") if config.get(f"trainer.{name}")]
    return [*found, "limited"] if limits(config) else found


def limits(config: Mapping[str, Any]) -> list[str]:
    """Return the limits of the trainer that leave batches out, as settings.

    Args:
        config: The configuration, by dotted keys.
    """
    values = {f"trainer.{name}": config.get(f"trainer.{name}") for name in _LIMITS}
    return [f"{name}={value}" for name, value in values.items() if is_limit(value)]


def is_limit(value: Any) -> bool:
    """Return whether a limit of batches leaves some out: 1 is one batch, and 1.0 all of them."""
    return value is not None and not (isinstance(value, float) and value == 1)


# Of a result these differ between any two runs, or say nothing of what was found.
_UNCOMPARED = ("timing", "provenance", "schema_version", "metrics")
_RUNNING, DAMAGED = "not ended", "damaged"
_WIDE = 10_000
# Of a run's own, and not what it was asked for.
OWN = ("output_dir", "name", "seed", "tags")
# So many of the settings that tell a run from others are in its row.
_FEW = 5


@dataclass(frozen=True)
class Line:
    """A run as its folder has it.

    Attributes:
        status: completed, failed, interrupted, `not ended`, or `damaged`.
        config: What config.yaml says, by dotted keys; references to others of them are followed.
        result: What result.json says, by dotted keys; metrics by their own names.
        fit_s: How long it was trained, s, or None.
        problem: The file that cannot be read, why, and the cure; None: all can.
    """

    folder: Path
    status: str
    config: dict[str, Any]
    result: dict[str, Any]
    fit_s: float | None = None
    problem: RecordError | None = None

    @property
    def name(self) -> str:
        """What the experiment is called."""
        return str(self.config.get("name") or self.folder.absolute().parent.name)

    @property
    def tags(self) -> list[str]:
        """The experiment's tags."""
        found = self.config.get("tags")
        return [str(tag) for tag in found] if isinstance(found, list) else []

    @property
    def marked_status(self) -> str:
        """The status, marked where the run is no training of all recordings, or its figures are no result."""
        return ", ".join([self.status, *marks(self.config)])

    def value(self, key: str) -> Any:
        """Return what a key means, in the result or in the configuration; None where it is in neither."""
        return self.status if key == "status" else self.result.get(key, self.config.get(key))


def read_line(folder: Path) -> Line:
    """Read a run, whether it has ended or not, and whether its files can be read or not."""
    config: dict[str, Any] = {}
    recorded: Recorded | None = None
    problem: RecordError | None = None
    try:
        config = flat(resolve_references(read_config(folder)))
    except DamagedError as error:
        problem = error
    try:
        recorded = read_ended(folder)
    except (DamagedError, ForeignError) as error:
        problem = problem or error
    if recorded is None:
        return Line(folder, DAMAGED if problem else _RUNNING, config, {}, problem=problem)
    result = flat({name: value for name, value in recorded.page.items() if name not in _UNCOMPARED}) | recorded.metrics
    return Line(folder, DAMAGED if problem else recorded.status, config, result, recorded.timing.get("fit_s"), problem)


def flat(node: Any, place: str = "") -> dict[str, Any]:
    """Return the values of nested mappings by dotted keys; lists stay whole."""
    if not isinstance(node, Mapping):
        return {place: node}
    found: dict[str, Any] = {}
    for key, value in node.items():
        found |= flat(value, f"{place}.{key}" if place else str(key))
    return found


def chosen(lines: Sequence[Line], conditions: Sequence[tuple[str, ...]], sort: str | None) -> list[Line]:
    """Return the runs that meet all conditions, sorted by a key, the best last.

    Args:
        conditions: Keys and values, as words; of a list, such as `tags`, one of its values.
        sort: A key; a loss is best where it is lowest. None: in the order in which they are.

    Raises:
        ConfigError: if no run has such a key.
    """
    known = {"status"}.union(*(line.config.keys() | line.result.keys() for line in lines))
    for key in [key for key, _ in conditions] + ([sort] if sort else []):
        if lines and key not in known:
            raise ConfigError("runs list", f"no run has {key}", did_you_mean(key, known))
    kept = [line for line in lines if all(_same(line.value(key), word) for key, word in conditions)]
    if sort is None:
        return kept
    sign = -1.0 if sort.endswith("loss") else 1.0
    numbers = {line.folder: _number(line.value(sort)) * sign for line in kept}
    return sorted(kept, key=lambda line: -math.inf if math.isnan(numbers[line.folder]) else numbers[line.folder])


def print_runs(lines: Sequence[Line], root: Path, total: int) -> None:
    """Print a line for each run.

    Args:
        root: The folder below which they were found.
        total: How many there were.
    """
    if not lines:
        print(f"no runs in {root}" if not total else f"of {total:,} runs in {root} none is so")
        return
    tags = ["tags"] if any(line.tags for line in lines) else []
    rows = []
    for line, differs in zip(lines, settings_apart(lines), strict=True):
        epoch, of = line.value("selection.epoch"), line.value("selection.epochs")
        rows.append(
            [
                *(line.marked_status, _text(line.value("val/loss"), ".4f"), _score(line, "val"), _score(line, "test")),
                *("" if epoch is None else f"{epoch + 1} of {of}", _text(line.fit_s, ".0f"), line.name),
                *(str(line.config.get("data.type", "")), *(", ".join(line.tags) for _ in tags)),
                *(differs, str(line.folder)),
            ]
        )
    head = ["status", "val loss", "val", "test", "epoch", "s", "name", "data", *tags, "differs in", "run"]
    # A folder is there to be copied: a terminal that is too narrow may break the line, and no space comes into it.
    Table(head, rows, words=(0, *range(6, len(head)))).print(_WIDE)
    for line in lines:
        if line.problem:
            print(line.problem, file=sys.stderr)


def settings_apart(lines: Sequence[Line]) -> list[str]:
    """Return for each run the settings in which runs of its name and its layers differ, as overrides."""

    def kind(place: int) -> tuple[str, ...]:
        layers = (key for key in lines[place].config if key.startswith("model.layers.") and key.endswith(".type"))
        return lines[place].name, *layers

    found = [""] * len(lines)
    for places in grouped(range(len(lines)), kind).values():
        own = [{key: value for key, value in lines[place].config.items() if key not in OWN} for place in places]
        columns = differing(own)
        for number, place in enumerate(places):
            said = [f"{short(key)}={values[number]}" for key, values in columns.items() if values[number] != "-"]
            more = f"  and {len(said) - _FEW} more" if len(said) > _FEW else ""
            found[place] = "  ".join(said[:_FEW]) + more
    return found


def print_comparison(one: Line, other: Line) -> None:
    """Print what differs between two runs, settings first."""
    for title, first, second in (("settings", one.config, other.config), ("results", one.result, other.result)):
        keys = [key for key in dict.fromkeys([*first, *second]) if first.get(key) != second.get(key)]
        rows = [[key, _shown(first, key), _shown(second, key)] for key in keys]
        Table(("", str(one.folder), str(other.folder)), rows, title, words=(0, 1, 2)).print()
        if not keys:
            print(f"{title}: no difference")


def _same(value: Any, word: str) -> bool:
    if isinstance(value, list):
        return str(value) == word or any(_same(one, word) for one in value)
    if isinstance(value, bool) or value is None:
        return str(value).lower() == word.lower() or (value is None and word == "null")
    if isinstance(value, int | float):
        return _number(word) == value
    return str(value) == word


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _score(line: Line, part: str) -> str:
    """Return the accuracy, or of values R2, which is said."""
    r2 = _text(line.value(f"{part}/r2"), ".3f")
    return f"R2 {r2}" if r2 else _text(line.value(f"{part}/accuracy"), ".1%")


def _text(value: Any, form: str) -> str:
    return format(value, form) if isinstance(value, int | float) else ""


def _shown(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key, "-")
    return f"{value:.6g}" if isinstance(value, float) else str(value)


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


def grid_rows(grid: Grid) -> list[Row]:
    """Return a row for every combination of the settings but the seed, in the order of the runs."""
    settings = grid.settings
    alike = grouped(grid.runs, lambda place: tuple(grid.runs[place].get(key, "") for key in settings))
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
    """Return the table: what was measured on validation recordings, to choose by, and then on test recordings."""
    rows = grid_rows(grid)
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
