"""The rate of false verdicts keeps its level: some of the scenarios of `make calibrate`, with fewer draws."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.long  # simulates thousands of comparisons

SCRIPTS = Path(__file__).parents[3] / "scripts"
SCENARIOS: dict[str, dict[str, Any]] = {
    "few seeds": {"recordings": 2_264, "seeds": 4, "accuracy": 0.9, "of_networks": 0.4},
    "paired seeds": {"recordings": 264, "seeds": 5, "accuracy": 0.5, "paired": True},
    "one network": {"recordings": 100, "seeds": 1, "accuracy": 0.9, "of_networks": 0.0},
    "six persons": {"recordings": 264, "seeds": 10, "accuracy": 0.5, "persons": 6},
    "windows": {"recordings": 100, "seeds": 5, "accuracy": 0.9, "windows": 8},
}


@pytest.fixture(scope="module")
def calibrate() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        yield importlib.import_module("calibrate_verdicts")


def at_most(draws: int) -> float:
    """Return the upper limit of an observed rate of 6 % in this number of draws, exceeded once in a thousand times."""
    return 0.06 + 3.1 * math.sqrt(0.06 * 0.94 / draws)


@pytest.mark.parametrize("name", SCENARIOS)
def test_equally_good_methods_rarely_differ_significantly(calibrate: ModuleType, name: str):
    scenario = calibrate.Scenario(**{"by_recording": 1.0, **SCENARIOS[name]})
    assert calibrate.false_verdicts(scenario, 1_000, 0) <= at_most(1_000)


def test_tables_and_looks_at_more_seeds_keep_the_level(calibrate: ModuleType):
    assert calibrate.false_tables(calibrate.Scenario(264, 5, 0.9, 0.5, better=6.0), 300, 0) <= at_most(300)
    assert calibrate.false_looks(calibrate.Scenario(264, 10, 0.5, 0.5), 1_000, 0) <= at_most(1_000)


def test_three_points_and_the_smallest_difference_are_detected(calibrate: ModuleType):
    three = calibrate.Scenario(10_000, 5, 0.9, 0.5, of_networks=0.135, better=3.0)
    assert calibrate.false_verdicts(three, 60, 0) > 0.8
    assert 0.72 < calibrate.power_at_smallest(calibrate.Scenario(2_264, 5, 0.9, 0.5), 400, 0) < 0.92


def test_the_table_is_written_and_a_miss_is_the_exit_status(
    calibrate: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "verdicts.md"
    status = calibrate.main(["--draws", "20", "--seeds", "3", "--cells", "windows", "--out", str(out)])
    assert status == ("MISSED" in capsys.readouterr().out)
    assert out.read_text().count("\n| windows |") == 7


def test_with_failing_seeds_an_interval_misses_the_mean_and_what_a_row_shows_has_the_median(calibrate: ModuleType):
    failing = calibrate.Scenario(264, 4, 0.98, of_networks=0.2, failing=0.1)
    assert calibrate.mean_in_interval(failing, 400, 0) < 0.5
    assert calibrate.median_in_row(failing, 400, 0) > 0.9
    assert calibrate.called_uneven(calibrate.Scenario(2_264, 4, 0.9, of_networks=0.4), 400, 0) < 0.03
