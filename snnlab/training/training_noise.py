"""Noise on the weights in training, so that a network bears weights that differ on a device."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import nn

from snnlab.nn.disturbances import connection_weights
from snnlab.seeds import Stream, derived_seed


class TrainingNoise(L.Callback):
    """Each training batch has new noise on the weights of connections; its gradient changes the weights without noise.

        w' = w * (1 + level * n),   n ~ N(0, 1) of each weight,   gradient of w = dL / dw'

    Validation, test, checkpoints and the optimizer's step have the weights without noise. The noise depends on seed,
    step and batch alone, so that a resumed training has the same.

    Args:
        network: The network.
        level: Standard deviation, as a part of the weight.
        seed: The run's seed.
    """

    def __init__(self, network: nn.Module, level: float, seed: int) -> None:
        self.level, self.seed = level, seed
        self.weights = [weight for weight in connection_weights(network) if weight.requires_grad]
        self.kept: list[torch.Tensor] = []

    @torch.no_grad()
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Add the noise of a batch."""
        seed = derived_seed(self.seed, Stream.DISTURBANCE, trainer.global_step, batch_idx)
        rng = torch.Generator().manual_seed(seed)
        self.kept = [weight.detach().clone() for weight in self.weights]
        for weight in self.weights:
            weight.mul_(1.0 + self.level * torch.randn(weight.shape, generator=rng).to(weight))

    @torch.no_grad()
    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore the weights without noise, before the optimizer's step."""
        for weight, kept in zip(self.weights, self.kept, strict=False):
            weight.copy_(kept)
        self.kept = []

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Restore them where a batch ends with an error."""
        self.on_after_backward(trainer, pl_module)
