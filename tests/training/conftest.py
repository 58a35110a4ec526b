"""Fixtures of the training tests: a tiny spiking module, its batches, a module with scripted validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from snnlab.data.events.frames import Batch
from snnlab.nn import build_network
from snnlab.nn.losses import CrossEntropy
from snnlab.training.module import Schedule, SpikingModule, call_epoch_callbacks

T, B, INPUTS, CLASSES, HIDDEN = 6, 4, 5, 3, 8
LAYERS: dict[str, dict[str, Any]] = {
    "fc": {"type": "linear", "out_features": HIDDEN},
    "lif": {"type": "lif", "v_threshold": 0.3},
    "drop": {"type": "dropout", "p": 0.5},
    "out": {"type": "linear", "out_features": CLASSES},
    "readout": {"type": "li"},
}


@pytest.fixture
def make_module() -> Callable[..., SpikingModule]:
    """Return a function that makes a module; the network always has the same initial weights."""

    def make(seed: int = 0, schedule: Schedule | None = None, dt: float | None = 2.0) -> SpikingModule:
        torch.manual_seed(0)
        built = build_network(LAYERS, in_shape=(INPUTS,), dt=2.0)

        def optimizer(network: torch.nn.Module) -> torch.optim.Optimizer:
            return torch.optim.SGD(network.parameters(), lr=0.1)

        return SpikingModule(built, CrossEntropy(), optimizer, schedule, num_classes=CLASSES, dt=dt, seed=seed)

    return make


@pytest.fixture
def batches() -> list[Batch]:
    """Return three batches of random spikes; the last one is smaller, and lengths differ."""
    rng = torch.Generator().manual_seed(1)
    lengths = [[6, 6, 6, 6], [6, 3, 1, 4], [2, 6]]
    made, first = [], 0
    for each in lengths:
        x = (torch.rand(T, len(each), INPUTS, generator=rng) < 0.5).float()
        targets = torch.randint(CLASSES, (len(each),), generator=rng)
        made.append(Batch(x, torch.tensor(each), targets, torch.arange(first, first + len(each))))
        first += len(each)
    return made


@pytest.fixture
def loader(batches: list[Batch]) -> DataLoader[Any]:
    """Return a loader of these batches, in their order."""
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


class Scripted(L.LightningModule):
    """Logs the given validation losses and accuracies, one entry per epoch; its weight counts the steps."""

    def __init__(self, losses: Sequence[float], accuracies: Sequence[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.losses, self.accuracies = losses, accuracies

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return -self.weight

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        pass

    def on_validation_epoch_end(self) -> None:
        self.log("val/loss", self.losses[self.current_epoch])
        self.log("val/accuracy", self.accuracies[self.current_epoch])

    def on_train_epoch_end(self) -> None:
        call_epoch_callbacks(self)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


@pytest.fixture
def fit_scripted(quiet_trainer: Callable[..., L.Trainer], loader: DataLoader[Any]) -> Callable[..., L.Trainer]:
    """Return a function that trains a scripted module with the given callbacks, 3 steps per epoch."""

    def fit(
        callbacks: list[L.Callback], losses: Sequence[float], accuracies: Sequence[float] | None = None, **more: Any
    ):
        module = Scripted(losses, accuracies or [0.5] * len(losses))
        settings = {"max_epochs": len(losses), **more}
        trainer = quiet_trainer(callbacks=callbacks, **settings)
        trainer.fit(module, loader, loader)
        return trainer

    return fit
