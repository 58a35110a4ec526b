"""Compares what a record says of a seed with what its weights, its answers and its `metrics.csv` give.

Axes: N test recordings, T steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING as NO_DEFAULT
from math import isclose
from typing import Any, NamedTuple

import numpy as np
import yaml
from hydra.utils import get_object

from snnlab.config.schema import Experiment
from snnlab.data.augmentation import AUGMENTATIONS
from snnlab.data.data_settings import DATASETS, DataSettings
from snnlab.data.events.representation import REPRESENTATIONS
from snnlab.data.mixing import MIXES
from snnlab.errors import join_names
from snnlab.experiments.row_record import RowRecord
from snnlab.experiments.session.suite_records import answers_of, setting_differences, targets_of
from snnlab.experiments.suite_plan import RunSpec
from snnlab.experiments.suite_statistics import METRICS as TABLE_METRICS, accuracy_over_time
from snnlab.nn.init import INITS
from snnlab.nn.integer_targets import INTEGER_TARGETS
from snnlab.nn.layer import LAYERS
from snnlab.nn.learning import RULES
from snnlab.nn.losses.loss import LOSSES
from snnlab.nn.surrogate import SURROGATES
from snnlab.registry import Registry
from snnlab.runs.provenance import ComparedItem
from snnlab.runs.public_parts import public_config
from snnlab.runs.recorded import flat, resolve_references
from snnlab.runs.run_folder import config_text
from snnlab.spec.field import MISSING
from snnlab.spec.signatures import fields_of
from snnlab.target_kinds import IGNORED, kind_of
from snnlab.training.schedules import SCHEDULES
from snnlab.training.snapshots import rank_of_epoch
from snnlab.training.weight_averaging import AVERAGES

# Where sums are rounded differently, a neuron near its threshold may spike or not: these differences pass.
ANSWERS_TOLERANCE, LOSS_TOLERANCE, ACCURACY_TOLERANCE, RATE_TOLERANCE = 0.005, 0.1, 0.05, 0.05
# Outputs whose loss is as near as this differ by rounding alone: then the other tolerances are smaller by this factor.
_NEAR_LOSS, _NEAR_FACTOR = 1e-5, 0.1
# Equal outputs still leave the last digits of sums and means to the processor.
_LAST_DIGITS = 1e-6
# Statements of a record, which nothing in it can give again: the first if the last epoch was not the chosen one.
_STATED_METRICS = ("last/test/", "val/recordings", "val/windows", "val/labelled_steps")
_SCORES = ("loss", "accuracy", "mae", "rmse", "r2")
_EXACT = ("recordings", "windows", "labelled_steps", "synops_dense", "synops_dense_per_step", "membrane_updates")
_MOST_SHOWN = 3


class TestedAgain(NamedTuple):
    """What a test with the recorded weights gives.

    Attributes:
        arrays: The arrays of the test recordings.
        metrics: The metrics of the test and of the network, as in `result.json`.
        selection: The sizes of the parts, and the rule of the validation recordings.
        permutation: The order of the pixels of the dataset, `[K]`, or None.
        reads_files: Whether the dataset has files; others are simulated, and rounded as their machine does.
        duplicates: Whether no recording is in two parts, and the sentence on it.
    """

    arrays: Mapping[str, np.ndarray]
    metrics: Mapping[str, float]
    selection: Mapping[str, Any]
    fingerprint: str
    split_hash: str
    permutation: np.ndarray | None
    reads_files: bool
    duplicates: tuple[bool, str]


def shown(texts: Sequence[str]) -> str:
    """Return the first of some texts, and how many more there are."""
    more = f" and {len(texts) - _MOST_SHOWN} more" if len(texts) > _MOST_SHOWN else ""
    return "; ".join(texts[:_MOST_SHOWN]) + more


def compare_settings(spec: RunSpec, record: RowRecord, experiment: Experiment) -> Iterator[ComparedItem]:
    """Compare a composed experiment with the recorded one, and yield differences alone.

    A setting that only one of them has counts as its default in the other, since later versions have more settings.
    """
    composed = yaml.safe_load(config_text(public_config(experiment.record or {})))
    now = flat(resolve_references(composed))
    then = record.run(spec.seed).settings
    differing = setting_differences(then, now)
    one_only = [key for key in differing if key not in then or key not in now]
    changed = [
        key for key in differing if key not in one_only or not has_default(composed, key, {**now, **then}.get(key))
    ]
    if changed:
        shown = "; ".join(
            f"{key}: {then.get(key, 'nothing')} recorded, {now.get(key, 'nothing')} in the suite" for key in changed[:3]
        )
        yield ComparedItem(f"{spec}: settings", False, f"differ in {shown}")
    elif one_only:
        text = f"the same, only one has {join_names(one_only)}, with its default"
        yield ComparedItem(f"{spec}: settings", True, text)


# The registry of a node's `type`, by the node's key; a mapping of named nodes has a key itself.
_REGISTRIES: Mapping[str, Registry] = {
    "augment": AUGMENTATIONS,
    "data": DATASETS,
    "init": INITS,
    "layers": LAYERS,
    "learning": RULES,
    "loss": LOSSES,
    "mix": MIXES,
    "quantize": INTEGER_TARGETS,
    "representation": REPRESENTATIONS,
    "scheduler": SCHEDULES,
    "surrogate": SURROGATES,
    "weight_averaging": AVERAGES,
}


def has_default(config: Mapping[str, Any], key: str, value: Any) -> bool:
    """Return whether a value is the default of a setting, which a configuration without it would have.

    Args:
        config: A configuration of the user's own files, whose `_target_` are imported.
        key: The setting's dotted key.
    """
    if key.startswith("model.weights.") and not ((config.get("model") or {}).get("weights") or {}).get("file"):
        return True  # a table of names without a file is not used
    *parents, name = key.split(".")
    node: Any = config
    for part in parents:
        node = node.get(part) if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping):
        return False
    if name == "type" and len(parents) == 1:  # of a node that an older record has not at all
        return any(isinstance(one, Mapping) and one.get(name) == value for one in _defaults(Experiment, parents[0]))
    defaults = [found for factory in _factories(node, parents) for found in _defaults(factory, name)]
    return bool(defaults) and _plain(defaults[0]) == _plain(value)


def _factories(node: Mapping[str, Any], place: list[str]) -> Iterator[Callable[..., Any]]:
    """Yield the classes that take the settings of a node."""
    if not place:
        yield Experiment
    elif "_target_" in node:
        yield get_object(node["_target_"])
    else:
        registry = next((_REGISTRIES[part] for part in reversed(place[-2:]) if part in _REGISTRIES), None)
        if registry is not None and node.get("type") in registry:
            yield registry.get(node["type"], ".".join(place))
    if place == ["data"]:
        yield DataSettings


def _defaults(factory: Callable[..., Any], name: str) -> Iterator[Any]:
    """Yield the default of a setting, if the class has it."""
    if (setting := fields_of(factory).get(name)) is None or setting.default is MISSING:
        return
    field = getattr(factory, "__dataclass_fields__", {}).get(name)
    yield setting.default if field is None or field.default_factory is NO_DEFAULT else field.default_factory()


def _plain(value: Any) -> Any:
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def same_recordings(record: RowRecord, arrays: Mapping[str, np.ndarray]) -> bool:
    """Return whether the recordings, windows, labels and groups of a record are those of a test.

    Without groups, each recording is one: an older record lacks those that say no more.
    """
    stored, recordings, target = record.arrays, arrays["test_recording"], targets_of(arrays["test_target"])
    same = np.allclose if kind_of(arrays["test_target"]) == "series" else np.array_equal  # simulations round
    start = np.zeros_like(recordings)
    return bool(
        np.array_equal(stored["recording"], recordings)
        and np.array_equal(stored.get("start_us", start), arrays.get("test_start_us", start))
        and stored["target"].shape == target.shape
        and same(stored["target"], target)
        and np.array_equal(_numbered(stored.get("group", recordings)), _numbered(arrays.get("test_group", recordings)))
    )


def _numbered(groups: np.ndarray) -> np.ndarray:
    """Return the groups with the numbers 0, 1, ... in the order in which they appear."""
    _, first, number = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number]


def slack_of(then: float | None, now: float) -> float:
    """Return the factor of the tolerances: 1, or less if the loss is that of the record but for rounding."""
    return _NEAR_FACTOR if then is not None and isclose(then, now, rel_tol=_NEAR_LOSS) else 1.0


def compare_answers(before: np.ndarray | None, arrays: Mapping[str, np.ndarray], slack: float) -> tuple[bool, str]:
    """Return whether the recorded answers are those of a test, and the result as text.

    Args:
        before: The recorded answers.
        slack: The factor of the tolerance; 0 if the outputs are equal in every bit.
    """
    target, now = arrays["test_target"], answers_of(arrays["test_target"], arrays["test_readout"])
    kind, number = kind_of(target), f"{len(target):,}"
    score = f"{(now == target).mean():.2%} of {number}, " if kind == "class" else ""
    assert before is not None
    if kind in ("series", "value"):
        score = f"mean squared error {now.mean():.4g} of {number}, " if kind == "series" else ""
        close = np.allclose(before, now, rtol=_LAST_DIGITS, atol=1e-30)
        if not slack:
            return bool(close), f"{score}{'equal in every bit' if close else 'but the recorded answers are others'}"
        deviation = abs(now.mean() - before.mean()) if kind == "series" else np.abs(now - before).mean()
        within = deviation <= LOSS_TOLERANCE * slack * np.abs(before).mean()
        return bool(within), f"{score}{before.mean():.4g} in the record, {_within(within)} {LOSS_TOLERANCE * slack:.2%}"
    differing = float((before != now).mean())
    if not slack:
        text = "equal in every bit" if not differing else f"but {differing:.2%} of the recorded answers are others"
        return not differing, f"{score}{text}"
    within = differing <= max(ANSWERS_TOLERANCE * slack, 1 / len(target))
    return within, f"{score}{differing:.2%} of the answers differ, {_within(within)} {ANSWERS_TOLERANCE:.1%}"


def _within(within: object) -> str:
    return "within" if within else "beyond"


def different_curve(before: np.ndarray | None, arrays: Mapping[str, np.ndarray], equal: bool) -> list[str]:
    """Return the difference of the accuracies over time, `[T]`, as a list of texts.

    The oldest records have none. Where one is lost, the table lacks a row, which the comparison with table.txt finds.
    """
    if before is None:
        return []
    now = accuracy_over_time(arrays)
    if now is None:
        return ["accuracy_over_time: recorded"]
    if before.shape != now.shape:
        return [f"accuracy_over_time: {len(before)} steps recorded, {len(now)} now"]
    most = float(np.abs(before - now).max())
    return [] if most <= (0.0 if equal else ACCURACY_TOLERANCE) else [f"accuracy_over_time: {100 * most:.3g} points"]


def different_numbers(
    record: RowRecord, seed: int, experiment: Experiment, tested: TestedAgain | None, slack: float
) -> list[str]:
    """Return the numbers of a seed's entry that its weights, its answers or its `metrics.csv` contradict, as texts.

    Args:
        tested: The test with its weights; None: it has none.
        slack: The factor of the tolerances; 0 if the outputs are equal in every bit.
    """
    entry, rows = record.entry(seed), record.run(seed).epoch_rows()
    result = entry["result"]
    selection, metrics = result.get("selection") or {}, result["metrics"]
    chosen = _chosen_epoch(rows, experiment)
    reads = 1 if chosen in (None, len(rows) - 1) else 2
    found = unequal({
        "status": ("completed", result["status"]),
        "control": (experiment.control, result.get("control")),
        "error": (None, result.get("error")),
        "search": (None, result.get("search")),
        "name": ((experiment.record or {}).get("name"), result.get("name")),
        "test_reads.training": (reads, (entry.get("test_reads") or {}).get("training")),
        "selection.rule": (_rule(rows, experiment) if rows else selection.get("rule"), selection.get("rule")),
        "selection.epoch": (chosen, selection.get("epoch")),
        "selection.epochs": (len(rows), selection.get("epochs")),
        "epochs of metrics.csv": ([str(number) for number in range(len(rows))], [row["epoch"] for row in rows]),
    })  # fmt: skip
    most = experiment.trainer.get("max_epochs")
    if (not rows and most != 0) or (isinstance(most, int) and 0 <= most < len(rows)):
        found.append(f"epochs: {len(rows)} recorded, {most} in the suite")
    expected = _metrics_of_epochs(rows, chosen)
    if chosen == len(rows) - 1:
        expected |= {f"last/test/{name}": metrics.get(f"test/{name}") for name in _SCORES if f"test/{name}" in metrics}
    found += _different_metrics(metrics, expected, 0.0)
    if tested is None or slack:
        found += _different_metrics(metrics, _metrics_of_answers(record, seed), 1e-3)
    if tested is None:
        return found
    now = {**tested.selection, "rule": None, "epoch": None, "epochs": None}
    found += unequal({
        f"selection.{key}": (now.get(key), selection.get(key))
        for key in {*now, *selection}
        if key not in ("rule", "epoch", "epochs", "trained_before")
    })  # fmt: skip
    # A simulation rounds the values of its targets as its machine does, and its events as well.
    if tested.reads_files or (not slack and kind_of(tested.arrays["test_target"]) == "class"):
        recorded = result["provenance"].get("data_fingerprint")
        found += unequal({"provenance.data_fingerprint": (tested.fingerprint, recorded)})
    # A number that only the record has is not one of this network.
    stated = _STATED_METRICS if chosen != len(rows) - 1 else _STATED_METRICS[1:]
    known = {*tested.metrics, *expected}
    found += [f"{name}: recorded, not given" for name in metrics if name not in known and not name.startswith(stated)]
    # One that no seed of the row has, and that no table reads, is newer than the record.
    old = {name for one in record.runs for name in one["result"]["metrics"]} | set(TABLE_METRICS)
    return found + _different_metrics(
        metrics, {name: value for name, value in tested.metrics.items() if name in old}, slack
    )


def unequal(pairs: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Return a text for each name whose two values, the one of now and the recorded one, are not equal."""
    return [f"{name}: {then} recorded, {now} now" for name, (now, then) in pairs.items() if now != then]


