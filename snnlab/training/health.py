"""What is watched while a network trains: a loss that is no number or rises, layers that stay dead."""

from __future__ import annotations

import logging
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor, nn

from snnlab.data.events.frames import Batch
from snnlab.errors import SnnlabError
from snnlab.training.module import SpikingModule

_log = logging.getLogger(__name__)

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


# Of the variance of values: they are never right to the last digit.
_ENOUGH = 0.99


class OverfitVerdict(L.Callback):
    """Stops a fit when every recording of the batch, or labelled step, is right, and says at its end whether it was.

    Values are right where the answers explain 99 % of their variance.
    """

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop if nothing is left to learn."""
        share, enough, _ = _seen(trainer)
        if share >= enough and not trainer.sanity_checking:
            trainer.should_stop = True

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        (share, enough, what), steps = _seen(trainer), trainer.global_step
        if share >= enough:
            _log.info("overfit: the whole batch is right after %d steps; the network can learn", steps)
        else:
            _log.info(
                "overfit: %.1f%% %s after %d steps, not all: does a layer never fire (see below), is the learning rate"
                " too low or too high?",
                100 * share,
                what,
                steps,
            )


def _seen(trainer: L.Trainer) -> tuple[float, float, str]:
    """Return how much was right at the last validation, how much is all, and of what."""
    values = trainer.callback_metrics
    if "val/r2" in values:
        return float(values["val/r2"]), _ENOUGH, "of the variance is explained"
    return float(values["val/accuracy"]), 1.0, "of the batch is right"
