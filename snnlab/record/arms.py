"""Runs that differ in their seed alone, as one arm of a comparison."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snnlab.errors import DamagedError, RecordError, listing
from snnlab.record.groups import differing, grouped, settings_of
from snnlab.record.run_folder import REPEATED
from snnlab.record.run_reading import Recorded, find_runs, read_ended
from snnlab.record.runs_table import flat

_log = logging.getLogger(__name__)


class Arm(NamedTuple):
    """The runs of one way to train.

    Attributes:
        seeds: The seeds, in order.
        right: Whether each row of the test was answered rightly, `[S, N]`: a recording, or a window of one.
        recordings: Which recording each row is of, and when its window begins (us), `[N, 2]`.
        data: Fingerprint of the packed recordings.
        clusters: Which rows resemble each other, `[N]`: the windows of a recording, the recordings of a person, a
            speaker, a session or a file.
        splits: Hash of each seed's lists of training, validation and test recordings.
    """

    name: str
    seeds: list[int]
    right: np.ndarray
    recordings: np.ndarray
    data: str
    clusters: np.ndarray
    splits: list[str]

    @property
    def accuracies(self) -> np.ndarray:
        """The accuracy of each seed."""
        return self.right.mean(1)

    @property
    def clustered(self) -> bool:
        """Whether some rows resemble each other."""
        return len(np.unique(self.clusters)) < len(self.clusters)

    @property
    def rows(self) -> str:
        """What it was tested on: `264 recordings`, `116 windows of 16 recordings`, `264 recordings of 6 groups`."""
        number, recordings = len(self.recordings), len(np.unique(self.recordings[:, 0]))
        groups = len(np.unique(self.clusters))
        windows = f"{number:,} windows of " if number > recordings else ""
        of_groups = f" of {groups:,} groups" if groups < recordings else ""
        return f"{windows}{recordings:,} recordings{of_groups}"


def read_arms(folders: Sequence[Path]) -> list[Arm]:
    """Read arms, and check that they were tested on the same recordings.

    Args:
        folders: For each arm a run, or a folder of runs.

    Raises:
        RecordError: if one has no tested run, or their test recordings differ.
    """
    arms = [read_arm(folder) for folder in folders]
    first = arms[0]
    for arm in arms[1:]:
        if arm.data != first.data:
            raise RecordError(
                "", f"{arm.name} and {first.name}: were tested on other recordings", "nothing can be compared"
            )
        if not np.array_equal(arm.recordings, first.recordings):
            both = len({*map(tuple, arm.recordings.tolist())} & {*map(tuple, first.recordings.tolist())})
            raise RecordError(
                "",
                (
                    f"{arm.name} and {first.name}: have other test recordings, {arm.rows} and {first.rows}"
                    f" with {both} in common"
                ),
                "nothing can be compared",
            )
    return arms


def read_arm(folder: Path) -> Arm:
    """Read the runs in a folder as one arm; one that `snnlab reproduce` has repeated there counts once.

    Raises:
        RecordError: if there is no such folder, or no run in it that was tested; if two have the same seed, or more
            than the seed differs.
    """
    if not folder.is_dir():
        raise RecordError("", f"there is no folder {folder}")
    own = [run for run in find_runs(folder) if run == folder or not run.name.endswith(REPEATED)]
    runs = [run for run in (_completed(one, alone=one == folder) for one in own) if run is not None]
    if not runs:
        hint = f"; its arms are below it: {folder}/runs/DATASET/ARM" if (folder / "suite.yaml").is_file() else ""
        raise RecordError(folder, f"there is no run in it that was completed and tested{hint}")
    runs.sort(key=lambda run: run.seed)
    if twice := [seed for seed, of in grouped(runs, lambda run: run.seed).items() if len(of) > 1]:
        raise RecordError(folder, f"there are several runs with seed {twice[0]}", "name a folder with one of each")
    # What an older run does not know yet is as null.
    settings = [{k: v for k, v in settings_of(flat(run.config)).items() if v is not None} for run in runs]
    if other := list(differing(settings)):
        raise RecordError(folder, f"its runs differ in more than their seed: {listing(other[:4])}")
    name = folder.name if len(runs) > 1 or folder.parent == folder else f"{folder.parent.name}/{folder.name}"
    return arm_of(name, runs)


def arm_of(name: str, runs: Sequence[Recorded]) -> Arm:
    """Return runs that were tested as an arm.

    Args:
        name: What it is called.
        runs: Its runs, one a seed, in their order.

    Raises:
        RecordError: if they were tested on different recordings, or on such as have no class.
    """
    tests = [tested(run) for run in runs]
    if any(not np.array_equal(test.recordings, tests[0].recordings) for test in tests):
        raise RecordError(name, "its runs were tested on other recordings each")
    return Arm(
        name,
        [run.seed for run in runs],
        np.stack([test.right for test in tests]),
        tests[0].recordings,
        runs[0].required("data_fingerprint"),
        tests[0].clusters,
        [str(run.provenance.get("split_hash")) for run in runs],
    )


class TestedRun(NamedTuple):
    """What one run was tested on and had right, in the order of the recordings; see `Arm`.

    Shape:
        recordings: `[N, 2]`; right, clusters: `[N]`.
    """

    recordings: np.ndarray
    right: np.ndarray
    clusters: np.ndarray


def tested(run: Recorded) -> TestedRun:
    """Return what a run was tested on and had right.

    Raises:
        RecordError: if its answers cannot be read, or its recordings have no class.
    """
    found = run.predictions()
    target, recording = found["test_target"], found["test_recording"]
    if target.ndim != 1 or target.dtype.kind not in "iu":
        raise RecordError(run.folder, "its recordings have no class each", "only those are compared")
    start = found.get("test_start_us", np.zeros_like(recording))
    # Runs of older versions do not say whose recordings these are.
    clusters = found.get("test_group", recording)
    order = np.lexsort((start, recording))
    return TestedRun(
        np.stack([recording, start], 1)[order], (found["test_readout"].argmax(1) == target)[order], clusters[order]
    )


def _completed(folder: Path, *, alone: bool) -> Recorded | None:
    """Return a run that was completed and tested; others are none of an arm's.

    Args:
        alone: Whether it is the only one; else one that cannot be read is left out, which is said.
    """
    try:
        run = read_ended(folder)
        if run is None or run.status != "completed" or "test/accuracy" not in run.metrics:
            return None
        run.check_files()
    except DamagedError as error:
        if alone:
            raise
        _log.warning("%s; the run is left out", error)
        return None
    return run
