"""Trainings on a user's own synthetic recordings, without a line of code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ..refusals import assert_error_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]


def write(path: Path, seed: int, first_row: int) -> None:
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    t, rows = np.sort(rng.integers(0, 100_000, 400)) + 7_000_000, first_row + rng.integers(0, 4, 400)
    np.save(path, np.array([rng.integers(0, 16, 400), rows, t, rng.integers(0, 2, 400)]).T)


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    for number in range(10):
        for first_row, name in ((0, "up"), (8, "down")):
            write(tmp_path / "mine" / name / f"{number}.npy", number, first_row)
    return tmp_path / "mine"


def test_a_folder_of_recordings_trains_without_code(classes: Path, workplace: Path, snnlab: Snnlab) -> None:
    settings = ["data=folder", f"data.root={classes}", "data.sensor_size=[16,12,2]", "data.num_classes=2"]
    done = snnlab(
        "train", *settings, "data.duration_ms=100", "data.num_bins=8", "model=mlp_lif", "trainer.max_epochs=1",
        "data.batch_size=4", f"data.store_dir={workplace / 'stores'}", "test=true", "plots=null",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert "classes: 0 down, 1 up" in done.out + done.err


def test_a_wrong_number_of_classes_or_sensor_is_named(classes: Path, workplace: Path, snnlab: Snnlab) -> None:
    settings = ["data=folder", "model=mlp_lif", f"data.root={classes}", "data.duration_ms=100"]
    settings.append(f"data.store_dir={workplace / 'stores'}")
    done = snnlab("train", *settings, "data.sensor_size=[16,12,2]", "data.num_classes=3")
    assert done.status == 2
    assert_error_has(done.error, "data.num_classes", 3, 2)
    done = snnlab("train", *settings, "data.sensor_size=[16,10,2]", "data.num_classes=2")
    assert done.status == 2
    assert_error_has(done.error, "", "spans")


def test_a_value_that_the_yaml_leaves_to_the_user_is_requested(workplace: Path, snnlab: Snnlab) -> None:
    done = snnlab("train", "data=folder")
    assert done.status == 2
    needed = ["data.duration_ms", "data.num_classes", "data.root", "data.sensor_size"]
    assert_error_has(done.error, "", "value", ", ".join(needed), " ".join(f"{name}=..." for name in needed))
