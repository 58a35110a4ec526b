"""Checks the records of a suite: every number that a table or a comparison reads, against recorded weights and answers.

A seed with weights is tested again, and its answers, numbers and curves are those of the record: bit for bit where the
outputs are, else within tolerances. A seed whose weights were too large for the file has numbers that its answers and
its `metrics.csv` imply. Statements of a record, which nothing in it can give again, are times, memory, versions,
earlier looks, and the test of a last epoch that was not the chosen one; its `table.txt` has them too.

Axes: S seeds, N test recordings, T steps.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import isclose
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
import numpy as np
from torch import Tensor

from snnlab.config.compose import compose_experiment
from snnlab.config.merging import merge_overrides
from snnlab.config.schema import Experiment
from snnlab.console import quiet_lightning
from snnlab.errors import ConfigError, RunFolderError, did_you_mean
from snnlab.experiments.row_record import RowRecord, folders_of_rows
from snnlab.experiments.session.disturbed_rows import check_disturbed_answers
from snnlab.experiments.session.seed_check import (
    ACCURACY_TOLERANCE,
    LOSS_TOLERANCE,
    TestedAgain,
    compare_answers,
    compare_settings,
    different_curve,
    different_numbers,
    same_recordings,
    shown,
    slack_of,
    unequal,
)
from snnlab.experiments.session.suite_records import (
    fit_together,
    readout_hash,
    recorded_match,
    suite_of_page,
    suite_page,
)
from snnlab.experiments.session.trial import silence_console
from snnlab.experiments.space import Space
from snnlab.experiments.suite_plan import RunSpec, SuitePlan
from snnlab.experiments.suite_reading import (
    SUITE_PAGE,
    SUITE_STATE,
    energy_of,
    read_suite_state,
    read_suite_yaml,
)
from snnlab.experiments.suite_settings import Suite
from snnlab.experiments.suite_table import TABLE, table_text
from snnlab.files import read_text
from snnlab.nn.summary import learned_metrics
from snnlab.runs.provenance import ComparedItem
from snnlab.runs.recorded import RunFiles
from snnlab.runs.run_folder import METRICS, WEIGHTS
from snnlab.runs.runs_table import group_by
from snnlab.safe_tensors import write_safe_tensors
from snnlab.session.build_store import find_duplicates
from snnlab.session.fit import evaluate_stage, size_metrics
from snnlab.session.session import Session
from snnlab.session.training import run
from snnlab.session.weights import weights_of_seeds
from snnlab.spec.override_texts import written
from snnlab.spec.signatures import has_parameter


class _OneEpoch(L.Callback):
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = True


class _OneEpochSession(Session):
    """A session whose training ends after its first epoch; schedules are those of the whole training."""

    def trainer(self, callbacks: Sequence[L.Callback], *args: Any, **kwargs: Any) -> L.Trainer:
        return super().trainer([*callbacks, _OneEpoch()], *args, **kwargs)


class _Missing:
    """Decides whether something that a record lacks is a failure.

    Args:
        allowed: What may be missing: METHOD, METHOD/SEED, DATASET/METHOD, DATASET/METHOD/SEED or a file.
        of_suite: What the suite's file names, perhaps of other runs than these.
        specs: The planned runs.
    """

    def __init__(self, allowed: Collection[str], of_suite: Collection[str], specs: Sequence[RunSpec]) -> None:
        self.allowed = {*allowed, *of_suite}
        known = {name for spec in specs for name in _names_of(spec)} | {SUITE_PAGE, SUITE_STATE, TABLE}
        if unknown := sorted(set(allowed) - known):
            rows = {f"{spec.method}/{spec.seed}" for spec in specs}
            near = did_you_mean(unknown[0], known)
            raise ConfigError("--allow-missing", f"there is no {unknown[0]}", near, () if near else sorted(rows))

    def item(self, what: str, text: str, spec: RunSpec | str) -> ComparedItem:
        """Return the finding on something missing: not the same, or not compared if it may be missing."""
        names = [spec] if isinstance(spec, str) else _names_of(spec)
        allowed = bool(self.allowed.intersection(names))
        return ComparedItem(
            what, None if allowed else False, text if allowed else f"{text}; --allow-missing {names[0]}"
        )


def _names_of(spec: RunSpec) -> list[str]:
    of_seed = [f"{spec.method}/{spec.seed}", spec.method]
    return [*of_seed, *(f"{spec.dataset}/{name}" for name in of_seed)]


def check_suite(
    plan: SuitePlan,
    specs: Sequence[RunSpec],
    records: Path,
    allowed: Collection[str] = (),
    whole: Suite | None = None,
    every_seed: bool = False,
) -> Iterator[ComparedItem]:
    """Evaluate all recorded networks of a suite again, and repeat a first epoch of each dataset's first method.

    Each experiment is composed from the suite, not from the record, and compared with it.

    Args:
        specs: The runs to check; controls are left out.
        records: The folder of the records.
        allowed: What may be missing, as `--allow-missing` names it; besides what the suite names.
        whole: The suite with all of its methods and datasets: a recorded row that it does not have is a failure. None:
            other rows are not looked at.
        every_seed: Whether recorded seeds of these rows that are not among the runs are checked too.

    Yields:
        What was compared, whether it is the same, and the result as text. What is missing differs, unless it may be
        missing; then it is not compared.
    """
    specs = [spec for spec in specs if spec.control is None]
    missing, there = _Missing(allowed, plan.suite.allow_missing, specs), folders_of_rows(records)
    duplicates: dict[str, tuple[bool, str]] = {}
    for (dataset, method), chosen in group_by(specs, lambda spec: (spec.dataset, spec.method)).items():
        folder = records / dataset / method
        if folder not in there:
            yield from (missing.item(str(spec), "not recorded", spec) for spec in chosen)
            continue
        row = _Row(plan, RowRecord.read(folder), missing, chosen, every_seed)
        yield from row.check()
        if row.duplicates:
            duplicates.setdefault(dataset, row.duplicates)
    yield from _check_description(plan, records, missing, duplicates, dict.fromkeys(spec.dataset for spec in specs))
    for dataset, method in ((folder.parent.name, folder.name) for folder in there):
        if whole is None:
            return
        if dataset not in whole.datasets or method not in whole.methods or not whole.trains(method, dataset):
            yield ComparedItem(f"{method} on {dataset}", False, "recorded, but the suite has no such row")


class _Row:
    """Checks the record of a row.

    Attributes:
        duplicates: Whether no recording is in two parts, and the sentence on it; None if no network was tested.
    """

    def __init__(
        self, plan: SuitePlan, record: RowRecord, missing: _Missing, chosen: Sequence[RunSpec], every_seed: bool
    ) -> None:
        self.plan, self.record, self.missing, self.chosen = plan, record, missing, list(chosen)
        if every_seed:
            planned, (first, *_) = {spec.seed for spec in chosen}, chosen
            self.chosen += [replace(first, seed=seed) for seed in record.seeds if seed not in planned]
        self.duplicates: tuple[bool, str] | None = None
        # The runs whose outputs are those of the record in every bit, and those that are within the tolerances.
        self._equal: list[RunSpec] = []
        self._unequal: list[RunSpec] = []

    def check(self) -> Iterator[ComparedItem]:
        """Yield the findings on the row."""
        weights = weights_of_seeds(self.record.folder) if (self.record.folder / WEIGHTS).is_file() else {}
        recorded = [spec for spec in self.chosen if spec.seed in self.record.seeds]
        yield from (self.missing.item(str(one), "not recorded", one) for one in self.chosen if one not in recorded)
        if foreign := sorted(set(weights) - set(self.record.seeds)):
            yield ComparedItem(f"{self.record.folder / WEIGHTS}", False, f"has weights of seed {foreign[0]}")
        for spec in recorded:
            yield from self._check_seed(spec, weights)
        for spec in self._unequal:
            if same := [one for one in self._equal if self._machine(one) == self._machine(spec)]:
                text = f"not those of the record, but those of seed {same[0].seed} are, of the same processor"
                yield ComparedItem(f"{spec}: outputs", False, text)
        if recorded and recorded[0].method == self.plan.suite.first_method(recorded[0].dataset):
            yield from _repeat_first_epoch(self.plan, recorded[0], self.record)

    def _machine(self, spec: RunSpec) -> tuple[Any, ...]:
        return _machine(self.record.run(spec.seed).provenance)

    def _check_seed(self, spec: RunSpec, weights: Mapping[int, Mapping[str, Tensor]]) -> Iterator[ComparedItem]:
        record, entry, own = self.record, self.record.entry(spec.seed), weights.get(spec.seed) or {}
        with TemporaryDirectory() as temporary:
            folder = Path(temporary)
            experiment = _compose(self.plan, spec, record, folder / "run")
            yield from compare_settings(spec, record, experiment)
            if bool(entry.get("tuned")) != (self.plan.suite.tuning_settings(spec.method) is not None):
                yield ComparedItem(f"{spec}: tuned", False, f"{entry.get('tuned')} recorded, otherwise in the suite")
            given = _is_untrained(experiment)
            if bool(own) != bool(entry.get("has_weights")):
                text = "has weights, but the record says no" if own else "its weights are missing"
                yield self.missing.item(f"{spec}: weights", text, spec)
            elif not own and not given:
                yield self._without_weights(spec, weights, experiment)
            if own or given:
                if own:
                    write_safe_tensors(folder / WEIGHTS, own)
                tested = evaluate_test(experiment, folder if own else None)
                self.duplicates = tested.duplicates
                yield from self._compare_test(spec, experiment, tested)
                if self.plan.suite.robustness and spec.seed == self.record.seeds[0]:
                    run_folder = folder if own else None
                    session = Session(experiment, run_folder or Path(), run=run_folder)
                    yield from check_disturbed_answers(spec, self.plan.suite.robustness, record.folder, session)
            elif different := different_numbers(record, spec.seed, experiment, None, 0.0):
                yield ComparedItem(f"{spec}: result", False, shown(different))

    def _without_weights(
        self, spec: RunSpec, weights: Mapping[int, Mapping[str, Tensor]], experiment: Experiment
    ) -> ComparedItem:
        """Return the finding on a seed that the record says to have no weights of: only the file's size is a reason."""
        seeds = self.record.seeds[: self.record.seeds.index(spec.seed)]
        before = [value for seed in seeds for value in weights.get(seed, {}).values()]
        network = Session(experiment.without_initial_weights()).built.network
        if fit_together([*before, *network.state_dict().values()]):
            text = "not evaluated, the record has no weights of this seed, which would fit into the file"
            return self.missing.item(f"{spec}: test", text, spec)
        text = "not evaluated, the record has no weights of this seed: too large for the file"
        return ComparedItem(f"{spec}: test", None, text)

    def _compare_test(self, spec: RunSpec, experiment: Experiment, tested: TestedAgain) -> Iterator[ComparedItem]:
        record, entry = self.record, self.record.entry(spec.seed)
        if tested.split_hash != entry["result"]["provenance"].get("split_hash"):
            yield ComparedItem(f"{spec}: split", False, "not the same: other recordings are tested")
            return
        stored, permutation = record.array("permutation", spec.seed), tested.permutation
        if stored is not None or permutation is not None:
            same = stored is not None and permutation is not None and np.array_equal(stored, permutation)
            yield ComparedItem(f"{spec}: permutation", same, "the same" if same else "not the same")
        if not same_recordings(record, tested.arrays):
            yield ComparedItem(f"{spec}: test", False, "other recordings, labels or groups")
            return
        equal = readout_hash(tested.arrays["test_readout"]) == entry.get("readout_sha256")
        slack = 0.0 if equal else slack_of(entry["result"]["metrics"].get("test/loss"), tested.metrics["test/loss"])
        within, text = compare_answers(record.array("answer", spec.seed), tested.arrays, slack)
        different = different_numbers(record, spec.seed, experiment, tested, slack)
        different += different_curve(record.array("accuracy_over_time", spec.seed), tested.arrays, equal)
        text += f"; {len(different)} numbers differ: {shown(different)}" if different else ""
        same = within and not different
        if same:
            (self._equal if equal else self._unequal).append(spec)
        yield ComparedItem(f"{spec}: test", same, text)


