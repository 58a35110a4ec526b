"""What follows the length of a run, where a resumed run is made longer."""

from __future__ import annotations

import logging
import warnings

import lightning as L
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from snnlab.training.module import SpikingModule
from snnlab.training.optimization.average import averaging_of
from snnlab.training.resuming.resumption import Resumption

_log = logging.getLogger(__name__)


class LongerRun(L.Callback):
    """Lets a run go on as if it had been so long from its beginning.

    The learning rate follows the new schedule, and an average of the last part of a run begins with the new last part.
    The checkpoint says how long the run was: one that was made longer may have been killed before its next checkpoint.

    Args:
        resumption: What the run goes on from.
    """

    def __init__(self, resumption: Resumption) -> None:
        self.other_schedule = resumption.longer
        asked = resumption.changed.get("trainer.max_epochs", [None])[0]
        self.before: int | None = resumption.node.get("max_epochs", asked)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the new schedule in the place of the one of the checkpoint, and begin a new average."""
        assert isinstance(pl_module, SpikingModule)
        longer = self.before not in (None, trainer.max_epochs)
        if longer and (averaging := averaging_of(trainer)):
            averaging.follow(self.before, trainer.max_epochs)
        if longer or self.other_schedule:
            self._follow_schedule(trainer, pl_module)

    def _follow_schedule(self, trainer: L.Trainer, pl_module: SpikingModule) -> None:
        for config in trainer.lr_scheduler_configs:
            before = config.scheduler
            if pl_module.schedule is None or isinstance(before, ReduceLROnPlateau):
                continue
            optimizer = before.optimizer
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"]
            config.scheduler = forwarded(pl_module.make_schedule(optimizer), before.last_epoch)
            _log.info("the learning rate goes on along the longer schedule, with %.3g", optimizer.param_groups[0]["lr"])


def forwarded(schedule: LRScheduler, steps: int) -> LRScheduler:
    """Return a new schedule after so many steps."""
    with warnings.catch_warnings():  # torch thinks of a mistake where no step of the optimizer comes between
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        for _ in range(steps):
            schedule.step()
    return schedule
