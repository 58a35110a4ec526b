"""Records of a suite: what an audit of its figures needs, written; `suite_check` compares it again.

`snnlab.experiments.row_record` describes the files.

Axes: S seeds, N test recordings.
"""

from __future__ import annotations

import csv
import hashlib
import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from torch import Tensor

from snnlab.config.recorded_run import compose_run
from snnlab.errors import RunFolderError, join_names
from snnlab.experiments.row_record import SCHEMA, RowRecord
from snnlab.experiments.session.disturbed_rows import write_disturbed_answers
from snnlab.experiments.suite_plan import SuitePlan
from snnlab.experiments.suite_reading import (
    SUITE_PAGE,
    SUITE_SCHEMA,
    SUITE_STATE,
    SuiteRun,
    read_suite_state,
    read_suite_yaml,
)
from snnlab.experiments.suite_runner import match_values
from snnlab.experiments.suite_settings import Match, Method, Suite
from snnlab.experiments.suite_statistics import accuracy_over_time
from snnlab.files import unwritable, write_json, write_npz, write_text
from snnlab.runs.public_parts import public_config, public_result
from snnlab.runs.recorded import RecordedRun, RunFiles, flat, is_row_record, resolve_references
from snnlab.runs.run_folder import CONFIG, METRICS, PREDICTIONS, RESULT, WEIGHTS, config_text
from snnlab.runs.runs_table import settings_beyond_seed
from snnlab.safe_tensors import write_safe_tensors
from snnlab.session.session import Session
from snnlab.session.weights import run_weights, weights_of_seeds
from snnlab.spec.override_texts import key_of
from snnlab.target_kinds import kind_of

_log = logging.getLogger(__name__)

MOST_BYTES = 1_000_000  # of a row's file of weights
# Settings of a machine, which a record does not fix.
_MACHINE = ("output_dir", "threads", "data.root", "data.store_dir", "data.download", "data.num_workers", "logger")


def readout_hash(readout: np.ndarray) -> str:
    """Return the SHA-256 of a network's outputs for the test recordings, float32."""
    return hashlib.sha256(np.ascontiguousarray(readout, "<f4").tobytes()).hexdigest()


def answers_of(targets: np.ndarray, readout: np.ndarray) -> np.ndarray:
    """Return the answers to store: classes in the smallest type that holds them, or the predicted values.

    Of values at each step, each recording's mean squared error.
    """
    if (kind := kind_of(targets)) == "series":
        return _mean_square(readout - targets)
    if kind == "value":
        return readout.astype(np.float32)
    return readout.argmax(-1).astype(np.uint8 if readout.shape[-1] <= 256 else np.uint16)


def targets_of(targets: np.ndarray) -> np.ndarray:
    """Return the targets to store; of values at each step, each recording's mean square."""
    return _mean_square(targets) if kind_of(targets) == "series" else targets


def _mean_square(values: np.ndarray) -> np.ndarray:
    return np.square(values, dtype=np.float64).mean((1, 2)).astype(np.float32)


def write_suite_description(suite_folder: Path, records: Path) -> None:
    """Write `suite.yaml` and `suite.json` of records: those of a suite's folder, united with those of earlier records.

    Raises:
        RunFolderError: if the folder is not that of a suite, or a file cannot be read or written.
    """
    now = read_suite_yaml(suite_folder)
    assert now is not None, suite_folder
    before = read_suite_yaml(records) or {}
    states = [read_suite_state(folder) for folder in (records, suite_folder)]
    page = {
        **now,
        **{part: {**(before.get(part) or {}), **(now.get(part) or {})} for part in ("methods", "datasets")},
        "seeds": sorted({*(before.get("seeds") or ()), *(now.get("seeds") or ())}),
        "common": [one for one in now.get("common") or () if not _is_of_machine(key_of(one))],
        "command": f"snnlab bench suite={now['name']}",
    }
    controls = {
        (one.get("name"), one.get("dataset"), one.get("method")): one
        for state in states
        for one in state.get("controls") or ()
    }
    looks: dict[str, list[Any]] = {}  # of all folders: a verdict counts every earlier look
    for state in states:
        for dataset, of_dataset in (state.get("looks") or {}).items():
            known = looks.setdefault(dataset, [])
            known += [look for look in of_dataset if look not in known]
    state = {
        "schema": SUITE_SCHEMA,
        "controls": list(controls.values()),
        "match": recorded_match(suite_of_page(page), records),
        "looks": looks,
    }
    try:
        records.mkdir(parents=True, exist_ok=True)
        write_text(records / SUITE_PAGE, yaml.safe_dump(public_result(page), sort_keys=False, width=120))
        write_json(records / SUITE_STATE, public_result(state))
    except OSError as error:
        raise unwritable(records, error, "--records") from error


