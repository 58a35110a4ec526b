"""What a resumed run goes on from, and what follows its length where it is made longer.

A checkpoint is made in the middle of a hook, where some of Lightning's counters have gone on and others have not. Each
such mixture has a branch of its own when Lightning resumes, and some of them train or validate a batch twice. Brought
to the two pictures below, every resume is either an epoch that begins or one that goes on.
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

from snnlab.compat import STEPPED
from snnlab.errors import ConfigError, DataError, RecordError
from snnlab.training.module import SpikingModule
from snnlab.training.weight_averaging import averaging_of

_log = logging.getLogger(__name__)

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


_WORDS = {
    "data_fingerprint": "data: the recordings are not those that the run was trained on",
    "split_hash": "data: the recordings are not divided into training, validation and test as they were",
}


@dataclass(frozen=True)
class Resumption:
    """A run's checkpoint, read.

    Attributes:
        checkpoint: The file; None where the run ended before its first.
        node: What snnlab keeps in it; empty where there is none.
        changed: Settings that are different from now on: `{setting: [before, after]}`.
        at: The time, ISO 8601.
        longer: Whether the schedule of the learning rate is another from now on.
        command: What was typed to go on.
        kernels: Versions of the kernels before and from now on, if they are two: `[before, after]`.
    """

    checkpoint: Path | None
    node: Mapping[str, Any]
    changed: Mapping[str, Any]
    at: str
    longer: bool = False
    command: Sequence[str] = ()
    kernels: Sequence[int | None] = ()

    @property
    def position(self) -> Position:
        """Where the training goes on."""
        return Position(self.node.get("epoch", 0), self.node.get("batch", 0))

    @property
    def logged_steps(self) -> int:
        """From which step on TensorBoard forgets what it was told."""
        return self.node.get("logged_steps", 0)

    @property
    def resumed(self) -> list[dict[str, Any]]:
        """One entry for each time that the run was resumed, this one too."""
        now = {**self.position._asdict(), "at": self.at, "changed": dict(self.changed), "command": list(self.command)}
        if self.kernels:
            now["kernels"] = list(self.kernels)
        return [*self.node.get("resumed", []), now]

    def words(self, epochs: int | None) -> str:
        """Return in words what comes now.

        Args:
            epochs: How many the run is to have.
        """
        # Not of `changed` alone: a run that is made longer may be killed before its first checkpoint.
        over = self.node.get("over") and not self.longer_run and self.node.get("max_epochs", epochs) == epochs
        where = "the training is over, the test is left" if over else f"goes on with {self.position}"
        changes = ", ".join(f"{name} {before} -> {after}" for name, (before, after) in self.changed.items())
        return f"resumed: {where}{f'; {changes}' if changes else ''}"

    def kernels_words(self) -> str:
        """Return in words that the kernels are others from now on; empty where they are not."""
        if not self.kernels:
            return ""
        before, now = (f"version {version}" if version else "no kernels" for version in self.kernels)
        return (
            f"kernels: {now} in place of {before}; the run may end with other last digits than one that was never"
            " interrupted"
        )

    @property
    def longer_run(self) -> bool:
        """Whether more epochs are asked for than before."""
        return "trainer.max_epochs" in self.changed

    def require_same(self, hashes: Mapping[str, str], processes: int = 1) -> None:
        """Raise if the data are others, or shared among more or fewer processes.

        Raises:
            DataError: if the data are.
            ConfigError: if the processes are.
        """
        if (before := self.node.get("processes", processes)) != processes:
            raise ConfigError(
                "trainer.devices",
                (
                    f"a resumed run goes on with as many processes as before, {before}, and this asks for"
                    f" {processes}: each adds its recordings to a step"
                ),
            )
        for name, value in hashes.items():
            if self.node.get(name, value) != value:
                raise DataError("", _WORDS[name], "a resumed run needs the same")

    def require_callbacks(self, callbacks: Iterable[L.Callback]) -> None:
        """Raise if the checkpoint holds the state of a callback that is not there: it would be lost without a word.

        Raises:
            RecordError: naming it.
        """
        for key in set(self.node.get("states", ())) - {callback.state_key for callback in callbacks}:
            raise RecordError(self.checkpoint, f"holds what the callback {key} kept, which is not there now")


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
