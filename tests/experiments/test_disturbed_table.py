"""The table of a suite that was measured under disturbances: areas, and verdicts on their differences."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from snnlab.experiments.suite_table import read_table, remarks, tables, write_tables
from snnlab.runs.statistics import compare_methods

from ..refusals import assert_lines_have
from .making import make_suite

LEVELS, N = np.array([0.0, 0.1, 0.4]), 200
WEIGHTS = np.array([0.125, 0.5, 0.375])  # of the trapezoids


def measure(folder: Path, method: str, seed: int, best: float, worst: float) -> np.ndarray:
    """Write the answers of a network, fewer right ones at each level, and return its area by recording."""
    rng = np.random.default_rng([seed, len(method)])
    parts = np.linspace(best, worst, 3)
    right = rng.random((3, 2, N)) < parts[:, None, None]
    place = folder / "runs" / "digits" / method / str(seed) / "robustness"
    place.mkdir()
    arrays = {"right": right, "level": LEVELS, "spikes": np.ones((3, 2))}
    named = {f"weight_noise/{name}": value for name, value in arrays.items()}
    np.savez(place / "robustness.npz", cluster=np.arange(N), **named)
    return np.tensordot(WEIGHTS, right.astype(float), 1).mean(0)


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    return make_suite(tmp_path / "s", {"plain": [0.9] * 4, "noisy": [0.89] * 4}, seeds=range(4))


def test_a_methods_area_is_compared_with_that_of_the_first_row(suite: Path) -> None:
    areas = {
        method: np.stack([measure(suite, method, seed, 0.9, worst) for seed in range(4)])
        for method, worst in (("plain", 0.3), ("noisy", 0.8))
    }
    (part,) = read_table(suite).parts
    for row in part.rows:
        assert row.values["under_weight_noise"].mean == pytest.approx(areas[row.method].mean())
    found = compare_methods(areas["noisy"], areas["plain"], np.arange(N))
    said = [line for line in remarks(part) if line.startswith("under weight_noise")]
    assert len(said) == 1
    assert_lines_have([line for line in remarks(part) if "weight_noise 0" in line], ("200", 2, "0 0.1 0.4"))
    assert_lines_have(said, ("noisy is better than plain", f"{100 * found.effect:+.1f} points", f"p {found.p:.2g}"))
    table = next(table for table in tables(part) if "disturbances" in table.title)
    assert [row[1] for row in table.rows] == [row.method for row in part.rows]
    paths = write_tables(suite)
    assert "under_weight_noise" in next(path for path in paths if path.suffix == ".csv").read_text()
    page = json.loads(next(path for path in paths if path.suffix == ".json").read_text())
    assert page["datasets"][0]["rows"][0]["values"]["under_weight_noise"]["n"] == 4


def test_a_method_with_a_network_that_was_not_measured_has_no_area(suite: Path) -> None:
    for seed in range(4):
        measure(suite, "plain", seed, 0.9, 0.5)
    measure(suite, "noisy", 0, 0.9, 0.5)
    (part,) = read_table(suite).parts
    assert [row.method for row in part.rows if "under_weight_noise" in row.values] == ["plain"]
    assert not [line for line in remarks(part) if line.startswith("under ")]


def test_answers_that_cannot_be_read_are_left_out_with_a_line(suite: Path) -> None:
    for seed in range(4):
        measure(suite, "plain", seed, 0.9, 0.5)
    path = suite / "runs/digits/plain/2/robustness/robustness.npz"
    path.write_bytes(path.read_bytes()[:300])
    found = read_table(suite)
    assert_lines_have(found.problems, ("runs/digits/plain/2", "robustness.npz"))
    assert not [row for row in found.parts[0].rows if "under_weight_noise" in row.values]