def _different_metrics(then: Mapping[str, Any], now: Mapping[str, Any], slack: float) -> list[str]:
    return [
        f"{name}: {then.get(name, 'nothing')} recorded, {value} now"
        for name, value in now.items()
        if name not in then or not _is_close(name, then[name], value, slack)
    ]


def _is_close(name: str, then: float | None, now: float | None, slack: float) -> bool:
    """Return whether a recorded metric is that of now, within its tolerance times `slack`."""
    if now is not None and not np.isfinite(now):
        now = None  # as null in `result.json`
    if then is None or now is None:
        return then is now
    kind = next((part for part in name.split("/") if part in (*_SCORES, *_EXACT, "silent", "activation_sparsity")), "")
    if not slack or kind in _EXACT:
        return isclose(then, now, rel_tol=_LAST_DIGITS)
    if kind in ("accuracy", "silent", "activation_sparsity"):
        return abs(then - now) <= ANSWERS_TOLERANCE * slack * (2 if kind == "silent" else 1)
    if kind == "r2":  # 1 - R2 is a squared error
        return isclose(1 - then, 1 - now, rel_tol=LOSS_TOLERANCE * slack, abs_tol=1e-6)
    tolerance = LOSS_TOLERANCE if kind in _SCORES else RATE_TOLERANCE
    return isclose(then, now, rel_tol=tolerance * slack, abs_tol=1e-9)