def suite_page(plan: SuitePlan) -> dict[str, Any]:
    """Return what the `suite.yaml` of a suite's records says of it."""
    page = {**plan.to_dict(), "command": f"snnlab bench suite={plan.name}"}
    return yaml.safe_load(yaml.safe_dump(public_result(page)))


def suite_of_page(page: Mapping[str, Any]) -> Suite:
    """Return the methods and datasets that a `suite.yaml` describes."""
    methods = {name: Method(**node) for name, node in page["methods"].items()}
    match = page.get("match")
    return Suite(methods, page["datasets"], match=None if match is None else Match(**match))


def recorded_match(suite: Suite, records: Path) -> dict[str, dict[str, Any]]:
    """Return the quantity that the recorded methods of a suite should have in common, as `match_values`."""

    def results(dataset: str, method: str) -> Sequence[RecordedRun]:
        folder = records / dataset / method
        return RowRecord.read(folder).recorded_runs() if is_row_record(folder) else []

    return match_values(suite, results)


@dataclass(frozen=True)
class _RecordedSeed:
    """What a record keeps of one seed."""

    entry: dict[str, Any]
    weights: Mapping[str, Tensor]
    arrays: Mapping[str, np.ndarray]
    epochs: Sequence[Mapping[str, str]]

    @property
    def seed(self) -> int:
        return self.entry["seed"]


def write_row(folder: Path, runs: Sequence[SuiteRun], overrides: Sequence[str] = ()) -> int:
    """Write the record of a row, the completed runs of a method on a dataset; return its size in bytes.

    The seeds of an earlier record that have no run now are kept, if they were trained with the same settings and tested
    on the same recordings.

    Args:
        folder: The row's folder.
        overrides: Settings that runs of others, or that were moved, need again.

    Raises:
        RunFolderError: if a file of a run or of the earlier record cannot be read, two runs were tested on different
            recordings, or the folder cannot be written.
    """
    of_row = _arrays_of_row(runs)
    earlier = _usable_record(folder, runs, of_row)
    config = public_config((earlier.files if earlier else _recorded(runs[0])).config)
    first = flat(resolve_references(config))
    found = {one.seed: one for one in _earlier_seeds(earlier)}
    found |= {one.seed: _seed_of_run(one, first, overrides) for one in runs}
    seeds = [found[seed] for seed in sorted(found)]
    weights = _weights_that_fit(folder, seeds)
    rows = [{"seed": one.seed, **row} for one in seeds for row in one.epochs]
    of_seeds = {
        name: np.stack([one.arrays[name] for one in seeds])
        for name in seeds[0].arrays
        if all(name in one.arrays for one in seeds)
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / CONFIG, config_text(config))
        write_json(folder / RESULT, {"schema": SCHEMA, "runs": [one.entry for one in seeds]})
        write_text(folder / METRICS, _csv_text(rows))
        write_safe_tensors(folder / WEIGHTS, weights)
        write_npz(folder / PREDICTIONS, {"seed": np.array([one.seed for one in seeds])} | of_row | of_seeds)
        write_disturbed_answers(folder, runs)
    except OSError as error:
        raise unwritable(folder, error, "--records") from error
    return sum(path.stat().st_size for path in folder.iterdir())


def _usable_record(folder: Path, runs: Sequence[SuiteRun], of_row: Mapping[str, np.ndarray]) -> RowRecord | None:
    """Return the earlier record of a row; None if there is none, or its seeds do not belong to these runs."""
    if not is_row_record(folder):
        return None
    earlier = RowRecord.read(folder)
    if set(earlier.seeds) <= {one.seed for one in runs}:
        return None
    if other := settings_beyond_seed([_settings_of(one) for one in (earlier.files, _recorded(runs[0]))]):
        _log.warning("%s: the earlier seeds had other settings (%s), they are left out", folder, join_names(other))
        return None
    if any(not np.array_equal(earlier.arrays[name], of_row[name]) for name in ("recording", "target")):
        _log.warning("%s: the earlier seeds were tested on other recordings, they are left out", folder)
        return None
    return earlier


def _earlier_seeds(earlier: RowRecord | None) -> list[_RecordedSeed]:
    if earlier is None:
        return []
    weights = weights_of_seeds(earlier.folder)
    per_seed = ("answer", "accuracy_over_time", "permutation")
    return [
        _RecordedSeed(
            dict(entry),
            weights.get(seed, {}),
            {name: found for name in per_seed if (found := earlier.array(name, seed)) is not None},
            earlier.run(seed).epoch_rows(),
        )
        for seed, entry in zip(earlier.seeds, earlier.runs, strict=True)
    ]


