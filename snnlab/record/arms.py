"""Runs that differ in their seed alone, as one arm of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from snnlab.errors import RecordError, listing
from snnlab.record.run_config import read_raw
from snnlab.record.run_folder import CONFIG, REPEATED
from snnlab.record.run_reading import Recorded, find_runs, read_run
from snnlab.record.runs_table import flat

# What may differ between the runs of an arm: the seed, and what is around a training.
FREE = (
    "seed",
    "output_dir",
    "name",
    "threads",
    "logger",
    "pictures",
    "monitors",
    "checkpoint_every_s",
    "trainer.enable_progress_bar",
    "data.root",
    "data.store_dir",
    "data.download",
    "data.num_workers",
)


class Arm(NamedTuple):
    """The runs of one way to train.

    Attributes:
        name: What it is called.
        seeds: The seeds, in order.
        right: Whether each test recording was answered rightly, `[S, N]`.
        recordings: Which they are, `[N]`.
        data: Fingerprint of the packed recordings.
    """

    name: str
    seeds: list[int]
    right: np.ndarray
    recordings: np.ndarray
    data: str

    @property
    def accuracies(self) -> np.ndarray:
        """The accuracy of each seed."""
        return self.right.mean(1)


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
            raise RecordError(f"{arm.name} and {first.name}: were tested on other recordings; nothing can be compared")
        if not np.array_equal(arm.recordings, first.recordings):
            both = np.intersect1d(arm.recordings, first.recordings).size
            raise RecordError(
                f"{arm.name} and {first.name}: have other test recordings, {len(arm.recordings)} and"
                f" {len(first.recordings)} with {both} in common; nothing can be compared"
            )
    return arms


def read_arm(folder: Path) -> Arm:
    """Read the runs in a folder as one arm; one that `snnlab reproduce` has repeated there counts once.

    Raises:
        RecordError: if there is no such folder, or no run in it that was tested; if two have the same seed, or more
            than the seed differs.
    """
    if not folder.is_dir():
        raise RecordError(f"there is no folder {folder}")
    own = [run for run in find_runs(folder) if run == folder or not run.name.endswith(REPEATED)]
    runs = [run for run in map(_completed, own) if run is not None]
    if not runs:
        hint = f"; its arms are below it: {folder}/runs/DATASET/ARM" if (folder / "suite.yaml").is_file() else ""
        raise RecordError(f"{folder}: there is no run in it that was completed and tested{hint}")
    runs.sort(key=lambda run: run.page["seed"])
    seeds = [run.page["seed"] for run in runs]
    if twice := [seed for seed in dict.fromkeys(seeds) if seeds.count(seed) > 1]:
        raise RecordError(f"{folder}: there are several runs with seed {twice[0]}; name a folder with one of each")
    settings = [_settings(run.folder) for run in runs]
    if other := [key for key in settings[0] if any(s.get(key) != settings[0][key] for s in settings[1:])]:
        raise RecordError(f"{folder}: its runs differ in more than their seed: {listing(other[:4])}")
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
    rows = []
    for run in runs:
        found = run.predictions()
        if found["test_target"].ndim != 1 or found["test_target"].dtype.kind not in "iu":
            raise RecordError(f"{run.folder}: its recordings have no class each; only those are compared")
        order = np.argsort(found["test_recording"], kind="stable")
        rows.append((found["test_recording"][order], (_answer(found) == found["test_target"])[order]))
    if any(not np.array_equal(recordings, rows[0][0]) for recordings, _ in rows):
        raise RecordError(f"{name}: its runs were tested on other recordings each")
    right = np.stack([right for _, right in rows])
    seeds = [run.page["seed"] for run in runs]
    return Arm(name, seeds, right, rows[0][0], runs[0].page["provenance"]["data_fingerprint"])


def _answer(found: dict[str, np.ndarray]) -> np.ndarray:
    return found["test_readout"].argmax(1)


def _completed(folder: Path) -> Recorded | None:
    """Return a run that was completed and tested; others are none of an arm's."""
    if not (folder / "result.json").is_file():
        return None
    run = read_run(folder)
    return run if run.page["status"] == "completed" and "test/accuracy" in run.metrics else None


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what makes a run what it is, but for its seed.

    Args:
        config: Its config.yaml by dotted keys.
    """
    found = {k: v for k, v in config.items() if not any(k == free or k.startswith(f"{free}.") for free in FREE)}
    if isinstance(devices := found.get("trainer.devices"), list) and len(devices) == 1:
        found["trainer.devices"] = 1  # runs at the same time have a GPU each
    return found


def _settings(folder: Path) -> dict[str, Any]:
    return settings_of(flat(read_raw(folder / CONFIG)))
