"""Values at each step, `data.targets: series`: a dataset made by a program, its frames, its refusals, a training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnlab import train
from snnlab.config.compose import compose_experiment
from snnlab.data.data_settings import build_dataset, read_settings
from snnlab.data.dataset import DATASETS
from snnlab.data.events import Events, open_or_build
from snnlab.data.events.frames import EventBatch
from snnlab.errors import ConfigError, DataError
from snnlab.session import Session

from ..refusals import assert_raises

R, T, K = 20, 6, 2
YAML = """# snnlab train --config-dir . data=drift loss=mse_series
type: drift
targets: series
sensor_size: [8, 1, 2]
num_classes: 2
duration_ms: 60.0
num_bins: 6
batch_size: 4
val_fraction: 0.25
store_dir: {folder}/stores
"""


class Drift:
    """One event of each polarity in each step; its column, divided by 8, is a value of the step."""

    label, num_classes, class_names, groups, notes = "drift", K, None, None, ()
    sensor_size = (8, 1, K)

    def __init__(self, targets: str = "series") -> None:
        self.columns = np.random.default_rng(0).integers(0, 8, (R, T, K)).astype(np.int16)
        self.targets = (self.columns / 8).astype(np.float32)
        self.split = (np.arange(R) % 5 == 0).astype(np.uint8)

    def __len__(self) -> int:
        return R

    def fingerprint(self) -> dict[str, Any]:
        return {"dataset": self.label}

    def name(self, index: int) -> str:
        return f"drift {index}"

    def read(self, index: int) -> Events:
        t = np.repeat(10_000 * np.arange(T) + 5_000, K)
        return Events(t, self.columns[index].reshape(-1), None, np.tile(np.arange(K), T).astype(bool))


@pytest.fixture
def user_dir(tmp_path: Path) -> Iterator[Path]:
    """Return a folder of YAML files with the dataset, which is registered."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "drift.yaml").write_text(YAML.format(folder=tmp_path))
    DATASETS.register("drift")(Drift)
    yield tmp_path
    del DATASETS._entries["drift"]


def test_a_batch_has_the_values_of_each_step(user_dir: Path) -> None:
    node = compose_experiment(["data=drift"], user_dir)[0].data
    settings, dataset = read_settings(node)[0], build_dataset(node)
    store, given = open_or_build(dataset, user_dir / "stores"), Drift()
    batch = settings.frame_builder()(EventBatch.from_packed(store.gather(np.arange(R))))
    assert torch.equal(batch.targets, torch.from_numpy(given.targets).transpose(0, 1))
    where = batch.x.reshape(T, R, K, 8).argmax(-1)
    assert torch.equal(where, torch.from_numpy(given.columns).long().transpose(0, 1))
    fewer = settings.__class__(**{**vars(settings), "num_bins": T - 1})
    with assert_raises(DataError, "data.num_bins", T - 1, T):
        fewer.frame_builder()(EventBatch.from_packed(store.gather(np.arange(2))))


@pytest.mark.parametrize(
    ("override", "facts"),
    [
        ("loss=mse", ("loss", "mse", "mse_series")),
        ("data.mix=mixup", ("data.mix", "mixup", "series")),
        ("data.stride_ms=50", ("data.stride_ms", "series")),
        ("data.length_from=recording", ("data.length_from", "series")),
        ("selection=best_val_accuracy", ("selection",)),
    ],
)
def test_what_is_not_for_values_at_each_step_is_refused(
    override: str, facts: tuple[str, ...], user_dir: Path, tmp_path: Path
) -> None:
    with assert_raises(ConfigError, *facts):
        experiment = compose_experiment(["data=drift", "model=gru", "loss=mse_series", override], user_dir)[0]
        Session(experiment, tmp_path).build("loss")


def test_a_network_learns_them(user_dir: Path) -> None:
    run = train(
        "data=drift",
        "loss=mse_series",
        "model=gru",
        "trainer.max_epochs=1",
        "plots=null",
        "trainer.accelerator=cpu",
        f"output_dir={user_dir / 'outputs'}",
        config_dir=user_dir,
    )
    assert {"test/mae", "test/rmse", "test/r2", "test/loss"} <= run.metrics.keys()
