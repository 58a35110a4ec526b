"""Reads the record of a row of a suite's table: the runs of a method on a dataset, in files small enough to publish.

RECORDS/suite.yaml and suite.json describe the suite, as in its own folder; RECORDS/DATASET/METHOD/ has a row:

config.yaml          experiment of the first seed
result.json          for each seed its result, its settings that differ from config.yaml, and how often it was tested
metrics.csv          metrics of every epoch, with a column `seed`
weights.safetensors  weights of the chosen epoch, as `SEED/NAME`
predictions.npz      seed [S], recording [N], target [N], answer [S, N]; of windows start_us [N], of grouped recordings
                     group [N]; of classes accuracy_over_time [S, T]; permutation [S, K]: `pixel_order` of a dataset.
                     Of values at each step, their mean squared error and the mean square of the target

Axes: S seeds, N test recordings, T steps.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from snnlab.errors import DamagedError, RunFolderError, one_line
from snnlab.files import folders_at
from snnlab.runs.forms import has_form, result_error
from snnlab.runs.recorded import RecordedRun, RunFiles, is_row_record, read_arrays, read_json
from snnlab.runs.run_folder import CONFIG, METRICS, PREDICTIONS, RESULT, SCHEMA_VERSION, WEIGHTS
from snnlab.yaml_files import MAX_DEPTH

SCHEMA = 1
# Arrays of a row, of all its seeds, and the arrays of a seed, by their names in a run's `predictions.npz`.
_OF_ROW = {"recording": "test_recording", "target": "test_target", "start_us": "test_start_us", "group": "test_group"}
_OF_SEED = {"answer": "test_answer", "accuracy_over_time": "accuracy_over_time"}
_FILES = (CONFIG, RESULT, METRICS, WEIGHTS, PREDICTIONS)
_NUMBER, _INTEGER = "iuf", "iu"


@dataclass(frozen=True)
class RowRecord:
    """The record of a row.

    Attributes:
        files: The files of the folder; the configuration is that of the first seed.
        runs: The entries of result.json.
        arrays: The arrays of predictions.npz.
        rows: The rows of metrics.csv, as text.
    """

    files: RunFiles
    runs: Sequence[Mapping[str, Any]]
    arrays: Mapping[str, np.ndarray]
    rows: Sequence[Mapping[str, str]]

    @classmethod
    def read(cls, folder: Path) -> RowRecord:
        """Read a record; its weights are not read.

        Raises:
            RunFolderError: if a file is missing or damaged.
        """
        files = RunFiles(folder)
        try:
            content, rows = read_json(folder / RESULT), files.epoch_rows()
        except DamagedError as error:
            raise _record_error(folder, error.reason) from error
        except (OSError, ValueError, csv.Error) as error:
            raise _record_error(folder, one_line(error)) from error
        if problem := _entries_error(content) or _rows_error(rows, content["runs"]):
            raise _record_error(folder, problem)
        arrays, problem = read_arrays(folder / PREDICTIONS)
        if problem := problem or _arrays_error(arrays, [one["seed"] for one in content["runs"]]):
            raise _record_error(folder, f"{PREDICTIONS}: {problem}")
        _ = files.config
        return cls(files, content["runs"], arrays, rows)

    @property
    def folder(self) -> Path:
        """The row's folder."""
        return self.files.folder

    @property
    def seeds(self) -> list[int]:
        """The recorded seeds."""
        return [one["seed"] for one in self.runs]

    def entry(self, seed: int) -> Mapping[str, Any]:
        """Return the entry of a seed."""
        return self.runs[self.seeds.index(seed)]

    def array(self, name: str, seed: int) -> np.ndarray | None:
        """Return a seed's row of an array; None without such an array."""
        found = self.arrays.get(name)
        return None if found is None else found[self.seeds.index(seed)]

    def run(self, seed: int) -> RecordedSeed:
        """Return the recorded run of a seed."""
        return RecordedSeed(self.folder, self.entry(seed)["result"], self)

    def recorded_runs(self) -> list[RecordedSeed]:
        """Return the recorded runs, one for each seed."""
        return [self.run(seed) for seed in self.seeds]


@dataclass(frozen=True)
class RecordedSeed(RecordedRun):
    """A seed of a record in place of a run's folder; of each recording it has the answer, and no outputs."""

    record: RowRecord = field(repr=False)

    @cached_property
    def config(self) -> dict[str, Any]:
        """Content of the row's `config.yaml`, with the settings of this seed."""
        config = deepcopy(self.record.files.config)
        for key, value in self.record.entry(self.seed)["differs"].items():
            node, (*parents, name) = config, key.split(".")
            for parent in parents:
                if not isinstance(node.get(parent), dict):
                    node[parent] = {}
                node = node[parent]
            node[name] = value
        return config

    @property
    def tested_recordings(self) -> list[int]:
        """The tested recordings, in their order; each is listed once, with any number of windows."""
        return list(dict.fromkeys(self.record.arrays["recording"].tolist()))

    def epoch_rows(self) -> list[dict[str, str]]:
        """Return the metrics of every epoch of this seed, as text."""
        rows = (row for row in self.record.rows if int(row["seed"]) == self.seed)
        return [{name: text for name, text in row.items() if name != "seed"} for row in rows]

    def predictions(self) -> dict[str, np.ndarray]:
        """Return the arrays of the test, with `test_answer` in place of `test_readout`."""
        of_row = {name: self.record.arrays[key] for key, name in _OF_ROW.items() if key in self.record.arrays}
        of_seed = {name: self.record.array(key, self.seed) for key, name in _OF_SEED.items()}
        return of_row | {name: values for name, values in of_seed.items() if values is not None}


