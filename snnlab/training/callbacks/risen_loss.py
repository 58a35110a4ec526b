"""A word, once, about a loss that ends far above where it began: nothing has been learnt."""

from __future__ import annotations

import logging
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from snnlab.training.module import SpikingModule

_log = logging.getLogger(__name__)

# So many times the loss of the first batch are no noise.
_FAR = 10


class RisenLoss(Checkpoint):
    """Warns after the first epoch whose training loss is far above that of the first batch, and finite.

    A Checkpoint only because Lightning calls those last, when the module has logged its epoch.
    """

    state_key = "risen_loss"  # type: ignore[assignment]

    def __init__(self) -> None:
        self.first: float | None = None
        self.said = False

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Remember the first batch's loss; to look at later ones a GPU would have to be waited for."""
        if self.first is None and isinstance(pl_module, SpikingModule):
            self.first = pl_module.so_far()["loss"]

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the epoch's loss."""
        loss = float(trainer.callback_metrics["train/loss"])
        if self.said or self.first is None or not 0 < _FAR * self.first < loss:
            return
        self.said = True
        _log.warning(
            "the training loss is %.3g in epoch %d, far above the %.3g that it began with: nothing is learnt; lower"
            " optimizer.lr, or clip the gradients: trainer.gradient_clip_val=1",
            loss,
            trainer.current_epoch + 1,
            self.first,
        )

    def state_dict(self) -> dict[str, Any]:
        return {"first": self.first, "said": self.said}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.first, self.said = state_dict["first"], state_dict["said"]
