"""Records of a suite: what an audit of its figures needs, written and checked again.

`snnlab.experiments.row_record` describes the files.

Axes: S seeds, N test recordings.
"""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
import numpy as np
import yaml
from torch import Tensor

from snnlab.config.compose import compose_experiment
from snnlab.config.overrides import merge_overrides
from snnlab.config.recorded_run import compose_run
from snnlab.config.schema import Experiment
from snnlab.console import quiet_lightning
from snnlab.errors import RunFolderError, join_names
from snnlab.experiments.row_record import SCHEMA, RowRecord, csv_rows, is_row_record
from snnlab.experiments.space import written
from snnlab.experiments.suite_plan import RunSpec, SuitePlan
from snnlab.experiments.suite_reading import (
    SUITE_PAGE,
    SUITE_SCHEMA,
    SUITE_STATE,
    SuiteRun,
    read_suite_state,
    read_suite_yaml,
)
from snnlab.experiments.suite_statistics import accuracy_over_time
from snnlab.files import unwritable, write_json, write_npz, write_text
from snnlab.printable import map_texts
from snnlab.runs.predictions import Predictions
from snnlab.runs.provenance import ComparedItem
from snnlab.runs.recorded import read_config, read_run, resolve_references
from snnlab.runs.run_folder import CONFIG, METRICS, PREDICTIONS, RESULT, WEIGHTS, config_text
from snnlab.runs.runs_table import flat, group_by, settings_beyond_seed
from snnlab.safe_tensors import read_safe_tensors, write_safe_tensors
from snnlab.session.session import Session
from snnlab.session.training import run
from snnlab.session.trial import silence_console
from snnlab.session.weights import run_weights
from snnlab.settings import key_of
from snnlab.target_kinds import kind_of

_log = logging.getLogger(__name__)

DATA_ROOT = "${oc.env:SNNLAB_DATA,data}"  # as in the packaged YAML files
MOST_BYTES = 1_000_000  # of a row's file of weights
# Settings of a machine, which a record does not fix.
_MACHINE = ("output_dir", "threads", "data.root", "data.store_dir", "data.download", "data.num_workers", "logger")
_FOLDER = re.compile(r"(?<![\w.~/])~?/[\w.+-]+(?:/[\w.+-]+)+")
# Where sums are rounded differently, a neuron near its threshold may spike or not: these differences pass.
ANSWERS_TOLERANCE, LOSS_TOLERANCE, ACCURACY_TOLERANCE = 0.005, 0.1, 0.05


def public_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's configuration without the folders of this machine."""
    data = {**config["data"], "store_dir": None}
    if "root" in data:
        data["root"] = DATA_ROOT
    return {**config, "output_dir": "outputs", "data": data}


def public_result(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's result without the folders of this machine."""
    return map_texts(dict(content), public_text)


def public_text(text: str) -> str:
    """Return a text with FOLDER in place of absolute paths."""
    return _FOLDER.sub("FOLDER", text)


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
    if (now := read_suite_yaml(suite_folder)) is None:
        raise RunFolderError(suite_folder, f"is not a suite's folder, there is no {SUITE_PAGE} in it")
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
    match = {dataset: found for state in states for dataset, found in (state.get("match") or {}).items()}
    looks: dict[str, list[Any]] = {}  # of all folders: a verdict counts every earlier look
    for state in states:
        for dataset, of_dataset in (state.get("looks") or {}).items():
            known = looks.setdefault(dataset, [])
            known += [look for look in of_dataset if look not in known]
    state = {"schema": SUITE_SCHEMA, "controls": list(controls.values()), "match": match, "looks": looks}
    try:
        records.mkdir(parents=True, exist_ok=True)
        write_text(records / SUITE_PAGE, yaml.safe_dump(public_result(page), sort_keys=False, width=120))
        write_json(records / SUITE_STATE, public_result(state))
    except OSError as error:
        raise unwritable(records, error, "--records") from error


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
    first = earlier.config if earlier else _settings_of(runs[0].folder)
    config = public_config(read_config(folder if earlier else runs[0].folder))
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
    if other := settings_beyond_seed([flat(public_config(read_config(at))) for at in (folder, runs[0].folder)]):
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
            [{key: value for key, value in row.items() if key != "seed"} for row in earlier.epochs(seed)],
        )
        for seed, entry in zip(earlier.seeds, earlier.runs, strict=True)
    ]


