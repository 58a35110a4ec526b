"""Checks during training: a loss that is not finite or rises, dead and saturated layers."""

from __future__ import annotations

import logging
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from snnlab.data.events.frames import Batch
from snnlab.errors import DivergedError
from snnlab.nn.layer import Counts
from snnlab.nn.losses import Loss
from snnlab.training.module import EpochCallback, SpikingModule, batch_loss

_log = logging.getLogger(__name__)

# Reading the loss synchronizes a GPU, so it is checked only every so many batches.
_INTERVAL_ON_GPU = 16


class DivergenceGuard(L.Callback):
    """Stops before the optimizer step if the loss is not finite: the weights are those after the last batch.

    On a GPU it also checks the gradients of the batches since its last check, which the module does on the CPU.
    """

    def __init__(self) -> None:
        self._batch: Batch | None = None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._batch = batch

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Release the batch before the next one needs as much memory."""
        self._batch = None

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        """Check the gradients of earlier batches, then the loss.

        Raises:
            DivergedError: if one is not finite.
        """
        batch = trainer.fit_loop.batch_idx
        if loss.device.type != "cpu" and batch % _INTERVAL_ON_GPU:
            return
        assert isinstance(pl_module, SpikingModule)
        pl_module.require_finite_gradient()
        if not torch.isfinite(loss):
            assert self._batch is not None
            where = locate_non_finite(pl_module.network, self._batch, pl_module.loss)
            when = f"epoch {trainer.current_epoch + 1}, batch {batch + 1}"
            raise DivergedError("", f"the loss is {float(loss.detach()):g} in {when}{where}", pl_module.rule.remedy)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check the gradients of the last batches."""
        assert isinstance(pl_module, SpikingModule)
        pl_module.require_finite_gradient()


