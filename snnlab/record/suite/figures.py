"""The figures of one run that tables show, from its record."""

from __future__ import annotations

import math

from snnlab.errors import RecordError
from snnlab.record.suite.energy import Energy
from snnlab.record.suite.reading import Cell

# Parts of the steps, in percent.
PARTS = (25, 50, 75)
# Of the metrics of a result, under the same name with / replaced.
_METRICS = (
    "test/accuracy",
    "test/mae",
    "test/r2",
    "last/test/accuracy",
    "last/val/accuracy",
    "params",
    "footprint_bytes",
    "connection_sparsity",
    "test/spikes_per_sample",
    "test/activation_sparsity",
    "test/synops_dense",
    "test/synops_macs",
    "test/synops_acs",
    "test/synops_dense_per_step",
    "test/synops_macs_per_step",
    "test/synops_acs_per_step",
    "test/membrane_updates",
)


def figures(cell: Cell, energy: Energy, best_on_test: bool) -> dict[str, float]:
    """Return the figures of a run that was tested, by key; what was not recorded is left out.

    Args:
        cell: The run.
        energy: Constants of the energy estimate.
        best_on_test: Whether the best epoch on the test recordings is wanted, which is no result.
    """
    metrics, timing = cell.metrics, cell.part("timing")
    found = {key.replace("/", "_"): metrics[key] for key in _METRICS if metrics.get(key) is not None}
    if (macs := metrics.get("test/synops_macs")) is not None:
        found["energy_nj"] = energy.nanojoule(macs, metrics["test/synops_acs"])
    memory = timing.get("peak_device_mb") or timing.get("peak_rss_mb")
    found |= over_time(cell)
    for key, value in (
        ("samples_per_s", timing.get("samples_per_s")),
        ("peak_mb", memory),
        # Of one that was broken off the suite knows no more than what came afterwards.
        ("wall_s", timing.get("fit_s") if cell.wall_s is None or cell.resumed else cell.wall_s),
        ("chosen_epoch", _plus_one(cell.part("selection").get("epoch"))),
        ("best_test_accuracy", _best_on_test(cell) if best_on_test else None),
    ):
        if value is not None:
            found[key] = float(value)
    return found


def over_time(cell: Cell) -> dict[str, float]:
    """Return the accuracy if the recordings had ended earlier.

    Recordings of labels over time, of values, or of fewer than four steps have none.
    """
    assert cell.run is not None
    try:
        arrays = cell.run.predictions()
    except RecordError:
        return {}
    answers, targets = arrays.get("test_answers"), arrays.get("test_target")
    if answers is None or targets is None or targets.ndim != 1 or answers.ndim != 2 or answers.shape[1] < 4:
        return {}
    found = {}
    for part in PARTS:
        at = math.ceil(answers.shape[1] * part / 100) - 1
        found[f"accuracy_at_{part}"] = float((answers[:, at] == targets).mean())
    return found


def _plus_one(epoch: int | None) -> int | None:
    return None if epoch is None else epoch + 1


def _best_on_test(cell: Cell) -> float | None:
    """Return the best of the epochs that were tested: the chosen one, the last one, and those in `metrics.csv`."""
    metrics = cell.metrics
    tested = [metrics[key] for key in ("test/accuracy", "last/test/accuracy") if metrics.get(key) is not None]
    return max([*tested, *_each_epoch(cell)], default=None)


def _each_epoch(cell: Cell) -> list[float]:
    assert cell.run is not None
    try:
        column = cell.run.epochs().get("test/accuracy")
    except RecordError:
        return []  # metrics.csv is missing: the tests of the result remain
    return [] if column is None else [float(value) for value in column if value == value]
