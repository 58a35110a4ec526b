"""Recorded runs as a table, and two of them beside each other."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snnlab.errors import ConfigError, DamagedError, ForeignError, RecordError, did_you_mean
from snnlab.record.groups import differing, grouped, short
from snnlab.record.run_config import plain
from snnlab.record.run_reading import Recorded, read_config, read_ended
from snnlab.record.tables import Table

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
        config = flat(plain(read_config(folder)))
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
