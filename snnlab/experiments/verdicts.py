"""Statistical comparison of methods; runs that differ only in their seed belong to one method."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snnlab.console import say
from snnlab.errors import DamagedError, RunFolderError, join_names
from snnlab.runs.recorded import RecordedRun, find_runs, read_run_if_ended
from snnlab.runs.run_folder import REPEAT_SUFFIX
from snnlab.runs.runs_table import group_by, settings_beyond_seed
from snnlab.runs.statistics import (
    LEVEL,
    ConfidenceInterval,
    Difference,
    accuracy_interval,
    compare_methods,
    holm,
    inspection_factor,
    mcnemar,
    mean_interval,
    uneven,
)
from snnlab.runs.tables import Table
from snnlab.target_kinds import IGNORED

_log = logging.getLogger(__name__)


STEPS = "labelled steps"


class MethodResults(NamedTuple):
    """The test results of a method, over its seeds.

    Attributes:
        seeds: The seeds, in order.
        right: Whether each test row was classified correctly, `[S, N]`; a row is a recording, a window of one, or a
            labelled step.
        recordings: The recording of each row, and the start of its window (us) or its step, `[N, 2]`.
        data: Fingerprint of the packed recordings.
        clusters: The cluster of each row, `[N]`. Rows of a cluster depend on each other: windows or steps of a
            recording, recordings of a person, a speaker, a session or a file.
        splits: Hash of each seed's lists of training, validation and test recordings.
        parts: What several rows of a recording are.
        origins: The run that gave each seed's initial weights; empty for a seed with random ones.
    """

    name: str
    seeds: list[int]
    right: np.ndarray
    recordings: np.ndarray
    data: str
    clusters: np.ndarray
    splits: list[str]
    parts: str = "windows"
    origins: Sequence[str] = ()

    @property
    def accuracies(self) -> np.ndarray:
        """The accuracy of each seed."""
        return self.right.mean(1)

    @property
    def interval(self) -> ConfidenceInterval | None:
        """The 95 % interval of the mean accuracy, for new seeds and new clusters; None with too few clusters.

        Of labels over time it is the jackknife's: the steps of a recording are worth more than one answer.
        """
        of_method = mean_interval if self.parts == STEPS else accuracy_interval
        return of_method(self.right, self.clusters)

    @property
    def clustered(self) -> bool:
        """True if some rows depend on each other."""
        return len(np.unique(self.clusters)) < len(self.clusters)

    @property
    def test_rows(self) -> str:
        """The test rows as text: `264 recordings`, `116 windows of 16 recordings`, `264 recordings of 6 groups`."""
        number, recordings = len(self.recordings), len(np.unique(self.recordings[:, 0]))
        groups = len(np.unique(self.clusters))
        windows = f"{number:,} {self.parts} of " if number > recordings else ""
        of_groups = f" of {groups:,} groups" if groups < recordings else ""
        return f"{windows}{recordings:,} recordings{of_groups}"


def read_methods(folders: Sequence[Path]) -> list[MethodResults]:
    """Read methods, and check that they were tested on the same recordings.

    Args:
        folders: For each method a run, or a folder of runs.
    """
    methods = [read_method(folder) for folder in folders]
    first = methods[0]
    for folder, method in zip(folders[1:], methods[1:], strict=True):
        if method.data != first.data:
            raise RunFolderError(
                "", f"{folder} and {folders[0]}: were tested on other recordings", "they cannot be compared"
            )
        if not np.array_equal(method.recordings, first.recordings):
            common = len({*map(tuple, method.recordings.tolist())} & {*map(tuple, first.recordings.tolist())})
            raise RunFolderError(
                "",
                (
                    f"{method.name} and {first.name}: have other test recordings,"
                    f" {method.test_rows} and {first.test_rows} with {common} in common"
                ),
                "nothing can be compared",
            )
    return methods


def read_method(folder: Path) -> MethodResults:
    """Read the runs in a folder as one method.

    A run that `snnlab reproduce` has repeated there counts once.
    """
    if not folder.is_dir():
        raise RunFolderError("", f"there is no folder {folder}")
    folders = [run for run in find_runs(folder) if run == folder or not run.name.endswith(REPEAT_SUFFIX)]
    runs = [run for run in (_read_completed(one, alone=one == folder) for one in folders) if run is not None]
    if not runs:
        hint = f"; its methods are below it: {folder}/runs/DATASET/METHOD" if (folder / "suite.yaml").is_file() else ""
        raise RunFolderError(folder, f"has no completed and tested run{hint}")
    runs.sort(key=lambda run: run.seed)
    if repeated := [seed for seed, of in group_by(runs, lambda run: run.seed).items() if len(of) > 1]:
        raise RunFolderError(
            folder, f"there are several runs with seed {repeated[0]}", "name a folder with one of each"
        )
    if other := settings_beyond_seed([run.settings for run in runs]):
        raise RunFolderError(folder, f"its runs differ in more than their seed: {join_names(other[:4])}")
    name = folder.name if len(runs) > 1 or folder.parent == folder else f"{folder.parent.name}/{folder.name}"
    return method_results(name, runs)


def method_results(name: str, runs: Sequence[RecordedRun]) -> MethodResults:
    """Return tested runs as a method.

    Args:
        name: The method's name.
        runs: Its runs, one per seed, in order.
    """
    tests = [read_test(run) for run in runs]
    if any(not np.array_equal(test.recordings, tests[0].recordings) for test in tests):
        raise RunFolderError(name, "its runs were tested on different recordings")
    return MethodResults(
        name,
        [run.seed for run in runs],
        np.stack([test.right for test in tests]),
        tests[0].recordings,
        runs[0].required("data_fingerprint"),
        tests[0].clusters,
        [str(run.provenance.get("split_hash")) for run in runs],
        tests[0].parts,
        [str((run.selection.get("trained_before") or {}).get("run", "")) for run in runs],
    )


class RunTest(NamedTuple):
    """The test rows of one run and whether each was classified correctly, in the order of the recordings.

    Attributes:
        parts: What several rows of a recording are.

    Shape:
        recordings: `[N, 2]`; right, clusters: `[N]`.
    """

    recordings: np.ndarray
    right: np.ndarray
    clusters: np.ndarray
    parts: str = "windows"


def read_test(run: RecordedRun) -> RunTest:
    """Return the test results of a run.

    Raises:
        RunFolderError: if its predictions cannot be read, or its recordings have no class.
    """
    found = run.predictions()
    target, recording = found["test_target"], found["test_recording"]
    if target.dtype.kind not in "iu":
        raise RunFolderError(run.folder, "its recordings have no class", "only classification can be compared")
    start = found.get("test_start_us", np.zeros_like(recording))
    # Older versions did not record groups.
    clusters = found.get("test_group", recording)
    answer = answers_of(found)
    if target.ndim == 2:
        (row, step), steps = np.nonzero(target != IGNORED), target.shape[1]
        recordings = np.stack([recording[row], start[row] * steps + step], 1)
        return RunTest(recordings, (answer == target)[row, step], clusters[row], STEPS)
    order = np.lexsort((start, recording))
    return RunTest(np.stack([recording, start], 1)[order], (answer == target)[order], clusters[order])


def answers_of(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the answered classes of a run's `predictions.npz`, or of a record."""
    return arrays["test_answer"] if "test_answer" in arrays else arrays["test_readout"].argmax(-1)


