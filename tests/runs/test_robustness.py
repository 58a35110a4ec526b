"""Robustness curves: areas by hand, intervals for new repetitions and recordings, tables, CSV, the plot.

Axes: L levels, R repetitions, N recordings.
"""

from __future__ import annotations

import csv

import numpy as np
import pytest

from snnlab.runs.plots.robustness_plot import draw_robustness
from snnlab.runs.robustness import RobustnessCurve, area_table, robustness_csv, robustness_table
from snnlab.runs.statistics import mean_interval


def curve(
    levels: tuple[float, ...] = (0.0, 0.1, 0.4), repetitions: int = 3, number: int = 40, name: str = "noise"
) -> RobustnessCurve:
    rng = np.random.default_rng(0)
    right = rng.random((len(levels), repetitions, number)) < np.linspace(0.95, 0.4, len(levels))[:, None, None]
    return RobustnessCurve(name, "mV", levels, right, np.ones((len(levels), repetitions)), np.arange(number))


def test_the_area_is_that_of_trapezoids_over_the_range_of_the_levels():
    one = curve()
    means = one.shares.mean(1)
    assert one.area == pytest.approx((0.1 * (means[0] + means[1]) / 2 + 0.3 * (means[1] + means[2]) / 2) / 0.4)
    down = curve((16.0, 8.0, 0.0))
    assert down.area == pytest.approx(np.trapezoid(down.shares.mean(1)[::-1], [0, 8, 16]) / 16)
    assert curve((0.5,)).area == pytest.approx(curve((0.5,)).shares.mean())


def test_the_interval_of_an_area_contains_the_true_one_and_takes_groups_as_one():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(300):
        easy = rng.normal(0, 1, 60)
        network = rng.normal(0, 0.5, 4)
        p = 1 / (1 + np.exp(-(easy + network[:, None])))
        right = rng.random((2, 4, 60)) < p
        low, high = RobustnessCurve("", "", (0, 1), right, np.ones((2, 4)), np.arange(60)).area_interval or (1, 0)
        hits += low <= 0.5 <= high
    assert 0.9 < hits / 300 <= 1.0
    persons = np.repeat(rng.random(10), 8)  # eight equal recordings of each
    values = np.clip(persons + rng.normal(0, 0.02, (3, 80)), 0, 1)
    alone, together = mean_interval(values), mean_interval(values, np.repeat(np.arange(10), 8))
    assert alone is not None
    assert together is not None
    assert together.high - together.low > 1.5 * (alone.high - alone.low)
    assert mean_interval(values, np.repeat(np.arange(5), 16)) is None


def test_tables_and_csv_have_each_level():
    one = curve()
    rows = robustness_table([one]).rows
    assert [row[1] for row in rows] == ["0", "0.1", "0.4"]
    assert rows[1][2].startswith(f"{100 * one.shares[1].mean():.1f} ± {100 * one.shares[1].std(ddof=1):.1f}")
    (area,) = area_table([one]).rows
    assert area[3] == f"{100 * one.area:.1f}"
    lines = list(csv.DictReader(robustness_csv([one]).splitlines()))
    assert [float(line["right"]) for line in lines] == pytest.approx(one.shares.flatten().tolist())


def test_the_plot_has_a_panel_of_its_own_levels_for_each_disturbance():
    figure = draw_robustness({"": [curve(), curve((8.0, 4.0, 2.0, 1.0), name="bits"), curve((0.0, 1.0), name="lost")]})
    panels = [ax for ax in figure.axes if ax.get_visible()]
    assert [[text.get_text() for text in ax.get_xticklabels()] for ax in panels] == [
        ["0", "0.1", "0.4"],
        ["8", "4", "2", "1"],
        ["0", "1"],
    ]


def test_the_parts_of_labels_over_time_have_areas_and_intervals():
    one = curve()
    parts = one._replace(right=(one.right * 0.5 + 0.25))
    assert parts.area == pytest.approx(one.area * 0.5 + 0.25)
    assert parts.interval(1) == mean_interval(parts.right[1], parts.clusters)
