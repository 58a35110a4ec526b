"""A module whose validation goes as the test says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader


class Scripted(L.LightningModule):
    """Logs the given validation losses and accuracies, an entry an epoch; its weight counts the steps."""

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

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


@pytest.fixture
def fit_scripted(quiet_trainer: Callable[..., L.Trainer], loader: DataLoader[Any]) -> Callable[..., L.Trainer]:
    """Return what trains a scripted module under the given callbacks, 3 steps an epoch."""

    def fit(
        callbacks: list[L.Callback], losses: Sequence[float], accuracies: Sequence[float] | None = None, **more: Any
    ):
        module = Scripted(losses, accuracies or [0.5] * len(losses))
        settings = {"max_epochs": len(losses), "enable_checkpointing": True, **more}
        trainer = quiet_trainer(callbacks=callbacks, **settings)
        trainer.fit(module, loader, loader)
        return trainer

    return fit
