"""Resuming a run from its checkpoint, also with more epochs.

A checkpoint is written within a hook, when some of Lightning's counters are already incremented and others are not.
Lightning resumes each such combination differently, and some of them train or validate a batch twice.
`align_loop_state` reduces them to two: an epoch that begins, or one that continues.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from snnlab.compat import STEP_COUNT_KEY
from snnlab.errors import ConfigError, DataError, RunFolderError
from snnlab.training.module import SpikingModule
from snnlab.training.weight_averaging import averaging_of

_log = logging.getLogger(__name__)

_CURRENT = ("ready", "started", "processed", "completed")
_OPTIMIZER = "epoch_loop.automatic_optimization.optim_progress"
_BATCHES, _SCHEDULER, _EPOCH = "epoch_loop.batch_progress", "epoch_loop.scheduler_progress", "epoch_loop.state_dict"


class Position(NamedTuple):
    """Position of a training.

    Attributes:
        epoch: Completed epochs.
        batch: Completed batches of the next epoch.
    """

    epoch: int
    batch: int

    def __str__(self) -> str:
        return f"epoch {self.epoch + 1}, batch {self.batch + 1}"


def align_loop_state(loop: dict[str, Any], at: Position, *, counts_steps: bool) -> None:
    """Set the state of Lightning's fit loop to a position between two batches.

    Args:
        loop: Result of `trainer.fit_loop.state_dict()`; changed in place.
        at: Position of the training.
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
        # With max_steps, Lightning treats a new epoch as a continued one, and counts this batch twice.
        loop[_EPOCH][STEP_COUNT_KEY] -= 1


_DIFFERENCES = {
    "data_fingerprint": "data: the recordings differ from those of the run",
    "split_hash": "data: the split into training, validation and test differs from that of the run",
}


@dataclass(frozen=True)
class Resumption:
    """The checkpoint that a run resumes from, and the changes since.

    Attributes:
        checkpoint: The file; None if the run ended before its first checkpoint.
        node: snnlab's section of the checkpoint; empty if there is none.
        changed: Settings that change: `{setting: [before, after]}`.
        at: Time of resuming, ISO 8601.
        extend_schedule: Whether the schedule of the learning rate changes.
        command: The command line that resumes the run.
        kernels: Versions of the kernels, if they change: `[before, after]`.
    """

    checkpoint: Path | None
    node: Mapping[str, Any]
    changed: Mapping[str, Any]
    at: str
    extend_schedule: bool = False
    command: Sequence[str] = ()
    kernels: Sequence[int | None] = ()

    @property
    def position(self) -> Position:
        """Position at which the training continues."""
        return Position(self.node.get("epoch", 0), self.node.get("batch", 0))

    @property
    def logged_steps(self) -> int:
        """Step from which TensorBoard discards earlier records."""
        return self.node.get("logged_steps", 0)

    @property
    def resumed(self) -> list[dict[str, Any]]:
        """One entry for each time that the run was resumed, including this one."""
        now = {**self.position._asdict(), "at": self.at, "changed": dict(self.changed), "command": list(self.command)}
        if self.kernels:
            now["kernels"] = list(self.kernels)
        return [*self.node.get("resumed", []), now]

    @property
    def warnings(self) -> list[str]:
        """The warnings before the checkpoint."""
        return list(self.node.get("warnings", ()))

    def message(self, epochs: int | None) -> str:
        """Return as text where the run continues and which settings change.

        Args:
            epochs: Number of epochs of the resumed run.
        """
        # `changed` alone is not enough: an extended run may be killed before its next checkpoint.
        over = self.node.get("over") and not self.is_extended and self.node.get("max_epochs", epochs) == epochs
        where = "the training is finished, only the test remains" if over else f"continues with {self.position}"
        changes = ", ".join(f"{name} {before} -> {after}" for name, (before, after) in self.changed.items())
        return f"resumed: {where}{f'; {changes}' if changes else ''}"

    def kernels_message(self) -> str:
        """Return as text that the version of the kernels changes; empty if it does not."""
        if not self.kernels:
            return ""
        before, now = (f"version {version}" if version else "no kernels" for version in self.kernels)
        return f"kernels: {now} in place of {before}; last digits of results may differ from an uninterrupted run"

    @property
    def is_extended(self) -> bool:
        """True if the run now has more epochs than before."""
        return "trainer.max_epochs" in self.changed

    def require_same(self, hashes: Mapping[str, str], processes: int = 1) -> None:
        """Require the same data and the same number of processes.

        Raises:
            DataError: if the data differ.
        """
        if (before := self.node.get("processes", processes)) != processes:
            raise ConfigError(
                "trainer.devices",
                (
                    f"a resumed run needs the same number of processes as before, {before}, got {processes}: each adds"
                    " its recordings to a step"
                ),
            )
        for name, value in hashes.items():
            if self.node.get(name, value) != value:
                raise DataError("", _DIFFERENCES[name], "resume with the same data")

    def require_callbacks(self, callbacks: Iterable[L.Callback]) -> None:
        """Require all callbacks whose state the checkpoint contains: Lightning would drop it silently."""
        for key in set(self.node.get("states", ())) - {callback.state_key for callback in callbacks}:
            raise RunFolderError(self.checkpoint, f"contains the state of the callback {key}, which is missing now")


class ExtendedRun(L.Callback):
    """Continues an extended run as if it had its new length from the start.

    The learning rate follows the new schedule, and an average over the last part of a run starts with the new last
    part. The old length is that of the checkpoint: an extended run may have been killed before its next checkpoint.

    Args:
        resumption: The checkpoint that the run resumes from.
    """

    def __init__(self, resumption: Resumption) -> None:
        self.other_schedule = resumption.extend_schedule
        max_epochs = resumption.changed.get("trainer.max_epochs", [None])[0]
        self.before: int | None = resumption.node.get("max_epochs", max_epochs)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Replace the checkpoint's schedule by the new one, and start a new average."""
        assert isinstance(pl_module, SpikingModule)
        extended = self.before not in (None, trainer.max_epochs)
        if extended and (averaging := averaging_of(trainer)):
            averaging.continue_run(self.before, trainer.max_epochs)
        if extended or self.other_schedule:
            self._replace_schedule(trainer, pl_module)

    def _replace_schedule(self, trainer: L.Trainer, pl_module: SpikingModule) -> None:
        for config in trainer.lr_scheduler_configs:
            before = config.scheduler
            if pl_module.schedule is None or isinstance(before, ReduceLROnPlateau):
                continue
            optimizer = before.optimizer
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"]
            config.scheduler = advance_schedule(pl_module.make_schedule(optimizer), before.last_epoch)
            _log.info("the learning rate follows the longer schedule, from %.3g on", optimizer.param_groups[0]["lr"])


def advance_schedule(schedule: LRScheduler, steps: int) -> LRScheduler:
    """Return a schedule after a number of steps."""
    with warnings.catch_warnings():  # torch warns because no optimizer step comes between
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        for _ in range(steps):
            schedule.step()
    return schedule
