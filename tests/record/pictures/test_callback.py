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

from snnlab.data.module import EventDataModule
from snnlab.data.settings import DataSettings
from snnlab.data.splits import Split
from snnlab.events import Events, SensorSize, open_or_build
from snnlab.nn import build_network
from snnlab.record.pictures.callback import Pictures, first_of_classes
from snnlab.training.losses import CrossEntropy
from snnlab.training.module import SpikingModule
from snnlab.training.optimization.groups import GroupedOptimizer

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
OF_A_RECORDING = {
    *("events", "events_over_time", "readout"),
    *(f"{what}/{layer}" for what in ("raster", "membranes") for layer in ("lif", "cuba")),
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
    """Return what trains a small network under the given callbacks, 2 steps an epoch."""

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


def _reload(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder / "tensorboard"), {"images": 0})
    events.Reload()
    return events


def _images(folder: Path) -> dict[str, list[int]]:
    """Return the steps at which each picture was written."""
    if not (folder / "tensorboard").exists():
        return {}
    events = _reload(folder)
    return {tag: [image.step for image in events.Images(tag)] for tag in events.Tags()["images"]}


def test_every_few_epochs_and_at_the_end_all_pictures_are_written(tmp_path: Path, fit: Fit) -> None:
    fit(Pictures(recordings=2, every_epochs=2), max_epochs=3)
    images = _images(tmp_path)
    tags = {f"pictures/recording_{index}/{what}" for index in (0, 2) for what in OF_A_RECORDING}
    assert set(images) == tags | {"pictures/rates/lif", "pictures/rates/cuba"}
    assert all(steps == [3, 5] for steps in images.values())
    assert {3, 5} <= {scalar.step for scalar in _reload(tmp_path).Scalars("val/loss")}


def test_an_epoch_that_is_both_is_drawn_once(tmp_path: Path, fit: Fit) -> None:
    fit(Pictures(recordings=1, every_epochs=2), max_epochs=2)
    assert set(map(tuple, _images(tmp_path).values())) == {(3,)}


def test_training_is_the_same_bit_for_bit_with_and_without(fit: Fit) -> None:
    def outcome(*callbacks: L.Callback) -> tuple[dict[str, Any], list[bool], Any, Any, dict[str, Any]]:
        np.random.seed(0)
        trainer, module = fit(*callbacks, max_epochs=2)
        modes = [part.training for part in module.modules()]
        return module.state_dict(), modes, torch.get_rng_state(), np.random.get_state(), dict(trainer.callback_metrics)

    plain, drawn = outcome(), outcome(Pictures(recordings=2, every_epochs=1))
    assert plain[0].keys() == drawn[0].keys()
    assert all(torch.equal(plain[0][key], drawn[0][key]) for key in plain[0])
    assert plain[1] == drawn[1]
    assert torch.equal(plain[2], drawn[2])
    np.testing.assert_array_equal(plain[3][1], drawn[3][1])
    assert plain[4] == drawn[4]


class RandomInEvaluation(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0 * torch.rand_like(x)


def test_a_layer_that_draws_in_evaluation_does_not_shift_the_random_numbers(
    fit: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    from snnlab.nn import Network

    network, before = Network({"odd": RandomInEvaluation(), "flatten": torch.nn.Flatten()}), []
    pictures = Pictures(recordings=1)
    draw = pictures._draw

    def watched(trainer: L.Trainer, module: SpikingModule) -> None:
        monkeypatch.setattr(module, "network", network)
        before.append(torch.get_rng_state())
        draw(trainer, module)

    monkeypatch.setattr(pictures, "_draw", watched)
    fit(pictures)
    assert torch.equal(before[0], torch.get_rng_state())


@pytest.mark.parametrize("sensor", [(5, 1, 1), (5, 1, 2), (5, 4, 1)], ids=str)
def test_every_kind_of_sensor_is_drawn(tmp_path: Path, fit: Fit, sensor: SensorSize) -> None:
    fit(Pictures(recordings=1), sensor=sensor)
    assert {f"pictures/recording_0/{what}" for what in OF_A_RECORDING} <= set(_images(tmp_path))


def test_a_silent_network_is_drawn(tmp_path: Path, fit: Fit) -> None:
    trainer, _ = fit(Pictures(recordings=1), gain=1e-6)
    assert trainer.callback_metrics["val/silent/lif"] == 1
    assert "pictures/rates/lif" in _images(tmp_path)


def test_rates_are_those_of_all_validation_recordings(fit: Fit) -> None:
    pictures = Pictures(recordings=1)
    trainer, _ = fit(pictures, max_epochs=2)
    assert int(pictures._steps) == 5 * 6
    rate = pictures._counts["lif"].mean() / pictures._steps * 1000 / 2.0
    torch.testing.assert_close(float(rate), float(trainer.callback_metrics["val/rate_hz/lif"]))


@pytest.mark.filterwarnings("ignore:Total length of .list. across ranks is zero")
@pytest.mark.parametrize("changes", [{"logger": False}, {"val": 0}], ids=["no TensorBoard", "no validation"])
def test_nothing_is_drawn_where_there_is_no_place_or_no_recording(
    tmp_path: Path, fit: Fit, changes: dict[str, Any]
) -> None:
    fit(Pictures(), **changes)
    assert not _images(tmp_path)


class StopAfterFirst(L.Callback):
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = True


def test_a_training_that_stops_early_is_drawn_at_its_end(tmp_path: Path, fit: Fit) -> None:
    fit(Pictures(recordings=1, every_epochs=100), StopAfterFirst(), max_epochs=9)
    assert set(map(tuple, _images(tmp_path).values())) == {(1,)}


@pytest.mark.parametrize(
    ("targets", "number", "chosen"),
    [
        ([1, 1, 0, 0, 1], 1, [3]),
        ([1, 1, 0, 0, 1], 2, [3, 5]),
        ([1, 7, 0, 0, 1], 3, [3, 4, 5]),
        ([1, 1, 0, 0, 1], 4, [3, 5, 4, 6]),
        ([1, 1, 0, 0, 1], 9, [3, 5, 4, 6, 8]),
    ],
)
def test_recordings_are_of_different_classes_as_far_as_they_go(
    targets: list[int], number: int, chosen: list[int]
) -> None:
    of_store, places = np.full(9, 5), np.array([3, 4, 5, 6, 8])
    of_store[places] = targets
    assert first_of_classes(of_store, places, number).tolist() == chosen


@pytest.mark.parametrize("name", ["recordings", "every_epochs"])
def test_numbers_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} must be 1 or more, got 0; pictures=null draws none"):
        Pictures(**{name: 0})
