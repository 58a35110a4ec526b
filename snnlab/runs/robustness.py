"""Robustness curves: right answers against the level of a disturbance, their areas, tables, files.

Axes: L levels, R repetitions, N recordings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from snnlab.runs.statistics import ConfidenceInterval, accuracy_interval, mean_interval
from snnlab.runs.tables import Table, csv_text

# The files of a measurement.
RECORD, ANSWERS = "robustness.json", "robustness.npz"


class RobustnessCurve(NamedTuple):
    """The answers of a network under a disturbance.

    Attributes:
        name: The disturbance.
        unit: The unit of its levels.
        levels: Its levels, in order of strength.
        right: Whether each recording is answered correctly, or the part of its labels over time, `[L, R, N]`.
        spikes: Spikes of all layers per recording, `[L, R]`.
        clusters: Number of the recording, or the group of recordings, of each row, `[N]`.
    """

    name: str
    unit: str
    levels: Sequence[float]
    right: np.ndarray
    spikes: np.ndarray
    clusters: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """The part of right answers, `[L, R]`."""
        return self.right.mean(2)

    def interval(self, level: int) -> ConfidenceInterval | None:
        """Return the 95 % interval of the part of right answers at a level, for new repetitions and recordings."""
        of_values = accuracy_interval if self.right.dtype == bool else mean_interval
        return of_values(self.right[level], self.clusters)

    @property
    def area(self) -> float:
        """The area under the curve, by trapezoids, as a part of the whole: the mean over the levels, 0 to 1."""
        return float(self._weights @ self.shares.mean(1))

    @property
    def area_interval(self) -> ConfidenceInterval | None:
        """The 95 % interval of the area, for new repetitions and recordings; None with too few groups."""
        return mean_interval(self.areas, self.clusters)

    @property
    def areas(self) -> np.ndarray:
        """The area of each recording in each repetition, 0 to 1, `[R, N]`."""
        return np.tensordot(self._weights, self.right.astype(np.float64), 1)

    @property
    def _weights(self) -> np.ndarray:
        """The weight of each level in the area, `[L]`; 1 for a single level."""
        if len(self.levels) == 1:
            return np.ones(1)
        steps = np.abs(np.diff(self.levels))
        return (np.concatenate([steps, [0.0]]) + np.concatenate([[0.0], steps])) / 2 / steps.sum()

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the curve as arrays."""
        return {"level": np.array(self.levels, np.float64), "right": self.right, "spikes": self.spikes}

    def record(self) -> dict[str, Any]:
        """Return the curve for JSON."""
        ends = [self.interval(level) for level in range(len(self.levels))]
        return {
            "unit": self.unit,
            "levels": list(self.levels),
            "right": self.shares.tolist(),
            "intervals": [None if each is None else list(each) for each in ends],
            "spikes": self.spikes.tolist(),
            "area": self.area,
            "area_interval": None if self.area_interval is None else list(self.area_interval),
        }


def robustness_table(curves: Sequence[RobustnessCurve]) -> Table:
    """Return a row for each level of each curve."""
    rows = []
    for curve in curves:
        for number, level in enumerate(curve.levels):
            each = 100 * curve.shares[number]
            spread = f" ± {each.std(ddof=1):.1f}" if each.size > 1 else ""
            ends = _interval_text(curve.interval(number))
            rows.append(
                [curve.name, f"{level:g}", f"{each.mean():.1f}{spread}", ends, f"{curve.spikes[number].mean():,.0f}"]
            )
    head = ("disturbance", "level", "right answers (%)", "95 % interval", "spikes / recording")
    return Table(head, rows, text_columns=(0,))


def area_table(curves: Sequence[RobustnessCurve]) -> Table:
    """Return the area under each curve."""
    rows = [
        [
            *(curve.name, f"{curve.levels[0]:g} to {curve.levels[-1]:g} {curve.unit}"),
            *(str(curve.right.shape[1]), f"{100 * curve.area:.1f}", _interval_text(curve.area_interval)),
        ]
        for curve in curves
    ]
    head = ("disturbance", "levels", "repetitions", "mean over the levels (%)", "95 % interval")
    return Table(head, rows, "area under the curve", text_columns=(0, 1))


def robustness_csv(curves: Sequence[RobustnessCurve]) -> str:
    """Return a line for each level and repetition of each curve."""
    rows = [
        {
            **{"disturbance": curve.name, "unit": curve.unit, "level": level, "repetition": repetition},
            **{"right": curve.shares[number, repetition], "spikes": curve.spikes[number, repetition]},
        }
        for curve in curves
        for number, level in enumerate(curve.levels)
        for repetition in range(curve.right.shape[1])
    ]
    return csv_text(list(rows[0]) if rows else [], rows)


def _interval_text(ends: ConfidenceInterval | None) -> str:
    return "" if ends is None else f"{100 * ends.low:.1f} to {100 * ends.high:.1f}"