def _read_completed(folder: Path, *, alone: bool) -> RecordedRun | None:
    """Return a completed and tested run, or None.

    Args:
        alone: Whether it is the only one; otherwise a run that cannot be read is left out with a warning.
    """
    try:
        run = read_run_if_ended(folder)
        if run is None or run.status != "completed" or "test/accuracy" not in run.metrics:
            return None
        run.check_files()
    except DamagedError as error:
        if alone:
            raise
        _log.warning("%s; the run is left out", error)
        return None
    return run


# Difference in accuracy for which each undecided comparison reports the required number of seeds.
POINTS = 3
CountLooks = Callable[[MethodResults, MethodResults], int]


@dataclass(frozen=True)
class Verdict:
    """The verdict on two methods, or on two networks if each has one seed.

    Attributes:
        difference: Estimated advantage of the first method.
        p: The p-value, adjusted for all comparisons on these recordings and for earlier looks.
        comparisons: Number of comparisons on these recordings.
        looks: Number of interim looks, with this one: each look has more seeds.
    """

    one: MethodResults
    other: MethodResults
    difference: Difference
    p: float
    comparisons: int = 1
    looks: int = 1

    @property
    def significant(self) -> bool:
        """True if the difference is significant."""
        return self.difference.no_verdict_reason is None and self.p < LEVEL

    @property
    def sentence(self) -> str:
        """The verdict as a sentence."""
        found = self.difference
        effect = f"{100 * found.effect:+.1f} points"
        if found.no_verdict_reason is not None:
            return f"{self.one.name} against {self.other.name}: no verdict ({effect}): {found.no_verdict_reason}"
        looks = f", looked at {self.looks} times" if self.looks > 1 else ""
        span = f"{effect}, 95 % interval {100 * found.low:+.1f} to {100 * found.high:+.1f}, p {self.p:.2g}{looks}"
        if not self.significant:
            return f"{self.one.name} against {self.other.name}: cannot tell ({span}); {self._detectable_text()}"
        better, worse = (self.one, self.other) if found.effect > 0 else (self.other, self.one)
        if found.between_networks:
            networks = [f"the network of {method.name} with seed {method.seeds[0]}" for method in (better, worse)]
            return f"{' is better than '.join(networks)}: {span}"
        return f"{better.name} is better than {worse.name}: {span}"

    def _detectable_text(self) -> str:
        """Return the difference that these seeds and recordings can detect, and the seeds that 3 points need."""
        found, level = self.difference, LEVEL / (self.comparisons * inspection_factor(self.looks))
        seeds = "" if found.between_networks else f"{_seeds_text(self.one, self.other)} and "
        text = (
            f"{seeds}{self.one.test_rows} detect {100 * found.smallest_detectable(level):.1f} points in 80 % of cases"
        )
        if found.between_networks:
            return text
        needed = found.seeds_needed(POINTS / 100, level)
        if needed is None:
            return f"{text}; {POINTS} points need more recordings, with any number of seeds"
        return f"{text}; {POINTS} points need {needed} seeds each"


