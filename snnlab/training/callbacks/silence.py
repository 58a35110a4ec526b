"""A word, once, about layers that never fire: nothing can be learnt through them."""

from __future__ import annotations

import logging

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

_log = logging.getLogger(__name__)

_PREFIX = "train/silent/"


class SilenceWarning(Checkpoint):
    """Warns after the first epoch in which no neuron of a layer fired on any training recording.

    A Checkpoint only because Lightning calls those last, when the module has logged its epoch.
    """

    def __init__(self) -> None:
        self.said: set[str] = set()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the epoch's fraction of silent neurons."""
        values = trainer.callback_metrics
        silent = {k.removeprefix(_PREFIX) for k, v in values.items() if k.startswith(_PREFIX) and float(v) == 1.0}
        for layer in sorted(silent - self.said):
            _log.warning(
                "%s: no neuron fired in epoch %d, so nothing is learnt through it; lower its v_threshold, widen its"
                " surrogate, or raise tau_mem or the learning rate",
                layer,
                trainer.current_epoch + 1,
            )
        self.said |= silent

    def state_dict(self) -> dict[str, list[str]]:
        """Return of which layers it was said."""
        return {"said": sorted(self.said)}

    def load_state_dict(self, state_dict: dict[str, list[str]]) -> None:
        """Say it of others only."""
        self.said = set(state_dict["said"])
