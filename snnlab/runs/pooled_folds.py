"""The folds of a grid, pooled: each training recording was held out once, by the network that had not seen it.

Axes: N rows, S seeds, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np

from snnlab.runs.recorded import RecordedRun, read_run_if_usable
from snnlab.runs.runs_table import FOLD, Grid, GridRow, grid_rows
from snnlab.runs.statistics import ConfidenceInterval, accuracy_interval, confusion
from snnlab.runs.tables import Table
from snnlab.target_kinds import IGNORED, kind_of

# Classes up to which the console shows a confusion.
_MOST_CLASSES = 16


class PooledFolds(NamedTuple):
    """The answers to all held-out recordings.

    Attributes:
        values: The settings of these runs, without fold and seed.
        folds: Number of folds that have a result, and of all.
        accuracies: Accuracy of each fold, a mean over seeds.
        right: Mean number of right answers over seeds, of `total`.
        total: Number of rows: recordings, windows of them, or steps with a label.
        interval: The 95 % interval; None: there are too few recordings or people.
        clusters: What is independent of each other: their number, and whether they are groups, such as people.
        counts: The confusion, summed over seeds, `[K, K]`.
        names: Names of the classes.
        is_chosen: Whether the epochs were chosen on the held-out recordings.
    """

    values: Mapping[str, str]
    folds: tuple[int, int]
    accuracies: Sequence[float]
    right: float
    total: int
    interval: ConfidenceInterval | None
    clusters: tuple[int, bool]
    counts: np.ndarray
    names: Sequence[str]
    is_chosen: bool

    def lines(self) -> list[str]:
        """Return the result in one line, and what it is not in another."""
        done, planned = self.folds
        many = f"{done} folds" if done == planned else f"{done} of {planned} folds"
        settings = "".join(f"{key}={value}  " for key, value in self.values.items())
        number, is_group = self.clusters
        over = f"{number:,} {'groups' if is_group else 'recordings'}"
        interval = f", no interval of {over}" if self.interval is None else ""
        if self.interval is not None:
            interval = f", 95 % interval {self.interval.low:.1%} to {self.interval.high:.1%} over {over}"
        spread = f" ± {stdev(self.accuracies):.1%}" if len(self.accuracies) > 1 else ""
        head = (
            f"{settings}{many}: {self.right:,.6g} of {self.total:,} held-out answers right,"
            f" {self.right / self.total:.1%}{interval}; mean of the folds {fmean(self.accuracies):.1%}{spread}"
        )
        chosen = (
            "the epochs were chosen on the same recordings (selection=last chooses none); " if self.is_chosen else ""
        )
        return [head, f"  {chosen}networks of folds share recordings: the interval is no test of a difference"]

    def confusion_table(self) -> Table:
        """Return the confusion for the console: classes in rows, answers in columns."""
        rows = [[name, *map(str, row)] for name, row in zip(self.names, self.counts.tolist(), strict=True)]
        return Table(["class \\ answer", *self.names], rows)


def pool_folds(grid: Grid) -> Iterator[PooledFolds]:
    """Yield the pooled answers of each combination of the other settings; nothing for a grid without folds, or values.

    Raises:
        RunFolderError: if the answers of a run are damaged.
    """
    if FOLD not in grid.keys:
        return
    for row in grid_rows(grid):
        found = list(_read(grid, row))
        if found and all(kind_of(one.targets) in ("class", "steps") for one in found):
            yield _pool(row, found)


def print_folds(grid: Grid) -> None:
    """Print the pooled answers of a grid's folds, and their confusion."""
    for pooled in pool_folds(grid):
        print(*pooled.lines(), sep="\n")
        if len(pooled.names) <= _MOST_CLASSES:
            pooled.confusion_table().print()


class _Held(NamedTuple):
    """The answers of one run to the recordings that it held out."""

    fold: str
    targets: np.ndarray
    answers: np.ndarray
    recordings: np.ndarray
    groups: np.ndarray | None
    names: list[str]
    is_chosen: bool

    @property
    def known(self) -> np.ndarray:
        """Where there is a label."""
        return self.targets != IGNORED

    @property
    def right(self) -> np.ndarray:
        """Which answers are right, of the rows that have a label."""
        return (self.answers == self.targets)[self.known]

    def per_row(self, values: np.ndarray) -> np.ndarray:
        """Return a value of each recording for each of its rows that have a label."""
        return np.broadcast_to(values.reshape(-1, *[1] * (self.known.ndim - 1)), self.known.shape)[self.known]


def _read(grid: Grid, row: GridRow) -> Iterator[_Held]:
    for subfolder in row.subfolders:
        recorded = read_run_if_usable(grid.folder / subfolder)
        if recorded is None or recorded.status != "completed":
            continue
        arrays = recorded.predictions()
        if "val_target" in arrays:
            number = arrays["val_readout"].shape[-1]
            names = recorded.class_names(number) or [str(label) for label in range(number)]
            yield _Held(
                grid.runs[subfolder][FOLD],
                arrays["val_target"],
                arrays["val_readout"].argmax(-1),
                arrays["val_recording"],
                arrays.get("val_group"),
                names,
                _is_chosen(recorded),
            )


def _is_chosen(recorded: RecordedRun) -> bool:
    rule: Any = recorded.selection.get("rule")
    return rule != "last"


def _pool(row: GridRow, found: Sequence[_Held]) -> PooledFolds:
    names = found[0].names
    counts = sum(
        (confusion(one.targets[one.known], one.answers[one.known], len(names)) for one in found),
        np.zeros((len(names), len(names)), np.int64),
    )
    by_fold: dict[str, list[float]] = {}
    for one in found:
        by_fold.setdefault(one.fold, []).append(float(one.right.mean()))
    right, clusters, is_group = _aligned(found)
    interval = accuracy_interval(right, clusters)
    many = np.unique(clusters).size
    return PooledFolds(
        row.values,
        (len(by_fold), row.folds),
        [fmean(values) for values in by_fold.values()],
        float(right.mean(0).sum()),
        right.shape[1],
        interval,
        (many, is_group),
        counts,
        names,
        any(one.is_chosen for one in found),
    )


def _aligned(found: Sequence[_Held]) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return the right answers of each seed to the same rows, `[S, N]`, and the cluster of each row, `[N]`.

    Of several seeds only the folds that all of them have are used.
    """
    seeds: list[dict[str, _Held]] = []
    for one in found:
        into = next((each for each in seeds if one.fold not in each), None)
        if into is None:
            seeds.append(into := {})
        into[one.fold] = one
    shared = [fold for fold in seeds[0] if all(fold in each for each in seeds)]
    right = [np.concatenate([each[fold].right for fold in shared]) for each in seeds]
    first = [seeds[0][fold] for fold in shared]
    is_group = all(one.groups is not None for one in first)
    clusters = [one.per_row(one.recordings if one.groups is None or not is_group else one.groups) for one in first]
    return np.stack(right), np.concatenate(clusters), is_group
