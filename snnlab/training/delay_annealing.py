"""Learned delays whose Gaussians become narrow during training."""

from __future__ import annotations

import lightning as L
from torch import nn

from snnlab.errors import ConfigError
from snnlab.nn.delays import delays_of


class DelayAnnealing(L.Callback):
    """Sets the widths of the Gaussians of learned delays at the beginning of each epoch; see `Delays`.

    Args:
        network: The network.
    """

    def __init__(self, network: nn.Module) -> None:
        self.delays = delays_of(network)

    def set_epoch(self, epoch: int, epochs: int) -> None:
        """Set the widths to those of an epoch, counted from 0, of a training of `epochs`."""
        for delays in self.delays:
            last = int(delays.sigma_decay * epochs)
            delays.set_sigma(epoch / last if last else 1.0)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Set the widths of a resumed epoch, for which Lightning calls no `on_train_epoch_start`.

        Raises:
            ConfigError: if the training has no number of epochs.
        """
        if not trainer.max_epochs or trainer.max_epochs < 1:
            raise ConfigError("trainer.max_epochs", "learned delays become exact in a fraction of the epochs", "set it")
        self.set_epoch(trainer.current_epoch, trainer.max_epochs)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert trainer.max_epochs
        self.set_epoch(trainer.current_epoch, trainer.max_epochs)
