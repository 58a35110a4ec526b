"""Surrogates whose width changes as the training goes on."""

from __future__ import annotations

import lightning as L
from torch import nn

from snnlab.errors import ConfigError
from snnlab.nn.surrogate import Surrogate
from snnlab.settings import Count, Positive, checks_arguments


@checks_arguments
class SurrogateAnnealing(L.Callback):
    """Multiplies the width of every surrogate by a factor that goes from `start` to `end`, an equal part an epoch.

        factor[e] = start (end / start)^(e / (epochs - 1)),   and end from epoch `epochs` on

    Libraries' alpha and slope are the inverse of a width: they are divided by it. Spikes stay as they are.

    Args:
        network: The network.
        start: Factor in the first epoch.
        end: Factor in the last of the epochs and behind them; 1 is the surrogate as its layer has it.
        epochs: Over how many epochs it changes.

    Raises:
        ConfigError: if a value is out of its range, or there are no surrogates.
    """

    def __init__(self, network: nn.Module, start: Positive, epochs: Count, end: Positive = 1.0) -> None:
        self.start, self.end, self.epochs = start, end, epochs
        found = {
            id(own): own for module in network.modules() for own in vars(module).values() if isinstance(own, Surrogate)
        }
        self.sizes = [(surrogate, surrogate.size) for surrogate in found.values()]
        if not self.sizes:
            raise ConfigError("", "no layer has a surrogate")

    def factor(self, epoch: int) -> float:
        """Return the factor in an epoch, from 0."""
        if epoch >= self.epochs - 1:
            return self.end
        return self.start * (self.end / self.start) ** (epoch / (self.epochs - 1))

    def set_epoch(self, epoch: int) -> None:
        """Let the surrogates be as wide as in an epoch."""
        for surrogate, size in self.sizes:
            surrogate.size = size._replace(width=size.width * self.factor(epoch))

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin: a resumed epoch does not start again."""
        self.set_epoch(trainer.current_epoch)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.set_epoch(trainer.current_epoch)
