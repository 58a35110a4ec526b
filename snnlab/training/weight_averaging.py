"""An average of the weights over a training, with which it is validated and tested."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import lightning as L
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from snnlab.registry import Registry
from snnlab.settings import Interval, between

AVERAGES = Registry("average")
Every = Literal["step", "epoch"]


class AverageRule(ABC):
    """How much a network's newest weights count.

    Args:
        every: When they are looked at: behind each `step` of the optimizer, or the last one of each `epoch`.
    """

    def __init__(self, every: Every) -> None:
        self.every: Every = every

    @abstractmethod
    def share(self, updates: int) -> float:
        """Return the newest weights' share of the average, of which so many are before them."""

    def first(self, epochs: int | None) -> int:
        """Return the first epoch, of so many, in which weights count; None or -1: of a run without an end."""
        return 0

    def begins(self, epoch: int, epochs: int | None) -> bool:
        """Return whether weights count in an epoch of so many."""
        return epoch >= self.first(epochs)


@AVERAGES.register("ema")
class Exponential(AverageRule):
    """Exponential moving average, mean <- d mean + (1 - d) weights, with d = min(decay, (1 + n) / (10 + n)).

    Args:
        decay: What is left of the average at each update, behind the first ones, in which n of them are less.
        every: `step` or `epoch`.

    Raises:
        ValueError: if decay is not within 0 and 1.
    """

    def __init__(self, decay: Annotated[float, Interval(0, 1)] = 0.999, every: Every = "step") -> None:
        super().__init__(every)
        self.decay = decay

    def share(self, updates: int) -> float:
        """Return 1 - d."""
        return 1.0 - min(self.decay, (1 + updates) / (10 + updates))


@AVERAGES.register("swa")
class Equal(AverageRule):
    """Stochastic weight averaging: the plain mean over the last part of a run; before that there is no average.

    A run that is resumed for longer has another last part, and another average.

    Args:
        start: Part of the run's epochs that is left out.
        every: `step` or `epoch`.

    Raises:
        ValueError: if start is not within 0 and 1.

    Source: Izmailov et al., Averaging weights leads to wider optima and better generalization, UAI 2018.
    """

    def __init__(self, start: Annotated[float, between(0, 1, with_high=False)] = 0.75, every: Every = "epoch") -> None:
        super().__init__(every)
        self.start = start

    def share(self, updates: int) -> float:
        """Return 1 / (n + 1)."""
        return 1.0 / (updates + 1)

    def first(self, epochs: int | None) -> int:
        """Return the first epoch behind the part that is left out."""
        return 0 if epochs is None or epochs < 0 else int(self.start * epochs)


class Averaging(WeightAveraging):
    """Lightning's averaging of weights, by a rule of ours; what batch norm has seen of the data is averaged too.

    Of Lightning's own way four things are different. Before the first update there is no average: theirs would be
    validated with the weights of the beginning. The last batch of an epoch counts before the epoch is validated, not
    behind it. At the end of the training the weights stay what they are, for a run that is made longer. And a file of
    weights alone, for which Lightning asks no callback, has both too: the module asks this one.

    Args:
        rule: How much the newest weights count.
    """

    state_key = "average"  # type: ignore[assignment]

    def __init__(self, rule: AverageRule) -> None:
        super().__init__(avg_fn=self._mixed)
        self.rule, self.updates, self.applied = rule, 0, False
        self._counts = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Keep the average where the network will be: Lightning moves that only later."""
        pl_module.to(trainer.strategy.root_device)
        super().setup(trainer, pl_module, stage)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Return whether the weights behind a step count."""
        return step_idx is not None and self._counts

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Let the weights count, if they do, where the optimizer has stepped."""
        begun = self.rule.begins(trainer.current_epoch, trainer.max_epochs)
        self._counts = begun and (self.rule.every == "step" or trainer.is_last_batch)
        before = self.state_dict()
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self.updates += self.state_dict() != before

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Validate with the average, if there is one."""
        if self.updates:
            super().on_validation_epoch_start(trainer, pl_module)
            self.applied = True

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.applied:
            super().on_validation_epoch_end(trainer, pl_module)
            self.applied = False

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the weights."""

    def follow(self, before: int | None, epochs: int | None) -> None:
        """Go on in a run of `before` epochs that has `epochs` from now on: anew where other epochs count."""
        if self.rule.first(before) != self.rule.first(epochs):
            self.updates = 0

    def state_dict(self) -> dict[str, Any]:
        """Return how often weights were counted."""
        return {**super().state_dict(), "updates": self.updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.updates = state_dict["updates"]

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save the average in the place of the weights, and these beside it; the weights alone before the first."""
        if self.updates:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if "averaging_state" in checkpoint:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def _mixed(self, average: Tensor, newest: Tensor, _: Any) -> Tensor:
        share = self.rule.share(self.updates) if self.updates else 1.0
        return average.lerp(newest, share) if average.is_floating_point() else newest


def averaging_of(trainer: L.Trainer) -> Averaging | None:
    """Return what averages the weights of a training, if anything does."""
    callbacks: Iterable[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, Averaging)), None)


@contextmanager
def averaged(trainer: L.Trainer, module: L.LightningModule) -> Iterator[None]:
    """Let the network have the average of its weights for a while, where the training keeps one."""
    found = averaging_of(trainer)
    found = None if found is None or found.applied else found
    if found is not None:
        found.on_validation_epoch_start(trainer, module)
    try:
        yield
    finally:
        if found is not None:
            found.on_validation_epoch_end(trainer, module)