def _rule(rows: Sequence[Mapping[str, str]], experiment: Experiment) -> str:
    """Return the rule that chose the epoch: without validation it is the last one."""
    return experiment.selection if any(row.get("val/loss") for row in rows) else "last"


def _chosen_epoch(rows: Sequence[Mapping[str, str]], experiment: Experiment) -> int | None:
    """Return the epoch that the rule chooses by `metrics.csv`, from 0."""
    rule = _rule(rows, experiment)
    if rule == "last":
        return len(rows) - 1 if rows else None
    names = ("val/loss", "val/accuracy")
    values = {
        number: {name: float(row[name]) for name in names if row.get(name)}
        for number, row in enumerate(rows)
        if row.get("val/loss")
    }
    return min(values, key=lambda number: rank_of_epoch(rule, values[number]))  # type: ignore[arg-type]


def _metrics_of_epochs(rows: Sequence[Mapping[str, str]], chosen: int | None) -> dict[str, float]:
    """Return the validation metrics of the chosen and of the last epoch, by `metrics.csv`."""
    if chosen is None:
        return {}
    of_rows = (("", rows[chosen]), ("last/", rows[-1]))
    return {
        f"{prefix}{name}": float(text)
        for prefix, row in of_rows
        for name, text in row.items()
        if text and name.startswith("val/")
    }


def _metrics_of_answers(record: RowRecord, seed: int) -> dict[str, float]:
    """Return the scores that recorded answers and targets imply."""
    answer, target = record.array("answer", seed), record.arrays["target"]
    assert answer is not None
    if target.dtype.kind in "iu":
        scored = target != IGNORED
        return {"test/accuracy": float((answer == target)[scored].mean())}
    if target.ndim == 2:
        return {"test/mae": float(np.abs(answer - target).mean())}
    return {"test/rmse": float(np.sqrt(answer.mean(dtype=np.float64)))}
