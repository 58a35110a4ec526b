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
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from snnlab.errors import RunFolderError
from snnlab.files import folders_at, load_arrays
from snnlab.printable import printable_data
from snnlab.runs.recorded import RecordedRun, read_config, resolve_references
from snnlab.runs.run_folder import METRICS, PREDICTIONS, RESULT
from snnlab.runs.runs_table import flat

SCHEMA = 1
# Arrays of a row, of all its seeds, and the arrays of a seed, by their names in a run's `predictions.npz`.
_OF_ROW = {"recording": "test_recording", "target": "test_target", "start_us": "test_start_us", "group": "test_group"}
_OF_SEED = {"answer": "test_answer", "accuracy_over_time": "test_accuracy_over_time"}


@dataclass(frozen=True)
class RowRecord:
    """The record of a row.

    Attributes:
        config: Settings by dotted keys, of the first seed.
        runs: The entries of result.json.
        arrays: The arrays of predictions.npz.
    """

    folder: Path
    config: Mapping[str, Any]
    runs: Sequence[Mapping[str, Any]]
    arrays: Mapping[str, np.ndarray]

    @classmethod
    def read(cls, folder: Path) -> RowRecord:
        """Read a record; its weights are not read.

        Raises:
            RunFolderError: if a file is missing or damaged.
        """
        try:
            content = printable_data(json.loads((folder / RESULT).read_text(encoding="utf-8")))
            runs = content["runs"]
            if content["schema"] != SCHEMA or not all({"seed", "differs", "result"} <= set(one) for one in runs):
                raise ValueError(f"{RESULT} is not of schema {SCHEMA}")
            arrays = load_arrays(folder / PREDICTIONS)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunFolderError(folder, f"is no record of a row ({error})") from error
        return cls(folder, flat(resolve_references(read_config(folder))), runs, arrays)

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

    def epochs(self, seed: int) -> list[dict[str, str]]:
        """Return the metrics of every epoch of a seed, as text."""
        return [row for row in csv_rows(self.folder / METRICS) if int(row["seed"]) == seed]

    def recorded_runs(self) -> list[RecordedSeed]:
        """Return the recorded runs, one for each seed."""
        return [RecordedSeed(self.folder, entry["result"], self) for entry in self.runs]


@dataclass(frozen=True)
class RecordedSeed(RecordedRun):
    """A seed of a record in place of a run's folder; of each recording it has the answer, and no outputs."""

    record: RowRecord = field(repr=False)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The settings by dotted keys."""
        return {**self.record.config, **self.record.entry(self.seed)["differs"]}

    @property
    def tested_recordings(self) -> list[int]:
        """The tested recordings, in their order; each is listed once, with any number of windows."""
        return list(dict.fromkeys(self.record.arrays["recording"].tolist()))

    def epochs(self) -> dict[str, np.ndarray]:
        """Return the metrics of every epoch, NaN for missing values."""
        rows = self.record.epochs(self.seed)
        names = [name for name in (rows[0] if rows else ()) if name != "seed"]
        return {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}

    def predictions(self) -> dict[str, np.ndarray]:
        """Return the arrays of the test, with `test_answer` in place of `test_readout`."""
        of_row = {name: self.record.arrays[key] for key, name in _OF_ROW.items() if key in self.record.arrays}
        of_seed = {name: self.record.array(key, self.seed) for key, name in _OF_SEED.items()}
        return of_row | {name: values for name, values in of_seed.items() if values is not None}


def is_row_record(folder: Path) -> bool:
    """Return whether a folder has the record of a row, and not a run."""
    try:
        content = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "runs" in content


def row_folders(records: Path) -> list[Path]:
    """Return the folders of the rows below a folder of records, by dataset and method; empty if there are none."""
    return sorted(filter(is_row_record, folders_at(records, 2)))


def csv_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a `metrics.csv`, as text."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
