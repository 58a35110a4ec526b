"""Surrogate gradients whose width changes during training."""

from __future__ import annotations

import lightning as L
from torch import nn

from snnlab.errors import ConfigError
from snnlab.experiment_fields import AnnealingSettings
from snnlab.nn.surrogate import Surrogate


class SurrogateAnnealing(L.Callback):
    """Multiplies the width of every surrogate by a factor from `start` to `end`, in a geometric sequence over epochs.

        factor[e] = start (end / start)^(e / (epochs - 1)),   and end from epoch `epochs` on

    The parameters alpha and slope of other libraries are the inverse of a width: they are divided by the factor. Spikes
    do not change.

    Args:
        network: The network.
        settings: The factor.
    """

    def __init__(self, network: nn.Module, settings: AnnealingSettings) -> None:
        self.start, self.end, self.epochs = settings.start, settings.end, settings.epochs
        found = {
            id(own): own for module in network.modules() for own in vars(module).values() if isinstance(own, Surrogate)
        }
        self.sizes = [(surrogate, surrogate.size) for surrogate in found.values()]
        if not self.sizes:
            raise ConfigError("", "no layer has a surrogate")

    def factor(self, epoch: int) -> float:
        """Return the factor in an epoch, counted from 0."""
        if epoch >= self.epochs - 1:
            return self.end
        return self.start * (self.end / self.start) ** (epoch / (self.epochs - 1))

    def set_epoch(self, epoch: int) -> None:
        """Set the widths of all surrogates to those of an epoch."""
        for surrogate, size in self.sizes:
            surrogate.size = size._replace(width=size.width * self.factor(epoch))

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Set the widths of a resumed epoch, for which Lightning calls no `on_train_epoch_start`."""
        self.set_epoch(trainer.current_epoch)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.set_epoch(trainer.current_epoch)
