"""The statistics of a method on a dataset: of each run, their spread over seeds, and published results."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import fmean, median, stdev
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

from snnlab.errors import RunFolderError
from snnlab.experiments.suite_reading import Energy, SuiteRun
from snnlab.experiments.verdicts import MethodResults, answers_of
from snnlab.runs.statistics import SeedSummary, balanced_accuracy, confusion, uneven
from snnlab.runs.tables import short_number
from snnlab.target_kinds import IGNORED

# Fields without which a published result cannot be judged.
_REQUIRED = ("name", "accuracy", "architecture", "steps", "params", "protocol")
_NUMBERS = ("accuracy", "steps", "params")
_KNOWN = ("dataset", *_REQUIRED, "selection", "source", "methods", "each", "margin")
_AGREEMENT = "{methods: [brf], each: [84.4, 84.9], margin: 1.3}, in percent and points"
_SELECTIONS = ("test", "validation", "unknown")


class PublishedResult(NamedTuple):
    """A published result.

    Attributes:
        accuracy: Test accuracy, 0 to 1.
        steps: Number of steps T.
        params: Number of trainable parameters.
        protocol: How it was measured, as text.
        selection: Recordings that chose the epoch: test, validation or unknown.
        source: Its publication, or None.
        methods: The methods here that should have the same accuracy.
        each: The accuracies of its runs.
        margin: The difference of the mean accuracies that would matter.
    """

    name: str
    accuracy: float
    architecture: str
    steps: int
    params: float
    protocol: str
    selection: str
    source: str | None
    methods: Sequence[str] = ()
    each: Sequence[float] = ()
    margin: float = 0.0

    @property
    def on_test(self) -> bool:
        """True if the epoch was chosen on the test recordings, or may have been."""
        return self.selection != "validation"

    @property
    def chosen_on(self) -> str:
        """The recordings that chose the epoch, as text."""
        return f"{self.selection}: not comparable" if self.on_test else self.selection


def check_published(nodes: Sequence[Mapping[str, Any]], place: str) -> None:
    """Check the numbers of published results."""
    for node in nodes:
        where = f"{place}.published: {node.get('name', 'without a name')}"
        if unknown := [str(key) for key in node if key not in _KNOWN]:
            raise RunFolderError(where, f"unknown setting {unknown[0]!r}", allowed=_KNOWN)
        for key in _NUMBERS:
            if node.get(key) is not None and not _is_number(node[key]):
                raise RunFolderError(where, f"{key} must be a number, got {node[key]!r}")
        if (accuracy := node.get("accuracy")) is not None and not 1 < accuracy <= 100:
            raise RunFolderError(where, f"accuracy is in percent, above 1 and at most 100, got {accuracy:g}")
        _check_agreement(node, where)


def _check_agreement(node: Mapping[str, Any], where: str) -> None:
    """Check the settings of a published result that methods here should agree with."""
    methods, each, margin = node.get("methods"), node.get("each"), node.get("margin")
    if methods is each is margin is None:
        return
    complete = isinstance(methods, list) and isinstance(each, list) and all(map(_is_number, [*each, margin]))
    if not complete or len(node["each"]) < 2 or node["margin"] <= 0:
        raise RunFolderError(where, "agreement needs methods, each accuracy and a margin above 0", _AGREEMENT)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def published_results(nodes: Sequence[Mapping[str, Any]], dataset: str) -> tuple[list[PublishedResult], list[str]]:
    """Return a dataset's published results, and a message for each one that is incomplete.

    Args:
        nodes: The suite's `published`; the accuracy is in percent.
        dataset: The dataset's name.
    """
    check_published(nodes, "suite")
    found, problems = [], []
    for node in (node for node in nodes if node.get("dataset") == dataset):
        name, selection = str(node.get("name", "without a name")), str(node.get("selection", "unknown"))
        if lacking := [key for key in _REQUIRED if node.get(key) is None]:
            problems.append(f"published: {name}: is not shown, {', '.join(lacking)} missing")
            continue
        if selection not in _SELECTIONS:
            problems.append(f"published: {name}: selection {selection} is none of {', '.join(_SELECTIONS)}: unknown")
            selection = "unknown"
        accuracy, steps, params = float(node["accuracy"]) / 100.0, int(node["steps"]), float(node["params"])
        details = str(node["architecture"]), steps, params, str(node["protocol"])
        each, margin = [value / 100 for value in node.get("each") or ()], (node.get("margin") or 0.0) / 100
        agrees = node.get("methods") or (), each, margin
        found.append(PublishedResult(name, accuracy, *details, selection, node.get("source"), *agrees))
    return sorted(found, key=lambda one: -one.accuracy), problems


LEVEL = 0.95
# Fractions of the steps, in percent.
_TIME_FRACTIONS = (25, 50, 75)
# Metrics of a result; their keys are the names with _ in place of /.
METRICS = (
    *("test/accuracy", "test/mae", "test/rmse", "test/r2", "last/test/accuracy", "last/val/accuracy", "params"),
    *(
        "footprint_bytes",
        "connection_sparsity",
        "test/spikes_per_sample",
        "test/activation_sparsity",
        "test/synops_dense",
    ),
    *("test/synops_macs", "test/synops_acs", "test/synops_dense_per_step", "test/synops_macs_per_step"),
    *("test/synops_acs_per_step", "test/membrane_updates"),
)


class Column(NamedTuple):
    """A column of statistics.

    Attributes:
        key: Its name in CSV and JSON.
        statistic: Key of the statistic that it shows.
        heading: Its heading, with the unit.
        text: Formats a statistic.
        about: The table that contains it: accuracy, time, cost or operations.
    """

    key: str
    statistic: str
    heading: str
    text: Callable[[SeedSummary], str]
    about: str


def summarize_seeds(values: Sequence[float]) -> SeedSummary:
    """Return mean, standard deviation and 95 % interval of values.

        mean +- t(n - 1) sd / sqrt(n)

    with the 97.5 % point of Student's t. The interval holds for other seeds on the same recordings.
    """
    if not values:
        raise ValueError("no values have no mean")
    n, mean = len(values), fmean(values)
    if n == 1:
        return SeedSummary(1, mean, each=tuple(values))
    sd = stdev(values)
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * sd / math.sqrt(n)
    return SeedSummary(n, mean, sd, mean - half, mean + half, tuple(values))


def run_statistics(run: SuiteRun, energy: Energy, best_on_test: bool) -> dict[str, float]:
    """Return the statistics of a tested run, by key; values that were not recorded are left out.

    Args:
        energy: Constants of the energy estimate.
        best_on_test: Whether to add the best epoch on the test recordings, which is no valid result.
    """
    metrics, timing, epoch = run.metrics, run.part("timing"), run.part("selection").get("epoch")
    macs, acs = metrics.get("test/synops_macs"), metrics.get("test/synops_acs")
    assert run.recorded is not None
    try:
        arrays = run.recorded.predictions()
    except RunFolderError:
        arrays = {}
    found = {
        **{key.replace("/", "_"): metrics.get(key) for key in METRICS},
        "energy_nj": None if macs is None or acs is None else (macs * energy.mac_pj + acs * energy.ac_pj) / 1000.0,
        **_accuracy_at_fractions(arrays),
        "balanced_accuracy": _balanced_over_steps(arrays),
        "samples_per_s": timing.get("samples_per_s"),
        "peak_mb": timing.get("peak_device_mb") or timing.get("peak_rss_mb"),
        # Of a resumed run the suite knows only the time since it was resumed.
        "wall_s": timing.get("fit_s") if run.wall_s is None or run.part("resumed") else run.wall_s,
        "chosen_epoch": None if epoch is None else epoch + 1,
        "best_test_accuracy": _best_on_test(run) if best_on_test else None,
    }
    return {key: float(value) for key, value in found.items() if value is not None}


def accuracy_over_time(arrays: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return the test accuracy if recordings ended after each step, `[T]`.

    None for labels over time, for regression, and for fewer than four steps.

    Args:
        arrays: The arrays of a run's `predictions.npz`; of a record they have the result itself.
    """
    if (known := arrays.get("accuracy_over_time")) is not None:
        return known
    answers, targets = arrays.get("test_answers"), arrays.get("test_target")
    if answers is None or targets is None or targets.ndim != 1 or answers.ndim != 2 or answers.shape[1] < 4:
        return None
    return (answers == targets[:, None]).mean(0)


