"""Weight averaging: an average of the weights over a training, for validation and test."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import lightning as L
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from snnlab.registry import Registry
from snnlab.spec.interval import Interval, between

AVERAGES = Registry("average")
Every = Literal["step", "epoch"]


class AverageRule(ABC):
    """Weight of the newest network weights in the average.

    Args:
        every: When the average is updated: after each optimizer `step`, or after the last one of each `epoch`.
    """

    def __init__(self, every: Every) -> None:
        self.every: Every = every

    @abstractmethod
    def newest_fraction(self, updates: int) -> float:
        """Return the fraction of the newest weights in the average; `updates`: number of earlier updates."""

    def first_epoch(self, epochs: int | None) -> int:
        """Return the first averaged epoch; `epochs`: length of the run, None or -1 if it has no end."""
        return 0

    def includes(self, epoch: int, epochs: int | None) -> bool:
        """Return whether an epoch is averaged; `epochs`: length of the run."""
        return epoch >= self.first_epoch(epochs)


@AVERAGES.register("ema")
class ExponentialAverage(AverageRule):
    """Exponential moving average, mean <- d mean + (1 - d) weights, with d = min(decay, (1 + n) / (10 + n)).

    Args:
        decay: Fraction of the average that an update keeps; less in the first updates. n: updates so far.
    """

    def __init__(self, decay: Annotated[float, Interval(0, 1)] = 0.999, every: Every = "step") -> None:
        super().__init__(every)
        self.decay = decay

    def newest_fraction(self, updates: int) -> float:
        """Return 1 - d."""
        return 1.0 - min(self.decay, (1 + updates) / (10 + updates))


@AVERAGES.register("swa")
class StochasticWeightAverage(AverageRule):
    """Stochastic weight averaging: the plain mean over the last part of a run; before it there is no average.

    A run that is resumed with more epochs has a new last part, and a new average.

    Args:
        start: Fraction of the run's epochs before the average starts.

    Source: Izmailov et al., Averaging weights leads to wider optima and better generalization, UAI 2018.
    """

    def __init__(self, start: Annotated[float, between(0, 1, with_high=False)] = 0.75, every: Every = "epoch") -> None:
        super().__init__(every)
        self.start = start

    def newest_fraction(self, updates: int) -> float:
        """Return 1 / (n + 1)."""
        return 1.0 / (updates + 1)

    def first_epoch(self, epochs: int | None) -> int:
        """Return the first epoch of the last part."""
        return 0 if epochs is None or epochs < 0 else int(self.start * epochs)


class Averaging(WeightAveraging):
    """Lightning's WeightAveraging with an `AverageRule`; batch norm's running statistics are averaged too.

    It differs from Lightning's in four points. Before the first update there is no average; Lightning would validate
    with the initial weights. The last batch of an epoch counts before the epoch is validated, not after it. At the end
    of the training the weights are kept, for a run that is extended. And a checkpoint of weights only, for which
    Lightning calls no callback, contains both too: the module calls this one.

    Args:
        rule: Weight of the newest network weights in the average.
    """

    state_key = "average"  # type: ignore[assignment]

    def __init__(self, rule: AverageRule) -> None:
        super().__init__(avg_fn=self._update_average)
        self.rule, self.updates, self.applied = rule, 0, False
        self._update_now = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Create the average on the device of the network: Lightning moves the network only later."""
        pl_module.to(trainer.strategy.root_device)
        super().setup(trainer, pl_module, stage)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Return whether the weights after a step count."""
        return step_idx is not None and self._update_now

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the average if the rule says so and the optimizer has stepped."""
        begun = self.rule.includes(trainer.current_epoch, trainer.max_epochs)
        self._update_now = begun and (self.rule.every == "step" or trainer.is_last_batch)
        before = self.state_dict()
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self.updates += self.state_dict() != before

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Validate with the averaged weights, if there are any."""
        if self.updates:
            super().on_validation_epoch_start(trainer, pl_module)
            self.applied = True

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.applied:
            super().on_validation_epoch_end(trainer, pl_module)
            self.applied = False

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the weights; Lightning would replace them by the average."""

    def continue_run(self, before: int | None, epochs: int | None) -> None:
        """Continue a run of `before` epochs with `epochs`; a new average starts if other epochs count."""
        if self.rule.first_epoch(before) != self.rule.first_epoch(epochs):
            self.updates = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the number of updates."""
        return {**super().state_dict(), "updates": self.updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.updates = state_dict["updates"]

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save the average in place of the weights, and the weights next to it; before an update only the weights."""
        if self.updates:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if "averaging_state" in checkpoint:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def _update_average(self, average: Tensor, newest: Tensor, _: Any) -> Tensor:
        newest_fraction = self.rule.newest_fraction(self.updates) if self.updates else 1.0
        return average.lerp(newest, newest_fraction) if average.is_floating_point() else newest


def averaging_of(trainer: L.Trainer) -> Averaging | None:
    """Return the callback that averages the weights, or None."""
    callbacks: Iterable[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, Averaging)), None)


@contextmanager
def averaged_weights(trainer: L.Trainer, module: L.LightningModule) -> Iterator[None]:
    """Use the averaged weights within a `with` block, if the training has them."""
    found = averaging_of(trainer)
    found = None if found is None or found.applied else found
    if found is not None:
        found.on_validation_epoch_start(trainer, module)
    try:
        yield
    finally:
        if found is not None:
            found.on_validation_epoch_end(trainer, module)
