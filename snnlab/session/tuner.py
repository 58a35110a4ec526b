"""Proposes a learning rate from a few training steps.

It replaces Lightning's Tuner, which sets one rate for all parameter groups and removes the experiment's callbacks
(`tests/acceptance/test_find.py`: groups keep their rate).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from snnlab.config.schema import Experiment
from snnlab.errors import ConfigError, DivergedError
from snnlab.runs.plots.style import BLUE, DASHED, GREY, VERMILION, default_style, label, legend, new_figure, title
from snnlab.session import Session
from snnlab.session.build_trainer import annealing_callbacks

# The loss has exploded if its moving average exceeds the lowest one by this factor.
_EXPLOSION_FACTOR = 4.0
# Smoothing: the decay of the moving average during the run; afterwards, the width as a fraction of all points.
_DECAY, _SMOOTHING_WIDTH = 0.9, 1 / 30
# A smaller relative decrease of the loss does not count.
_MIN_DECREASE = 0.02


class LRRangeTest(L.Callback):
    """Multiplies the learning rate by a constant factor at each step, and records the losses.

    Parameter groups with their own rate keep it, as in the training. The training stops if the loss explodes.

    Args:
        low: The first rate.
        high: The last rate.
        steps: Steps of the optimizer, >= 2.
    """

    def __init__(self, low: float, high: float, steps: int) -> None:
        self.low, self.factor = low, (high / low) ** (1 / (steps - 1))
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.exploded = False
        self._groups: list[dict[str, Any]] = []
        self._smooth, self._weight, self._lowest = 0.0, 0.0, math.inf

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find the groups whose rate is the optimizer's own."""
        optimizer = trainer.optimizers[0]
        own = optimizer.defaults.get("lr")
        self._groups = [group for group in optimizer.param_groups if own is not None and group.get("lr") == own]
        if not self._groups:
            raise ConfigError(
                "optimizer.lr", "every parameter is in a group with its own rate, so there is none to find"
            )

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
        """Record the loss before the step, and stop if it has exploded."""
        loss = float(trainer.callback_metrics["train/loss_step"])
        self.losses.append(loss)
        self._smooth, self._weight = _DECAY * self._smooth + loss, _DECAY * self._weight + 1
        mean = self._smooth / self._weight
        self._lowest = min(self._lowest, mean)
        self.exploded = not math.isfinite(loss) or mean > _EXPLOSION_FACTOR * self._lowest
        trainer.should_stop |= self.exploded


class LRRangeResult(NamedTuple):
    """The result of a learning rate range test.

    Attributes:
        rates: The rates, ascending.
        losses: The loss at each rate.
        smooth: The smoothed losses.
        best: The rate of the steepest decrease; None if the loss never decreases.
        lowest: The rate of the lowest smoothed loss.
    """

    rates: np.ndarray
    losses: np.ndarray
    smooth: np.ndarray
    best: float | None
    lowest: float


def analyze_losses(rates: list[float], losses: list[float]) -> LRRangeResult:
    """Find the steepest decrease of the smoothed loss over log(rate), before its minimum.

    Args:
        rates: Ascending learning rates, at least 2.
        losses: The loss before a step with each rate; non-finite ones are dropped.
    """
    finite = np.isfinite(losses)
    x, y = np.array(rates)[finite], np.array(losses)[finite]
    indices = np.arange(len(y))
    gaussian = np.exp(-0.5 * ((indices[:, None] - indices) / max(1.0, _SMOOTHING_WIDTH * len(y))) ** 2)
    smooth = gaussian @ y / gaussian.sum(1)
    lowest = int(smooth.argmin())
    best = None
    if smooth[lowest] < (1 - _MIN_DECREASE) * smooth[0]:
        best = float(x[int(np.gradient(smooth, np.log(x))[: lowest + 1].argmin())])
    return LRRangeResult(x, y, smooth, best, float(x[lowest]))


def round_rate(rate: float) -> float:
    """Round a rate to one digit, or to two if the first is 1: the test is not more precise."""
    return float(f"{rate:.{1 if f'{rate:e}'[0] == '1' else 0}e}")


Proposal = tuple[Callable[[], Figure], str | None]
"""The function that draws the curve, and the proposed override."""


