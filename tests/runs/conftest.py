"""Shared parts of the tests of callbacks: a small network with batch norm and dropout, trained on twelve recordings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from snnlab.data.data_module import EventDataModule
from snnlab.data.data_settings import DataSettings
from snnlab.data.events import Events, SensorSize, open_or_build
from snnlab.data.splits import Split
from snnlab.nn import build_network
from snnlab.nn.losses import CrossEntropy
from snnlab.training.module import SpikingModule
from snnlab.training.optimizer import GroupedOptimizer

CLASSES = 3
LAYERS: dict[str, dict[str, Any]] = {
    "flatten": {"type": "flatten"},
    "fc": {"type": "linear", "out_features": 8},
    "norm": {"type": "batch_norm"},
    "lif": {"type": "lif", "v_threshold": 0.3},
    "drop": {"type": "dropout", "p": 0.5},
    "fc2": {"type": "linear", "out_features": 6},
    "cuba": {"type": "cuba_lif", "v_threshold": 0.1},
    "out": {"type": "linear", "out_features": CLASSES},
}
Fit = Callable[..., tuple[L.Trainer, SpikingModule]]


class Source:
    """Twelve random recordings of three classes."""

    label, groups, notes = "few", None, ()
    targets, split = np.array([1, 1, 0, 2] * 3), np.zeros(12, np.uint8)

    def __init__(self, sensor_size: SensorSize) -> None:
        self.sensor_size = sensor_size

    def fingerprint(self) -> dict[str, Any]:
        return {"sensor_size": list(self.sensor_size)}

    def __len__(self) -> int:
        return 12

    def name(self, index: int) -> str:
        return f"few {index}"

    def read(self, index: int) -> Events:
        rng = np.random.default_rng(index)
        width, height, _ = self.sensor_size
        y = rng.integers(0, height, 50).astype(np.int16) if height > 1 else None
        t, x = np.sort(rng.integers(0, 12_000, 50)), rng.integers(0, width, 50).astype(np.int16)
        return Events(t, x, y, rng.random(50) < 0.5)


@pytest.fixture
def fit(tmp_path: Path, quiet_trainer: Callable[..., L.Trainer]) -> Fit:
    """Return a function that trains a small network with the given callbacks, 2 steps per epoch."""

    def fit(
        *callbacks: L.Callback, sensor: SensorSize = (5, 4, 2), val: int = 5, gain: float = 1.0, **settings: Any
    ) -> tuple[L.Trainer, SpikingModule]:
        store = open_or_build(Source(sensor), tmp_path / "stores")
        places = np.arange(12)
        split = Split(places[val:], places[:val], places[:0], "by hand")
        data = DataSettings(sensor, CLASSES, duration_ms=12.0, num_bins=6, batch_size=4)
        torch.manual_seed(0)
        built = build_network(LAYERS, in_shape=data.frame_shape, dt=data.step_ms)
        with torch.no_grad():
            for parameter in built.network.parameters():
                parameter *= gain
        make = GroupedOptimizer(partial(torch.optim.SGD, lr=0.1))
        module = SpikingModule(built, CrossEntropy(), make, None, num_classes=CLASSES, dt=data.step_ms, seed=0)
        logger = settings.pop("logger", TensorBoardLogger(tmp_path, name="", version="tensorboard"))
        settings = {"max_epochs": 1, "log_every_n_steps": 1, **settings}
        trainer = quiet_trainer(callbacks=list(callbacks), logger=logger, **settings)
        trainer.fit(module, datamodule=EventDataModule(store, split, data, seed=0))
        return trainer, module

    return fit


def reload(folder: Path) -> EventAccumulator:
    """Return TensorBoard's reader of a training's folder."""
    events = EventAccumulator(str(folder / "tensorboard"), {"images": 0, "histograms": 0})
    events.Reload()
    return events