def _seed_of_run(one: SuiteRun, first: Mapping[str, Any], overrides: Sequence[str]) -> _RecordedSeed:
    """Return what a record keeps of a run.

    Args:
        first: The settings of the first seed.
    """
    run, permutation = _recorded(one), _permutation(one, overrides)
    stored = run.predictions()
    over_time = accuracy_over_time(stored)
    arrays = {
        "answer": answers_of(stored["test_target"], stored["test_readout"]),
        **({} if over_time is None else {"accuracy_over_time": over_time}),
        **({} if permutation is None else {"permutation": permutation}),
    }
    entry = {
        "seed": one.seed,
        "differs": setting_differences(first, _settings_of(run)),
        "tuned": one.tuned,
        "test_reads": test_reads(one),
        "readout_sha256": readout_hash(stored["test_readout"]),
        "wall_s": one.wall_s,
        "result": public_result(run.content),
    }
    if _has_given_weights(one):  # they stay in their own file, which may not be ours to copy
        return _RecordedSeed(entry, {}, arrays, [])
    return _RecordedSeed(entry, _network_weights(one, overrides), arrays, run.epoch_rows())


def _has_given_weights(one: SuiteRun) -> bool:
    return one.part("selection").get("epochs") == 0


def _arrays_of_row(runs: Sequence[SuiteRun]) -> dict[str, np.ndarray]:
    """Return the arrays that describe the test recordings, which all runs must have in common."""
    first, *others = map(_test_arrays, runs)
    for one, found in zip(runs[1:], others, strict=True):
        if any(not np.array_equal(found[name], first[name]) for name in ("recording", "target")):
            raise RunFolderError(one.folder, f"was tested on other recordings than {runs[0].folder}")
    more = {name: first[name] for name in ("start_us", "group") if name in first}
    return {"recording": first["recording"].astype(np.int32), "target": targets_of(first["target"]), **more}


def test_reads(one: SuiteRun) -> dict[str, int]:
    """Return how often a run has read its test recordings: in its training, and by `snnlab evaluate` later.

    A training tests the chosen epoch, and the last one if that is another.
    """
    selection = one.part("selection")
    both = selection.get("epoch") not in (None, selection.get("epochs", 0) - 1)
    later = sum(path.is_dir() for path in (one.folder / "evaluations").glob("test_*"))
    return {"training": 2 if both else 1, "evaluations": later}


def _recorded(one: SuiteRun) -> RecordedRun:
    assert one.recorded is not None
    return one.recorded


def _settings_of(files: RunFiles) -> dict[str, Any]:
    return flat(resolve_references(public_config(files.config)))


def setting_differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of `other` that differ from those of `one`, except those of the machine."""
    keys = [key for key in dict.fromkeys([*one, *other]) if not _is_of_machine(key)]
    return {key: other.get(key) for key in keys if one.get(key) != other.get(key)}


def _is_of_machine(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in _MACHINE)


def _test_arrays(one: SuiteRun) -> dict[str, np.ndarray]:
    """Return the arrays of a run's test, by their names without `test_`."""
    stored = _recorded(one).predictions()
    if "test_readout" not in stored:
        raise RunFolderError(one.folder, "was not tested", "a record is one of a test")
    return {name.removeprefix("test_"): values for name, values in stored.items() if name.startswith("test_")}


def _permutation(one: SuiteRun, overrides: Sequence[str]) -> np.ndarray | None:
    """Return the order of the pixels of a run's dataset, `[K]`, or None."""
    found = getattr(Session(compose_run(one.folder, overrides, use="data")).dataset, "pixel_order", None)
    return None if found is None else np.asarray(found)


def _network_weights(one: SuiteRun, overrides: Sequence[str]) -> dict[str, Tensor]:
    """Return the weights of a run's chosen epoch that its network has; without those that only the training had."""
    names = Session(compose_run(one.folder, overrides, use="network")).built.network.state_dict()
    stored = run_weights(one.folder, "best")
    return {name: value for name, value in stored.items() if name in names}


def _weights_that_fit(folder: Path, seeds: Sequence[_RecordedSeed]) -> dict[str, Tensor]:
    """Return the weights of seeds by their names in a record, as long as they fit into the file, and note which do."""
    found: dict[str, Tensor] = {}
    for one in seeds:
        own = {f"{one.seed}/{name}": value for name, value in one.weights.items()}
        fits = fit_together([*found.values(), *own.values()])
        one.entry["has_weights"] = bool(own) and fits
        if fits:
            found |= own
        else:
            _log.warning("%s: the weights of seed %s would make the file larger than 1 MB", folder, one.seed)
    return found


def fit_together(weights: Iterable[Tensor]) -> bool:
    """Return whether weights fit into a row's file."""
    return sum(value.numel() * value.element_size() for value in weights) <= MOST_BYTES


def _csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