def _balanced_over_steps(arrays: Mapping[str, np.ndarray]) -> float | None:
    """Return the balanced accuracy of labels over time; None for other targets."""
    targets = arrays.get("test_target")
    if targets is None or targets.ndim != 2 or targets.dtype.kind not in "iu":
        return None
    there, answers = targets != IGNORED, answers_of(arrays)
    return balanced_accuracy(confusion(targets[there], answers[there], 1 + int(max(targets.max(), answers.max()))))


def _accuracy_at_fractions(arrays: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return the accuracy at earlier ends of the recordings, or nothing if it is not known."""
    found = accuracy_over_time(arrays)
    if found is None:
        return {}
    at = {part: math.ceil(len(found) * part / 100) - 1 for part in _TIME_FRACTIONS}
    return {f"accuracy_at_{part}": float(found[step]) for part, step in at.items()}


def _best_on_test(run: SuiteRun) -> float | None:
    """Return the best accuracy of the tested epochs: the chosen one, the last one, and those in `metrics.csv`."""
    assert run.recorded is not None
    tested = [run.metrics[key] for key in ("test/accuracy", "last/test/accuracy") if key in run.metrics]
    with suppress(RunFolderError):  # without metrics.csv the tests of the result remain
        tested += [float(value) for value in run.recorded.epochs().get("test/accuracy", ()) if value == value]
    return max(tested, default=None)


def _percent_text(value: SeedSummary) -> str:
    if uneven(value.each):
        return f"median {100 * median(value.each):.1f}"
    return f"{100 * value.mean:.1f}" + ("" if value.sd is None else f" ± {100 * value.sd:.1f}")


def _interval_text(value: SeedSummary) -> str:
    if uneven(value.each):
        return f"range {100 * min(value.each):.1f} to {100 * max(value.each):.1f}"
    return "" if value.low is None or value.high is None else f"{100 * value.low:.1f} to {100 * value.high:.1f}"


def _with_sd(form: str) -> Callable[[SeedSummary], str]:
    return lambda value: format(value.mean, form) + (f" ± {format(value.sd, form)}" if value.sd else "")


def _mean_text(form: str) -> Callable[[SeedSummary], str]:
    return lambda value: format(value.mean, form)


def _short_text(value: SeedSummary) -> str:
    return short_number(value.mean)


def _sparsity_text(value: SeedSummary) -> str:
    return f"{100 * value.mean:.1f}"


COLUMNS = (
    Column("test_accuracy", "test_accuracy", "test accuracy (%)", _percent_text, "accuracy"),
    Column("test_interval", "test_accuracy", "95 % interval", _interval_text, "accuracy"),
    Column("balanced_accuracy", "balanced_accuracy", "balanced (%)", _percent_text, "accuracy"),
    Column("test_mae", "test_mae", "test mean error", _with_sd(".4g"), "accuracy"),
    Column("test_rmse", "test_rmse", "test rms error", _with_sd(".4g"), "accuracy"),
    Column("test_r2", "test_r2", "test R2", _with_sd(".3f"), "accuracy"),
    Column("last_test_accuracy", "last_test_accuracy", "last epoch, test (%)", _percent_text, "accuracy"),
    Column("last_val_accuracy", "last_val_accuracy", "last epoch, validation (%)", _percent_text, "accuracy"),
    Column("best_test_accuracy", "best_test_accuracy", "best on test (%), not comparable", _percent_text, "accuracy"),
    Column("chosen_epoch", "chosen_epoch", "chosen epoch", _mean_text(".0f"), "accuracy"),
    *(
        Column(f"accuracy_at_{p}", f"accuracy_at_{p}", f"after {p} % of the steps", _percent_text, "time")
        for p in _TIME_FRACTIONS
    ),
    Column("params", "params", "parameters", _mean_text(",.0f"), "cost"),
    Column("footprint_bytes", "footprint_bytes", "footprint (bytes)", _short_text, "cost"),
    Column("connection_sparsity", "connection_sparsity", "connection sparsity (%)", _sparsity_text, "cost"),
    Column("spikes_per_sample", "test_spikes_per_sample", "spikes / sample", _short_text, "cost"),
    Column("activation_sparsity", "test_activation_sparsity", "activation sparsity (%)", _sparsity_text, "cost"),
    Column("samples_per_s", "samples_per_s", "training samples / s", _mean_text(",.0f"), "cost"),
    Column("peak_mb", "peak_mb", "peak memory (MB)", _mean_text(",.0f"), "cost"),
    Column("wall_s", "wall_s", "wall time (s)", _mean_text(",.1f"), "cost"),
    Column("synops_dense", "test_synops_dense", "dense / sample", _short_text, "operations"),
    Column("synops_macs", "test_synops_macs", "MACs / sample", _short_text, "operations"),
    Column("synops_acs", "test_synops_acs", "ACs / sample", _short_text, "operations"),
    Column("synops_dense_per_step", "test_synops_dense_per_step", "dense / step", _short_text, "operations"),
    Column("synops_macs_per_step", "test_synops_macs_per_step", "MACs / step", _short_text, "operations"),
    Column("synops_acs_per_step", "test_synops_acs_per_step", "ACs / step", _short_text, "operations"),
    Column("membrane_updates", "test_membrane_updates", "membrane updates / sample", _short_text, "operations"),
    Column("energy_nj", "energy_nj", "energy estimate (nJ / sample)", _short_text, "operations"),
)


@dataclass(frozen=True)
class MethodRow:
    """A method on a dataset.

    Attributes:
        role: method or baseline.
        seeds: Seeds of the completed and tested runs.
        planned: Number of planned runs.
        failed: Number of failed runs.
        values: Mean and spread of each statistic, by key.
        flags: Limitations of the runs, as text.
        note: A sentence about the method, or None.
        differs: Its differences from the other methods.
        runs: Its runs, one per seed, tested or not.
        test_results: The test results of its networks; or the reason why they cannot be compared.
    """

    dataset: str
    method: str
    role: str
    seeds: Sequence[int]
    planned: int
    failed: int
    values: Mapping[str, SeedSummary]
    flags: Sequence[str]
    note: str | None = None
    differs: Sequence[str] = ()
    runs: Sequence[SuiteRun] = field(default=(), repr=False, compare=False)
    test_results: MethodResults | str = field(default="it was not tested", repr=False, compare=False)

    @property
    def tested(self) -> list[SuiteRun]:
        """The tested runs."""
        return [run for run in self.runs if run.tested]

    @property
    def sort_key(self) -> tuple[bool, float]:
        """Sort key: accuracy, or negative error; rows without a result come last."""
        score, error = self.values.get("test_accuracy"), self.values.get("test_mae")
        found = score.mean if score is not None else None if error is None else -error.mean
        return found is not None, found or 0.0

    def record(self) -> dict[str, Any]:
        """Return the row for JSON."""
        values = {key: value._asdict() for key, value in self.values.items()}
        return {
            **{"dataset": self.dataset, "method": self.method, "role": self.role, "seeds": list(self.seeds)},
            **{"asked": self.planned, "failed": self.failed, "values": values, "flags": list(self.flags)},
            **{"note": self.note, "differs": list(self.differs)},
        }
