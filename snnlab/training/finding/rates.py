"""A learning rate from a few steps in which it grows: where the loss falls fastest, and from where on it explodes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import lightning as L
import numpy as np

from snnlab.errors import ConfigError

# A loss of so many times the lowest one, smoothed, is on its way up for good.
_EXPLODED = 4.0
# Smoothing while it runs: the weight of what was before; and afterwards, over which part of all points.
_MEMORY, _PART = 0.9, 1 / 30
# A loss that has not fallen by so much has not fallen.
_FALLEN = 0.02


class RateRange(L.Callback):
    """Lets the learning rate grow from step to step, by the same factor each time, and remembers the losses.

    Parameters in a group with a rate of its own keep it, as they would in the training. It ends the training where the
    loss explodes. Lightning's own finder gives all groups one rate, and the losses of whole validations between them.

    Args:
        low: The first rate.
        high: The last rate.
        steps: Steps of the optimizer, >= 2.
    """

    def __init__(self, low: float, high: float, steps: int) -> None:
        self.low, self.factor, self.steps = low, (high / low) ** (1 / (steps - 1)), steps
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.exploded = False
        self._groups: list[dict[str, Any]] = []
        self._smooth = self._weight = 0.0
        self._lowest = math.inf

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find the groups whose rate is the optimizer's own."""
        optimizer = trainer.optimizers[0]
        own = optimizer.defaults.get("lr")
        self._groups = [group for group in optimizer.param_groups if own is not None and group.get("lr") == own]
        if not self._groups:
            raise ConfigError("optimizer.lr: every parameter has a rate of another group, so there is none to find")

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the rate of the step that the batch belongs to."""
        self.rates.append(self.low * self.factor**trainer.global_step)
        for group in self._groups:
            group["lr"] = self.rates[-1]

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Remember the loss before the step, and stop where it has exploded."""
        loss = float(trainer.callback_metrics["train/loss_step"])
        self.losses.append(loss)
        self._smooth, self._weight = _MEMORY * self._smooth + loss, _MEMORY * self._weight + 1
        mean = self._smooth / self._weight
        self._lowest = min(self._lowest, mean)
        self.exploded = not math.isfinite(loss) or mean > _EXPLODED * self._lowest
        trainer.should_stop |= self.exploded


class Found(NamedTuple):
    """What the losses say.

    Attributes:
        rates: The rates, growing.
        losses: The loss at each.
        smooth: The same, smoothed.
        best: The rate at which it falls fastest; None where it never falls.
        lowest: The rate at which it is lowest.
    """

    rates: np.ndarray
    losses: np.ndarray
    smooth: np.ndarray
    best: float | None
    lowest: float


def judge(rates: list[float], losses: list[float]) -> Found:
    """Return where, over the logarithm of the rate, the smoothed loss falls fastest before it is lowest.

    Args:
        rates: Growing learning rates, at least 2.
        losses: The loss before a step with each; not finite ones, at the end, are left out.
    """
    finite = np.isfinite(losses)
    x, y = np.array(rates)[finite], np.array(losses)[finite]
    smooth = _smoothed(y)
    lowest = int(smooth.argmin())
    best = None
    if smooth[lowest] < (1 - _FALLEN) * smooth[0]:
        slopes = np.gradient(smooth, np.log(x))
        best = float(x[int(slopes[: lowest + 1].argmin())])
    return Found(x, y, smooth, best, float(x[lowest]))


def rounded(rate: float) -> float:
    """Return a rate with one digit, or a 1 and one digit behind it: nobody knows it better."""
    digits = 1 - math.floor(math.log10(rate)) - (0 if f"{rate:e}"[0] == "1" else 1)
    return round(rate, digits)


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Return a running mean under a bell, with less of it at the ends."""
    places = np.arange(len(values))
    bell = np.exp(-0.5 * ((places[:, None] - places) / max(1.0, _PART * len(values))) ** 2)
    return bell @ values / bell.sum(1)