def _record_error(folder: Path, problem: str) -> RunFolderError:
    return RunFolderError(folder, f"is no record of a row ({problem})", "restore it from a copy")


def _entries_error(content: Any) -> str | None:
    """Return the error in a record's `result.json` as text, or None."""
    entries = content.get("runs") if isinstance(content, dict) and content.get("schema") == SCHEMA else None
    if not isinstance(entries, list) or not entries or not all(map(_is_entry, entries)):
        return f"{RESULT} is not of schema {SCHEMA}"
    seeds = [one["seed"] for one in entries]
    for seed, one in zip(seeds, entries, strict=True):
        if problem := result_error(one["result"]):
            return f"{RESULT}: seed {seed}: {problem}"
        if one["result"].get("schema_version", SCHEMA_VERSION) != SCHEMA_VERSION:
            return f"{RESULT}: seed {seed}: is not of schema version {SCHEMA_VERSION}"
        if one["result"]["seed"] != seed or seeds.count(seed) > 1:
            return f"{RESULT}: seed {seed} is there twice, or has the result of another seed"
    return None


def _is_entry(one: Any) -> bool:
    """Return whether a value has the form of a seed's entry."""
    required: Mapping[str, Any] = {"seed": int, "differs": {}, "result": {}}
    optional = {
        "wall_s": float,
        "tuned": {"trials": int, "val_size": int, "values": {}},
        "test_reads": {"": int},
        "readout_sha256": str,
        "has_weights": bool,
    }
    if not isinstance(one, dict) or not has_form(one, required | optional) or None in map(one.get, required):
        return False
    return all(key.count(".") < MAX_DEPTH for key in one["differs"])


def _rows_error(rows: Sequence[Mapping[Any, Any]], entries: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the error in a record's `metrics.csv` as text, or None."""
    seeds = {str(one["seed"]) for one in entries}
    if not rows and any((one["result"].get("selection") or {}).get("epochs") != 0 for one in entries):
        return f"{METRICS}: it has no epoch"
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values() or "epoch" not in row:
            return f"{METRICS}: line {number} is not whole"
        if row.get("seed") not in seeds:
            return f"{METRICS}: line {number} is of no recorded seed"
        try:
            _ = [float(text or "nan") for text in row.values()]
        except ValueError as error:
            return f"{METRICS}: line {number}: {error}"
    return None


def _arrays_error(arrays: Mapping[str, np.ndarray], seeds: Sequence[int]) -> str | None:
    """Return the error in the arrays of a record as text, or None."""
    if missing := [name for name in ("seed", "recording", "target", "answer") if name not in arrays]:
        return f"{missing[0]} is missing"
    recording, target, rows = arrays["recording"], arrays["target"], len(seeds)
    if not np.array_equal(arrays["seed"], seeds):
        return "its seeds are not those of the results"
    if recording.ndim != 1 or not recording.size or target.shape[:1] != recording.shape:
        return "it has not a target for each recording"
    steps, pixels = (arrays.get(name, np.zeros((rows, 1))).shape[1:] for name in ("accuracy_over_time", "permutation"))
    expected = {
        "recording": (_INTEGER, recording.shape),
        "target": (_NUMBER, target.shape),
        "answer": (_NUMBER, (rows, *target.shape)),
        "start_us": (_NUMBER, recording.shape),
        "group": (_INTEGER, recording.shape),
        "accuracy_over_time": ("f", (rows, *steps)),
        "permutation": (_INTEGER, (rows, *pixels)),
    }
    for name, (kinds, shape) in expected.items():
        found = arrays.get(name, np.zeros(shape, int if "i" in kinds else float))
        if found.dtype.kind not in kinds or found.shape != shape or not np.isfinite(found).all():
            return f"{name} is {found.dtype} {found.shape}, expected numbers {shape}"
    return None if len(steps) == 1 and steps[0] else "accuracy_over_time has no steps"


def row_folders(records: Path) -> list[Path]:
    """Return the folders of the rows below a folder of records, by dataset and method; empty if there are none."""
    return sorted(filter(is_row_record, folders_at(records, 2)))


def folders_of_rows(records: Path) -> list[Path]:
    """Return the folders of the rows of a suite's records, also of damaged ones; empty for the folder of its runs."""
    found = sorted(folder for folder in folders_at(records, 2) if any((folder / name).exists() for name in _FILES))
    return found if any(is_row_record(folder) or (folder / WEIGHTS).is_file() for folder in found) else []