@torch.no_grad()
def locate_non_finite(network: nn.Module, batch: Batch, loss: Loss | None = None) -> str:
    """Return the first place with numbers that are not finite, as the end of a sentence; empty if there is none.

    Args:
        network: The network.
        batch: Its input.
        loss: The loss.
    """
    for name, values in network.named_parameters():
        if not torch.isfinite(values).all():
            return f": it began in {name}, which is not finite"
    if not torch.isfinite(batch.x).all():
        return ": the recordings contain numbers that are not finite"
    found: list[str] = []

    def make_hook(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            y = output[0] if isinstance(output, tuple) else output
            if isinstance(y, Tensor) and not torch.isfinite(y).all():
                found.append(name)

        return hook

    handles = [module.register_forward_hook(make_hook(name)) for name, module in network.named_modules() if name]
    counts: Counts = {}
    try:
        y, _ = network(batch.x, lengths=batch.short_lengths, counts=counts)
    finally:
        for handle in handles:
            handle.remove()
    if found:
        return f": it began in the output of {found[0].removeprefix('layers.')}"
    return "" if loss is None else _locate_in_loss(loss, y, batch, counts)


def _locate_in_loss(loss: Loss, y: Tensor, batch: Batch, counts: Counts) -> str:
    """Return which part of the loss is not finite although the network's output is; empty if all are."""
    if not torch.isfinite(loss.readout(y.cpu(), batch.lengths.cpu())).all():
        return ": it began in the readout of the loss, and the network's output is finite"
    _, parts = batch_loss(loss, y, batch, counts)
    wrong = next((name for name, part in parts.items() if not torch.isfinite(part)), None)
    return "" if wrong is None else f": it began in {wrong} of the loss, and the network's output is finite"


_SILENT_PREFIX, _RATE_PREFIX = "train/silent/", "train/spikes_per_step/"
# Spikes per step from which a layer counts as saturated; neurons with several spikes per step are never saturated.
_SATURATED_RATE = 0.9
_DEAD, _SATURATED = "no neuron fired", "its neurons fired at nearly every step"
_FIXES = {
    _DEAD: "lower its v_threshold, widen its surrogate, or raise tau_mem or the learning rate",
    _SATURATED: "raise its v_threshold, or begin with smaller weights (model.init)",
}


class DeadLayerWarning(EpochCallback):
    """Warns after the first epoch in which a layer is dead, or saturated, on all training recordings."""

    state_key = "silent_layers"  # type: ignore[assignment]

    def __init__(self) -> None:
        self.reported: set[str] = set()

    def on_epoch_logged(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check the epoch's fraction of dead neurons and its spikes per step."""
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        dead = {k.removeprefix(_SILENT_PREFIX) for k, v in values.items() if k.startswith(_SILENT_PREFIX) and v == 1.0}
        saturated = {
            k.removeprefix(_RATE_PREFIX)
            for k, v in values.items()
            if k.startswith(_RATE_PREFIX) and _SATURATED_RATE <= v <= 1.0
        }
        found = dict.fromkeys(dead, _DEAD) | dict.fromkeys(saturated, _SATURATED)
        for layer in sorted(found.keys() - self.reported):
            _log.warning(
                "%s: %s in epoch %d, so no gradient passes it; %s. snnlab doctor, with the same overrides, tries these",
                layer,
                found[layer],
                trainer.current_epoch + 1,
                _FIXES[found[layer]],
            )
        self.reported |= found.keys()

    def state_dict(self) -> dict[str, list[str]]:
        """Return the layers that were reported."""
        return {"said": sorted(self.reported)}

    def load_state_dict(self, state_dict: dict[str, list[str]]) -> None:
        """Report only other layers."""
        self.reported = set(state_dict["said"])


# This many times the loss of the first batch is not noise.
_RISE_FACTOR = 10
# With this training accuracy a network has learned: the first batch of one that was trained before may be an easy one.
_LEARNED = 0.9


class LossRiseWarning(EpochCallback):
    """Warns after the first epoch whose training loss is far above that of the first batch, and finite."""

    state_key = "risen_loss"  # type: ignore[assignment]

    def __init__(self) -> None:
        self.first: float | None = None
        self.reported = False

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Store the first batch's loss; reading the loss of every batch would synchronize a GPU."""
        if self.first is None and isinstance(pl_module, SpikingModule):
            self.first = pl_module.running_values()["loss"]

    def on_epoch_logged(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check the epoch's loss."""
        if self.reported or self.first is None or not isinstance(pl_module, SpikingModule):
            return
        loss = float(trainer.callback_metrics["train/loss"])
        if not 0 < _RISE_FACTOR * self.first < loss:
            return
        if trainer.callback_metrics.get("train/accuracy", 0.0) >= _LEARNED:
            return
        self.reported = True
        _log.warning(
            "the training loss is %.3g in epoch %d, far above %.3g at the start: the network does not learn; %s",
            loss,
            trainer.current_epoch + 1,
            self.first,
            pl_module.rule.remedy,
        )

    def state_dict(self) -> dict[str, Any]:
        return {"first": self.first, "said": self.reported}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.first, self.reported = state_dict["first"], state_dict["said"]


# Fraction of the variance of values that counts as all: values are never exact to the last digit.
_FULL_R2 = 0.99


class OverfitCheck(L.Callback):
    """Stops training when every recording of the batch, or labelled step, is right; reports the result at the end.

    Values are right when the answers explain 99 % of their variance.
    """

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop if the whole batch is right."""
        score, full, _ = _last_score(trainer)
        if score >= full and not trainer.sanity_checking:
            trainer.should_stop = True

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        (score, full, meaning), steps = _last_score(trainer), trainer.global_step
        if score >= full:
            _log.info("overfit: the whole batch is right after %d steps; the network can learn", steps)
        else:
            _log.info(
                "overfit: only %.1f%% %s after %d steps: is a layer dead (see below), or the learning rate too low or"
                " too high?",
                100 * score,
                meaning,
                steps,
            )


def _last_score(trainer: L.Trainer) -> tuple[float, float, str]:
    """Return the score of the last validation, the score that counts as all, and its meaning as text."""
    values = trainer.callback_metrics
    if "val/r2" in values:
        return float(values["val/r2"]), _FULL_R2, "of the variance is explained"
    return float(values["val/accuracy"]), 1.0, "of the batch is right"