def verdicts(
    methods: Sequence[MethodResults],
    comparable: Callable[[MethodResults, MethodResults], bool] | None = None,
    looks: CountLooks | None = None,
) -> list[Verdict]:
    """Compare all pairs of methods; p is adjusted for all these comparisons by Holm's method.

    Pass all methods, also if only some comparisons are shown: a choice by the results is a comparison of all.

    Args:
        comparable: Returns whether two methods were tested on the same recordings; None: all were.
        looks: Returns the number of interim looks at two methods, with this one; None: once.
    """
    pairs = [(a, b) for a, b in combinations(methods, 2) if comparable is None or comparable(a, b)]
    found = [compare_methods(a.right, b.right, a.clusters, paired=are_paired(a, b)) for a, b in pairs]
    decided = [index for index, each in enumerate(found) if each.no_verdict_reason is None]
    times = [1 if looks is None else looks(a, b) for a, b in pairs]
    factored = holm([min(1.0, found[at].p * inspection_factor(times[at])) for at in decided])
    adjusted = dict(zip(decided, factored, strict=True))
    return [
        Verdict(a, b, each, adjusted.get(index, 1.0), len(decided) or 1, times[index])
        for index, ((a, b), each) in enumerate(zip(pairs, found, strict=True))
    ]


def are_paired(one: MethodResults, other: MethodResults) -> bool:
    """Return whether networks of the same seed share their training recordings or weights, and others do not.

    Then the effect of the split, or of the weights with which both begin, cancels in the difference. If these are the
    same for all seeds, networks of the same seed share no more than others.
    """
    shared = ((one.splits, other.splits), (one.origins, other.origins))
    return one.seeds == other.seeds and any(list(a) == list(b) and len(set(a)) > 1 for a, b in shared)


def _seeds_text(one: MethodResults, other: MethodResults) -> str:
    numbers = [len(method.seeds) for method in (one, other)]
    return f"{numbers[0]} seeds" if numbers[0] == numbers[1] else f"{numbers[0]} and {numbers[1]} seeds"


def print_comparison(methods: Sequence[MethodResults]) -> None:
    """Print the methods, and the verdict on each pair of them."""
    head = ("method", "seeds", "test accuracy", "95 % interval", "of each seed", "tested on")
    Table(head, list(map(_table_row, methods)), text_columns=(0, 1, 4, 5)).print()
    for verdict in verdicts(methods):
        say(verdict.sentence, *_mcnemar_per_seed(verdict))


def _mcnemar_per_seed(verdict: Verdict) -> list[str]:
    """Return McNemar's test of the networks of each seed, if their recordings are independent."""
    one, other = verdict.one, verdict.other
    if verdict.difference.between_networks or one.seeds != other.seeds or one.clustered:
        return []
    each = ", ".join(f"{mcnemar(a, b):.2g}" for a, b in zip(one.right, other.right, strict=True))
    return [f"  McNemar's p for the two networks of each seed: {each}"]


def _table_row(method: MethodResults) -> tuple[str, ...]:
    each, interval = method.accuracies, method.interval
    deviation = f" ± {100 * each.std(ddof=1):.1f}" if len(each) > 1 else ""
    accuracy = f"{100 * each.mean():.1f} %{deviation}"
    between = "" if interval is None else f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
    if uneven(each.tolist()):
        accuracy = f"median {100 * np.median(each):.1f} %"
        between = f"range {100 * each.min():.1f} to {100 * each.max():.1f}"
    shown, seeds = " ".join(f"{100 * value:.1f}" for value in each), ", ".join(map(str, method.seeds))
    return method.name, seeds, accuracy, between, shown, method.test_rows