def _seed_of_run(one: SuiteRun, first: Mapping[str, Any], overrides: Sequence[str]) -> _RecordedSeed:
    """Return what a record keeps of a run.

    Args:
        first: The settings of the first seed.
    """
    assert one.recorded is not None
    stored, permutation = one.recorded.predictions(), _permutation(one, overrides)
    over_time = accuracy_over_time(stored)
    arrays = {
        "answer": answers_of(stored["test_target"], stored["test_readout"]),
        **({} if over_time is None else {"accuracy_over_time": over_time}),
        **({} if permutation is None else {"permutation": permutation}),
    }
    entry = {
        "seed": one.seed,
        "differs": _differences(first, _settings_of(one.folder)),
        "tuned": one.tuned,
        "test_reads": test_reads(one),
        "readout_sha256": readout_hash(stored["test_readout"]),
        "wall_s": one.wall_s,
        "result": public_result(one.recorded.content),
    }
    return _RecordedSeed(entry, _network_weights(one, overrides), arrays, csv_rows(one.folder / METRICS))


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


def _settings_of(run_folder: Path) -> dict[str, Any]:
    return flat(resolve_references(public_config(read_config(run_folder))))


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of `other` that differ from those of `one`, except those of the machine."""
    keys = [key for key in dict.fromkeys([*one, *other]) if not _is_of_machine(key)]
    return {key: other.get(key) for key in keys if one.get(key) != other.get(key)}


def _is_of_machine(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in _MACHINE)


def _test_arrays(one: SuiteRun) -> dict[str, np.ndarray]:
    """Return the arrays of a run's test, by their names without `test_`."""
    assert one.recorded is not None
    stored = one.recorded.predictions()
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
        fits = sum(value.numel() * value.element_size() for value in [*found.values(), *own.values()]) <= MOST_BYTES
        one.entry["has_weights"] = bool(own) and fits
        if fits:
            found |= own
        else:
            _log.warning("%s: the weights of seed %s would make the file larger than 1 MB", folder, one.seed)
    return found


def weights_of_seeds(folder: Path) -> dict[int, dict[str, Tensor]]:
    """Return the recorded weights of a row by seed, without the seeds whose weights were too large.

    Raises:
        DataError: if the file is missing or damaged.
    """
    found: dict[int, dict[str, Tensor]] = {}
    for name, value in read_safe_tensors(folder / WEIGHTS).items():
        seed, _, own = name.partition("/")
        found.setdefault(int(seed), {})[own] = value
    return found


def _csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


class _OneEpoch(L.Callback):
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = True


class _OneEpochSession(Session):
    """A session whose training ends after its first epoch; schedules are those of the whole training."""

    def trainer(self, callbacks: Sequence[L.Callback], *args: Any, **kwargs: Any) -> L.Trainer:
        return super().trainer([*callbacks, _OneEpoch()], *args, **kwargs)


