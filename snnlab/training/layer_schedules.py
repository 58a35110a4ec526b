"""Layers with a value that changes over the epochs of a training."""

from __future__ import annotations

import lightning as L
from torch import nn

from snnlab.errors import ConfigError
from snnlab.nn.layer import scheduled_modules


class LayerSchedules(L.Callback):
    """Sets the values of scheduled modules at the beginning of each epoch; see `Scheduled`.

    Args:
        network: The network.
    """

    def __init__(self, network: nn.Module) -> None:
        self.modules = scheduled_modules(network)

    def set_epoch(self, epoch: int, epochs: int) -> None:
        """Set the values to those of an epoch, counted from 0, of a training of `epochs`."""
        for module in self.modules:
            last = int((module.schedule_fraction or 0.0) * epochs)
            module.set_progress(min(epoch / last, 1.0) if last else 1.0)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Set the values of a resumed epoch, for which Lightning calls no `on_train_epoch_start`."""
        if not trainer.max_epochs or trainer.max_epochs < 1:
            names = ", ".join(sorted({type(module).__name__ for module in self.modules}))
            raise ConfigError("trainer.max_epochs", f"{names} changes over a fraction of the epochs", "set it")
        self.set_epoch(trainer.current_epoch, trainer.max_epochs)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert trainer.max_epochs
        self.set_epoch(trainer.current_epoch, trainer.max_epochs)