def propose_rate(experiment: Experiment, folder: Path, low: float, high: float, steps: int) -> Proposal:
    """Propose a learning rate, and print the reason; the arguments are those of `find_rate`."""
    now = experiment.optimizer.get("lr")
    found, exploded = find_rate(experiment, folder, low, high, steps)
    best = None if found.best is None else round_rate(found.best)
    end = f"explodes at {found.rates[-1]:.2g}" if exploded else f"does not explode up to {found.rates[-1]:.2g}"
    print(f"{experiment.name}: the loss, {found.smooth[0]:.4g} at first, is lowest at {found.lowest:.2g} and {end}")
    if best is None:
        print("  it decreases at no rate, so none is proposed; try snnlab doctor, or more --steps")
    else:
        print(f"  it decreases fastest at {best:g}, the proposed rate (now {now if now is None else format(now, 'g')})")
    draw = partial(draw_losses, found.rates, found.losses, found.smooth, best, experiment.name)
    return draw, None if best is None else f"optimizer.lr={best:g}"


def find_rate(experiment: Experiment, folder: Path, low: float, high: float, steps: int) -> tuple[LRRangeResult, bool]:
    """Run a learning rate range test (Smith 2017); return its result, and True if the loss exploded.

    Args:
        experiment: The experiment; its schedule and its validation are not used.
        folder: The folder of its run; nothing is written.
        low: The first rate.
        high: The last rate.
        steps: Steps of the optimizer.
    """
    session = _short_session(experiment, folder, steps)
    range_test = LRRangeTest(low, high, steps)
    try:
        _prepare_trainer(session, range_test).fit(session.module, datamodule=session.data)
    except DivergedError:  # the gradient explodes, which a smaller rate avoids unless it does so in the first steps
        if len(range_test.losses) < 2:
            raise
        range_test.exploded = True
    return analyze_losses(range_test.rates[: len(range_test.losses)], range_test.losses), range_test.exploded


def _short_session(experiment: Experiment, folder: Path, steps: int) -> Session:
    """Prepare a training of some steps in this process, without logs, validation, checkpoints and plots."""
    ends: dict[str, Any] = {"max_epochs": -1, "max_steps": steps, "limit_val_batches": 0, "enable_progress_bar": False}
    trainer = {key: value for key, value in experiment.trainer.items() if key not in ("min_epochs", "min_steps")}
    silent = {"scheduler": None, "logger": None, "callbacks": None, "plots": None, "monitors": None}
    trainer |= {**ends, "log_every_n_steps": 1}
    session = Session(replace(experiment, trainer=trainer, weight_averaging=None, **silent), folder)
    session.prepare()
    return session


def _prepare_trainer(session: Session, callback: L.Callback) -> L.Trainer:
    trainer = session.trainer([callback, *annealing_callbacks(session.experiment, session.network)])
    session.set_computation(trainer.strategy.root_device)
    return trainer


def draw_losses(rates: np.ndarray, losses: np.ndarray, smooth: np.ndarray, proposed: float | None, name: str) -> Figure:
    """Draw the loss over the learning rate of the step that follows it.

    Args:
        proposed: The proposed rate, or None.
        name: Name of the experiment.

    Shape:
        rates, losses, smooth: `[N]`.
    """
    figure, (ax,) = new_figure()
    ax.plot(rates, losses, color=GREY, linewidth=0.9, label="each step")
    ax.plot(rates, smooth, color=BLUE, linewidth=1.6, label="smoothed")
    if proposed is not None:
        ax.axvline(proposed, color=VERMILION, linestyle=DASHED, linewidth=1.4, label=f"{proposed:g}")
    ax.set_xscale("log")
    ax.xaxis.set_minor_locator(NullLocator())
    # The losses of the explosion would flatten the rest of the curve.
    low, high = smooth.min(), smooth[: max(1, int(smooth.argmin()) + 1)].max()
    ax.set_ylim(low - 0.2 * (high - low) - 1e-3, high + 0.6 * (high - low) + 1e-3)
    legend(ax, loc="upper left")
    label(ax, "learning rate", "loss")
    title(ax, name)
    return figure


def write_figure(draw: Callable[[], Figure], target: Path) -> None:
    """Draw into a file, and create its folder."""
    with default_style():
        figure = draw()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(target)
        except OSError as error:
            raise ConfigError("--figure", f"{target} cannot be written ({error.strerror})") from error