def _machine(provenance: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what decides how sums are rounded, as far as a record says it."""
    packages = provenance.get("packages") or {}
    return provenance.get("device"), *(packages.get(name) for name in ("torch", "numba", "numpy"))


def _compose(plan: SuitePlan, spec: RunSpec, record: RowRecord, folder: Path) -> Experiment:
    entry = record.entry(spec.seed)
    threads, values = entry["result"]["provenance"].get("threads") or 1, (entry.get("tuned") or {}).get("values") or {}
    search = plan.suite.tuning_settings(spec.method)
    known = Space.parse(search["space"]).parameters if search and values else {}
    for key, value in values.items():  # of a record that may be a stranger's
        if key not in known or not known[key].has(value):
            raise RunFolderError(record.folder, f"seed {spec.seed}: the suite does not try {key}={value}")
    task = plan.task(spec, values, threads, partial(merge_overrides, config_dir=plan.config_dir))
    return compose_experiment([*task.overrides, f"hydra.run.dir={written(str(folder))}"], plan.config_dir)[0]


def evaluate_test(experiment: Experiment, run_folder: Path | None) -> TestedAgain:
    """Test an experiment's network with the weights of a folder; None: with those that the experiment names."""
    session = Session(experiment, run_folder or Path(), run=run_folder)
    session.use_threads()
    with quiet_lightning(), silence_console():
        session.build("loss", "network", "data", "module")
        session.set_computation()
        metrics, arrays = evaluate_stage(session, "test")
    data, built, copies = session.data, session.built, find_duplicates(session.settings, session.store, session.dataset)
    return TestedAgain(
        arrays,
        {**metrics, **size_metrics(built), **learned_metrics(built.network)},
        {**data.sizes(), "val_rule": data.split.rule},
        data.store.fingerprint,
        data.split.hash,
        getattr(session.dataset, "pixel_order", None),
        has_parameter(type(session.dataset), "root"),
        (copies.passed, copies.summary),
    )


def _check_description(
    plan: SuitePlan,
    records: Path,
    missing: _Missing,
    duplicates: Mapping[str, tuple[bool, str]],
    datasets: Collection[str],
) -> Iterator[ComparedItem]:
    """Compare the files that describe a suite, and its table; yield differences alone."""
    for name in (SUITE_PAGE, SUITE_STATE, TABLE):
        if not (records / name).is_file():
            yield missing.item(name, "not recorded", name)
    if (page := read_suite_yaml(records)) is None:
        return
    if different := _different_page(plan, page, records):
        yield ComparedItem(SUITE_PAGE, False, shown(different))
    if (records / SUITE_STATE).is_file() and (different := _different_state(plan, page, records, duplicates, datasets)):
        yield ComparedItem(SUITE_STATE, False, shown(different))
    if (records / TABLE).is_file():
        try:
            same = read_text(records / TABLE) == table_text(records)
        except ValueError:  # it is no text
            same = False
        if not same:
            yield ComparedItem(TABLE, False, f"is not the table of these records: snnlab bench table {records}")


def _different_page(plan: SuitePlan, page: Mapping[str, Any], records: Path) -> list[str]:
    """Return what a record's `suite.yaml` says otherwise than the suite, as texts; only what tables read."""
    now = suite_page(plan)
    keys = ("name", "command", "match", "tune", "controls", "published", "robustness")
    found = unequal({key: (now.get(key) or None, page.get(key) or None) for key in keys})
    place = str(records / SUITE_PAGE)
    found += unequal({"energy": (energy_of(now["energy"], place), energy_of(page.get("energy"), place))})
    for method, node in now["methods"].items():
        recorded = page["methods"].get(method)
        if recorded is not None:
            of_table = {"role": "method", "note": None, "overrides": None}
            found += unequal({
                f"methods.{method}.{key}": (node[key] or default, recorded.get(key) or default)
                for key, default in of_table.items()
            })  # fmt: skip
        elif any((records / dataset / method).is_dir() for dataset in now["datasets"]):
            found.append(f"methods.{method}: not recorded")
    return found


def _different_state(
    plan: SuitePlan,
    page: Mapping[str, Any],
    records: Path,
    duplicates: Mapping[str, tuple[bool, str]],
    datasets: Collection[str],
) -> list[str]:
    """Return what a record's `suite.json` says otherwise than the recorded runs imply, as texts.

    Whether a control that was trained has passed, and the earlier looks, are statements of the record.
    """
    state, suite = read_suite_state(records), plan.suite
    controls = {(one.get("name"), one.get("dataset")): one for one in state.get("controls") or ()}
    found = unequal({"match": (recorded_match(suite_of_page(page), records), dict(state.get("match") or {}))})
    for dataset in datasets:
        names = ["duplicates"] * (dataset in duplicates) + list(suite.controls)
        found += [f"control {name} on {dataset}: not recorded" for name in names if (name, dataset) not in controls]
    for (name, dataset), one in controls.items():
        if name not in ("duplicates", *suite.controls) or dataset not in page["datasets"]:
            found.append(f"control {name} on {dataset}: recorded, but the suite has none")
        if name == "duplicates" and dataset in duplicates:
            recorded = (one.get("passed"), one.get("said"))
            found += unequal({f"control {name} on {dataset}": (duplicates[str(dataset)], recorded)})
    if len(controls) < len(state.get("controls") or ()):
        found.append("a control is there twice")
    for dataset, looks in (state.get("looks") or {}).items():
        unknown = sorted({method for look in looks for method in look if method not in page["methods"]})
        wrong = any(number < 0 for look in looks for number in look.values())
        if unknown or wrong or dataset not in page["datasets"]:
            found.append(f"looks: {dataset}: {unknown[0] if unknown else looks}")
    return found


def _is_untrained(experiment: Experiment) -> bool:
    """Return whether a network is tested with the initial weights that the experiment names."""
    return experiment.has_given_weights and experiment.trainer.get("max_epochs") == 0


def _repeat_first_epoch(plan: SuitePlan, spec: RunSpec, record: RowRecord) -> Iterator[ComparedItem]:
    """Train the first epoch of a run again, and compare its metrics; nothing without an epoch to train.

    Losses and accuracies must be near the recorded ones; on another processor, where sums are rounded differently and
    two trainings differ as much as two seeds, near those of any recorded seed.
    """
    what = f"{spec}: first epoch"
    recorded = {seed: rows[0] for seed in record.seeds if (rows := record.run(seed).epoch_rows())}
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        experiment = replace(_compose(plan, spec, record, folder), test=False)
        if _is_untrained(experiment):
            return
        if spec.seed not in recorded:
            yield ComparedItem(what, False, f"not in {METRICS}")
            return
        session = _OneEpochSession(experiment, folder)
        with silence_console():
            made = run(session, time.perf_counter())
        (again, *_) = RunFiles(folder).epoch_rows()
    then = {name: text for name, text in recorded[spec.seed].items() if text}
    again = {name: text for name, text in again.items() if text}
    scores = [name for name in again if name.endswith(("loss", "accuracy"))]
    # A column that the record lacks may be newer, unless it is a score.
    names = [name for name in dict.fromkeys([*again, *then]) if name in then or name in scores]
    if all(again.get(name) == then.get(name) for name in names):
        yield ComparedItem(what, True, f"{len(names)} metrics are equal in every digit")
        return
    here = _machine(made.provenance) == _machine(record.run(spec.seed).provenance)
    compared = [then] if here else list(recorded.values())
    if here and any(again[name] == then.get(name) for name in scores if name.endswith("loss")):
        # The processor rounds as that of the record did: nothing else may differ but in the last digits.
        wrong = [name for name in names if not _same_number(again.get(name), then.get(name))]
    else:
        wrong = [name for name in names if name not in again or name not in then]
        wrong += [name for name in ("epoch", "step") if again.get(name) != then.get(name)]
        wrong += [
            name for name in scores if name in then and not _is_near(name, again[name], [one[name] for one in compared])
        ]
    shown = "; ".join(
        f"{name} {_short(then.get(name))} then, {_short(again.get(name))} now"
        for name in dict.fromkeys(wrong or scores)
    )
    limits = (
        f"loss within {LOSS_TOLERANCE:.0%}, accuracy within {100 * ACCURACY_TOLERANCE:g} points of the recorded seeds"
    )
    yield ComparedItem(what, not wrong, f"{shown} ({limits})")


def _short(text: str | None) -> str:
    return "missing" if text is None else f"{float(text):.5g}"


def _same_number(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return one is other
    return one == other or isclose(float(one), float(other), rel_tol=1e-3, abs_tol=1e-9)


def _is_near(name: str, now: str, recorded: Sequence[str]) -> bool:
    """Return whether a score is within the tolerance of the range of the recorded ones."""
    values = [float(text) for text in recorded if text]
    low, high = min(values), max(values)
    if name.endswith("accuracy"):
        return low - ACCURACY_TOLERANCE <= float(now) <= high + ACCURACY_TOLERANCE
    return low - LOSS_TOLERANCE * abs(low) <= float(now) <= high + LOSS_TOLERANCE * abs(high)
