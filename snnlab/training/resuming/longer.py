"""A schedule of the learning rate that a resumed run makes longer."""

from __future__ import annotations

import logging
import warnings

import lightning as L
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from snnlab.training.module import SpikingModule

_log = logging.getLogger(__name__)


class LongerSchedule(L.Callback):
    """Lets the learning rate go on along the new schedule, as if the run had followed it from its beginning."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the new schedule in the place of the one of the checkpoint."""
        assert isinstance(pl_module, SpikingModule)
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
