"""Whether a network has learnt its one batch by heart."""

from __future__ import annotations

import logging

import lightning as L

_log = logging.getLogger(__name__)
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
