"""`snnlab robust`: what docs/robustness.md and its `--help` promise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from snnlab import load
from snnlab.session import disturbed

from ..refusals import assert_text_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]
SHORT = ("--disturb", "spikes_deleted", "--levels", "0,0.5,1", "--repetitions", "2", "--recordings", "40")


def measured(done: Outcome) -> tuple[Path, dict, dict[str, np.ndarray]]:
    assert done.status == 0, done.err
    folder = Path(done.out.splitlines()[-1])
    with np.load(folder / "robustness.npz") as arrays:
        return folder, json.loads((folder / "robustness.json").read_text()), dict(arrays)


def test_a_run_is_measured_under_all_disturbances_and_stays_as_it_was(digits_run: Path, snnlab: Snnlab) -> None:
    before = {path: path.read_bytes() for path in digits_run.rglob("*") if path.is_file()}
    folder, found, arrays = measured(snnlab("robust", str(digits_run), "--recordings", "30", "--repetitions", "2"))
    assert folder.parent == digits_run / "evaluations"
    assert all(path.read_bytes() == content for path, content in before.items())
    known = [*disturbed.DISTURBANCES, *disturbed.EVENT_DISTURBANCES]
    assert set(found["disturbances"]) == set(known)
    opened = load(digits_run)
    recordings = opened.store_indices("test", slice(30))
    right = dict(
        zip(opened.predictions["test_recording"].tolist(), opened.predictions["test_readout"].argmax(1), strict=True)
    )
    targets = dict(zip(opened.predictions["test_recording"].tolist(), opened.predictions["test_target"], strict=True))
    undisturbed = [right[number] == targets[number] for number in recordings.tolist()]
    for name in known:
        curve = found["disturbances"][name]
        level = next((at for at, level in enumerate(curve["levels"]) if level == 0), None)
        if level is not None:
            assert arrays[f"{name}/right"][level].tolist() == [undisturbed] * 2
        low, high = curve["area_interval"]
        assert 0 <= low <= curve["area"] <= high <= 1
    assert (folder / "robustness.png").stat().st_size > 5000
    assert (folder / "robustness.csv").read_text().count("\nhot_pixels,") == 12


def test_a_network_without_its_spikes_guesses_and_the_seed_fixes_all_numbers(digits_run: Path, snnlab: Snnlab) -> None:
    done = snnlab("robust", str(digits_run), *SHORT)
    assert_text_has(done.out, "40 recordings", "4 evaluations", "core-hours", "spikes_deleted")
    _, found, arrays = measured(done)
    curve = found["disturbances"]["spikes_deleted"]
    assert np.mean(curve["right"][0]) > 0.5 > np.mean(curve["right"][2])
    assert curve["spikes"][2] == [0, 0]
    assert np.mean(curve["spikes"][1]) == pytest.approx(np.mean(curve["spikes"][0]) / 2, rel=0.05)
    again = measured(snnlab("robust", str(digits_run), *SHORT))[2]
    other = measured(snnlab("robust", str(digits_run), *SHORT, "--seed", "1"))[2]
    assert np.array_equal(arrays["spikes_deleted/right"], again["spikes_deleted/right"])
    assert not np.array_equal(arrays["spikes_deleted/right"][1], other["spikes_deleted/right"][1])


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        (("--disturb", "spikes_deletd"), ("--disturb", "spikes_deleted")),
        (("--levels", "0,1"), ("--levels", "--disturb")),
        (("--disturb", "events_lost", "--levels", "0,much"), ("--levels", "much")),
        (("--disturb", "events_lost", "--recordings", "0"), ("--recordings", ">= 1")),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    digits_run: Path, snnlab: Snnlab, options: tuple[str, ...], facts: tuple[str, ...]
) -> None:
    there = sorted(digits_run.rglob("*"))
    done = snnlab("robust", str(digits_run), *options)
    assert done.status == 2
    assert len(done.err.splitlines()) <= 2
    assert_text_has(done.err, *facts)
    assert sorted(digits_run.rglob("*")) == there


def test_more_than_twelve_core_hours_are_refused(
    digits_run: Path, snnlab: Snnlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disturbed, "MOST_HOURS", 1e-9)
    done = snnlab("robust", str(digits_run), *SHORT)
    assert done.status == 2
    assert_text_has(done.err, "core-hours", "--recordings")