def check_suite(plan: SuitePlan, specs: Sequence[RunSpec], records: Path) -> Iterator[ComparedItem]:
    """Evaluate all recorded networks of a suite again, and repeat a first epoch of each dataset's first method.

    Each experiment is composed from the suite, not from the record, and compared with it.

    Args:
        specs: The runs to check; controls are left out.
        records: The folder of the records.

    Yields:
        What was compared, whether it is the same, and the result as text; for each row the runs without a record, which
        cannot be compared.
    """
    rows = group_by([spec for spec in specs if spec.control is None], lambda spec: (spec.dataset, spec.method))
    for (dataset, method), chosen in rows.items():
        folder = records / dataset / method
        record = RowRecord.read(folder) if folder.is_dir() else None
        recorded = [spec for spec in chosen if record is not None and spec.seed in record.seeds]
        if missing := [spec.seed for spec in chosen if spec not in recorded]:
            seeds = f"seed{'s' * (len(missing) > 1)} {', '.join(map(str, missing))}"
            yield ComparedItem(f"{method} on {dataset}, {seeds}", None, "not recorded")
        if record is None or not recorded:
            continue
        for spec in recorded:
            yield from _check_run(plan, spec, record)
        if method == plan.first_method(dataset):
            yield _repeat_first_epoch(plan, recorded[0], record)


def _compose(plan: SuitePlan, spec: RunSpec, record: RowRecord, folder: Path) -> Experiment:
    entry = record.entry(spec.seed)
    threads = int(entry["result"]["provenance"].get("threads") or 1)
    task = plan.task(spec, (entry.get("tuned") or {}).get("values") or {}, threads, merge_overrides)
    return compose_experiment([*task.overrides, f"hydra.run.dir={written(str(folder))}"], plan.config_dir)[0]


def _check_run(plan: SuitePlan, spec: RunSpec, record: RowRecord) -> Iterator[ComparedItem]:
    entry, weights = record.entry(spec.seed), weights_of_seeds(record.folder).get(spec.seed)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        experiment = _compose(plan, spec, record, folder / "run")
        yield from _compare_settings(spec, record, experiment)
        if not weights:
            yield ComparedItem(f"{spec}: test", None, "not evaluated, the record has no weights of this seed")
            return
        write_safe_tensors(folder / WEIGHTS, weights)
        arrays, split_hash, permutation = evaluate_test(replace(experiment, logger=None, callbacks=None), folder)
    recorded_split = entry["result"]["provenance"]["split_hash"]
    if split_hash != recorded_split:
        yield ComparedItem(f"{spec}: split", False, "not the same: other recordings are tested")
        return
    if (stored := record.array("permutation", spec.seed)) is not None:
        same = permutation is not None and np.array_equal(stored, permutation)
        yield ComparedItem(f"{spec}: permutation", same, "the same" if same else "not the same")
    yield _compare_test(spec, record, arrays)


def evaluate_test(experiment: Experiment, run_folder: Path) -> tuple[dict[str, np.ndarray], str, np.ndarray | None]:
    """Test an experiment's network with the weights of a folder; return arrays, hash of the split, permutation."""
    session = Session(experiment, run_folder, run=run_folder)
    session.use_threads()
    with experiment.located_errors(), quiet_lightning(), silence_console():
        session.build("loss", "network", "data", "module")
        predictions = Predictions("test")
        trainer = session.trainer([predictions])
        session.decide_computation(trainer.strategy.root_device)
        trainer.test(session.module, datamodule=session.data, verbose=False)
    return predictions.arrays(), session.data.split.hash, getattr(session.dataset, "pixel_order", None)


def _compare_settings(spec: RunSpec, record: RowRecord, experiment: Experiment) -> Iterator[ComparedItem]:
    """Compare a composed experiment with the recorded one, and yield differences alone.

    A setting that only one of them has is listed, since later versions have more settings.
    """
    composed = yaml.safe_load(config_text(public_config(experiment.record or {})))
    now = flat(resolve_references(composed))
    then = {**record.config, **record.entry(spec.seed)["differs"]}
    differing = _differences(then, now)
    changed = [key for key in differing if key in then and key in now]
    if changed:
        shown = "; ".join(f"{key}: {then[key]} recorded, {now[key]} in the suite" for key in changed[:3])
        yield ComparedItem(f"{spec}: settings", False, f"differ in {shown}")
    elif differing:
        yield ComparedItem(f"{spec}: settings", True, f"the same, only one has {join_names(differing)}")


