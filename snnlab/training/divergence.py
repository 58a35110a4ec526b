"""A loss that is no longer a number ends the training, with the place where it began."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from snnlab.errors import SnnlabError
from snnlab.events.frames import Batch

# On a GPU a look at the loss waits for all that was asked of it, so it is taken at each so manieth batch only.
_EVERY_ON_GPU = 16
_CURE = "lower optimizer.lr, or clip the gradients: trainer.gradient_clip_val=1"


class DivergedError(SnnlabError):
    """A loss, or a weight, is infinite or not a number.

    Args:
        what: What, and when.
    """

    def __init__(self, what: str) -> None:
        super().__init__("", what, _CURE)
        self.args = (what,)


class DivergenceGuard(L.Callback):
    """Stops before the step of a loss that is not finite: the weights are those of the batch before."""

    def __init__(self) -> None:
        self._batch: Batch | None = None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._batch = batch

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Let it go, before the next one takes as much memory."""
        self._batch = None

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        """Look at the loss.

        Raises:
            DivergedError: if it is not finite.
        """
        place = trainer.fit_loop.batch_idx
        if loss.is_cuda and place % _EVERY_ON_GPU:
            return
        if not torch.isfinite(loss):
            assert self._batch is not None
            network = pl_module.network
            assert isinstance(network, nn.Module)
            where = first_not_finite(network, self._batch)
            when = f"epoch {trainer.current_epoch + 1}, batch {place + 1}"
            raise DivergedError(f"the loss is {float(loss.detach()):g} in {when}{where}")


@torch.no_grad()
def first_not_finite(network: nn.Module, batch: Batch) -> str:
    """Return where a network's numbers stop being finite, in words that go on a sentence; empty if nowhere.

    Args:
        network: The network.
        batch: What it was given.
    """
    for name, values in network.named_parameters():
        if not torch.isfinite(values).all():
            return f": it began in {name}, which is not finite"
    if not torch.isfinite(batch.x).all():
        return ": the recordings themselves hold numbers that are not finite"
    found: list[str] = []

    def look(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            y = output[0] if isinstance(output, tuple) else output
            if isinstance(y, Tensor) and not torch.isfinite(y).all():
                found.append(name)

        return hook

    handles = [module.register_forward_hook(look(name)) for name, module in network.named_modules() if name]
    try:
        network(batch.x, lengths=batch.lengths)
    finally:
        for handle in handles:
            handle.remove()
    return f": it began in what {found[0].removeprefix('layers.')} gives out" if found else ""
