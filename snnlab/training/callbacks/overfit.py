"""Whether a network has learnt its one batch by heart."""

from __future__ import annotations

import logging

import lightning as L

_log = logging.getLogger(__name__)
# Of the variance of values: they are never right to the last digit.
_ENOUGH = 0.99


class OverfitVerdict(L.Callback):
    """Says at the end of a fit whether every recording of the batch was right at its last validation.

    Values are right where the answers leave a hundredth of their variance.
    """

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say it."""
        values, steps = trainer.callback_metrics, trainer.global_step
        of_values = "val/r2" in values
        share = float(values["val/r2" if of_values else "val/accuracy"])
        if share >= (_ENOUGH if of_values else 1.0):
            _log.info("overfit: the whole batch is right after %d steps; the network can learn", steps)
        else:
            what = "of the variance is explained" if of_values else "of the batch is right"
            _log.info(
                "overfit: %.1f%% %s after %d steps, not all: does a layer never fire (see below), is the learning rate"
                " too low or too high?",
                100 * share,
                what,
                steps,
            )
