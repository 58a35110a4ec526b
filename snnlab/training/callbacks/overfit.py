"""Whether a network has learnt its one batch by heart."""

from __future__ import annotations

import logging

import lightning as L

_log = logging.getLogger(__name__)


class OverfitVerdict(L.Callback):
    """Says at the end of a fit whether every recording of the batch was right at its last validation."""

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say it."""
        accuracy, steps = float(trainer.callback_metrics["val/accuracy"]), trainer.global_step
        if accuracy == 1.0:
            _log.info("overfit: the whole batch is right after %d steps; the network can learn", steps)
        else:
            _log.info(
                "overfit: %.1f%% of the batch is right after %d steps, not all: does a layer never fire (see below), is"
                " the learning rate too low or too high?",
                100 * accuracy,
                steps,
            )
