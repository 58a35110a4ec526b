"""A word, once, about layers that never fire, or always: nothing can be learnt through them."""

from __future__ import annotations

import logging

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

_log = logging.getLogger(__name__)

_SILENT, _RATE = "train/silent/", "train/spikes_per_step/"

# So many spikes a step are as good as one at each; neurons that have several a step are never at their end.
_ALWAYS = 0.9

_DEAD, _ON = "no neuron fired", "its neurons fired at nearly every step"
_CURES = {
    _DEAD: "lower its v_threshold, widen its surrogate, or raise tau_mem or the learning rate",
    _ON: "raise its v_threshold, or begin with smaller weights (model.init)",
}


class SilenceWarning(Checkpoint):
    """Warns after the first epoch in which no neuron of a layer fired on any training recording, or all always did.

    A Checkpoint only because Lightning calls those last, when the module has logged its epoch.
    """

    state_key = "silent_layers"  # type: ignore[assignment]

    def __init__(self) -> None:
        self.said: set[str] = set()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the epoch's fraction of silent neurons and at its spikes a step."""
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        silent = {k.removeprefix(_SILENT) for k, v in values.items() if k.startswith(_SILENT) and v == 1.0}
        always = {k.removeprefix(_RATE) for k, v in values.items() if k.startswith(_RATE) and _ALWAYS <= v <= 1.0}
        found = dict.fromkeys(silent, _DEAD) | dict.fromkeys(always, _ON)
        for layer in sorted(found.keys() - self.said):
            _log.warning(
                "%s: %s in epoch %d, so that nothing is learnt through it; %s. snnlab doctor, with the same overrides,"
                " tries which",
                layer,
                found[layer],
                trainer.current_epoch + 1,
                _CURES[found[layer]],
            )
        self.said |= found.keys()

    def state_dict(self) -> dict[str, list[str]]:
        """Return of which layers it was said."""
        return {"said": sorted(self.said)}

    def load_state_dict(self, state_dict: dict[str, list[str]]) -> None:
        """Say it of others only."""
        self.said = set(state_dict["said"])
