"""Where a training stands between two batches, and Lightning's own counters brought to say so.

A checkpoint is made in the middle of a hook, where some of Lightning's counters have gone on and others have not. Each
such mixture has a branch of its own when Lightning resumes, and some of them train or validate a batch twice. Brought
to the two pictures below, every resume is either an epoch that begins or one that goes on.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from snnlab.compat import STEPPED

_CURRENT = ("ready", "started", "processed", "completed")
_OPTIMIZER = "epoch_loop.automatic_optimization.optim_progress"
_BATCHES, _SCHEDULER, _EPOCH = "epoch_loop.batch_progress", "epoch_loop.scheduler_progress", "epoch_loop.state_dict"


class Position(NamedTuple):
    """How far a training is.

    Attributes:
        epoch: Epochs that are over.
        batch: Batches of the next one that are over.
    """

    epoch: int
    batch: int

    def __str__(self) -> str:
        return f"epoch {self.epoch + 1}, batch {self.batch + 1}"


def settle(loop: dict[str, Any], at: Position, *, counts_steps: bool) -> None:
    """Let the state of Lightning's fit loop say that a training stands between two batches.

    Args:
        loop: What `trainer.fit_loop.state_dict()` returned; changed in place.
        at: Where the training stands.
        counts_steps: Whether `trainer.max_steps` is set.
    """
    for which in ("total", "current"):
        epochs, batches = loop["epoch_progress"][which], loop[_BATCHES][which]
        over = at.epoch if which == "current" else epochs["completed"]
        begun = over + (at.batch > 0)
        epochs.update(ready=begun, started=begun, processed=over, completed=over)
        done = at.batch if which == "current" else batches["completed"]
        batches.update(dict.fromkeys(_CURRENT, done))
    loop[_BATCHES]["is_last_batch"] = False
    if at.batch:
        return
    loop[_SCHEDULER]["current"].update(ready=0, completed=0)
    for tracked in loop[_OPTIMIZER]["optimizer"].values():
        tracked["current"].update(dict.fromkeys(tracked["current"], 0))
    if counts_steps:
        # With max_steps, Lightning takes even an epoch that begins for one that goes on, and counts this batch twice.
        loop[_EPOCH][STEPPED] -= 1