def _compare_test(spec: RunSpec, record: RowRecord, arrays: Mapping[str, np.ndarray]) -> ComparedItem:
    what, entry, row = f"{spec}: test", record.entry(spec.seed), record.seeds.index(spec.seed)
    target, readout = arrays["test_target"], arrays["test_readout"]
    stored, series = record.arrays, kind_of(target) == "series"
    same_targets = np.allclose if series else np.array_equal  # a simulation rounds as its machine does
    recordings = arrays["test_recording"]
    if not np.array_equal(stored["recording"], recordings) or not same_targets(stored["target"], targets_of(target)):
        return ComparedItem(what, False, "other recordings or labels")
    before, now = stored["answer"][row], answers_of(target, readout)
    score = f"{(now == target).mean():.2%} of {len(target):,}, " if kind_of(target) == "class" else ""
    if series:
        score = f"mean squared error {now.mean():.4g} of {len(target):,}, "
    if readout_hash(readout) == entry["readout_sha256"]:
        return ComparedItem(what, True, f"{score}equal in every bit")
    if series:
        within = abs(now.mean() - before.mean()) <= LOSS_TOLERANCE * before.mean()
        limits = f"{'within' if within else 'beyond'} {LOSS_TOLERANCE:.0%}"
        return ComparedItem(what, bool(within), f"{score}{before.mean():.4g} in the record, {limits}")
    differing = float((before != now).mean())
    within = differing <= max(ANSWERS_TOLERANCE, 1 / len(target))
    text = f"{score}{differing:.2%} of the answers differ, {'within' if within else 'beyond'} {ANSWERS_TOLERANCE:.1%}"
    return ComparedItem(what, within, text)


def _repeat_first_epoch(plan: SuitePlan, spec: RunSpec, record: RowRecord) -> ComparedItem:
    """Train the first epoch of a run again, and compare its metrics.

    Losses and accuracies must be near the recorded ones; on another processor, where sums are rounded differently and
    two trainings differ as much as two seeds, near those of any recorded seed.
    """
    what = f"{spec}: first epoch"
    recorded = {seed: record.epochs(seed)[0] for seed in record.seeds}
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        experiment = replace(_compose(plan, spec, record, folder), test=False)
        with silence_console():
            run(_OneEpochSession(experiment, folder), time.perf_counter())
        (again, *_), then = csv_rows(folder / METRICS), recorded[spec.seed]
        device = read_run(folder).provenance["device"]
    names = [name for name in again if name in then]
    if all(again[name] == then[name] for name in names):
        return ComparedItem(what, True, f"{len(names)} metrics are equal in every digit")
    scores = [name for name in names if name.endswith(("loss", "accuracy"))]
    same_device = device == record.entry(spec.seed)["result"]["provenance"]["device"]
    compared = [then] if same_device else list(recorded.values())
    wrong = [name for name in scores if not _is_near(name, again[name], [one[name] for one in compared])]
    shown = "; ".join(f"{name} {float(then[name]):.5g} then, {float(again[name]):.5g} now" for name in wrong or scores)
    limits = (
        f"loss within {LOSS_TOLERANCE:.0%}, accuracy within {100 * ACCURACY_TOLERANCE:g} points of the recorded seeds"
    )
    return ComparedItem(what, not wrong, f"{shown} ({limits})")


def _is_near(name: str, now: str, recorded: Sequence[str]) -> bool:
    """Return whether a score is within the tolerance of the range of the recorded ones."""
    values = [float(text) for text in recorded]
    low, high = min(values), max(values)
    if name.endswith("accuracy"):
        return low - ACCURACY_TOLERANCE <= float(now) <= high + ACCURACY_TOLERANCE
    return low - LOSS_TOLERANCE * abs(low) <= float(now) <= high + LOSS_TOLERANCE * abs(high)
