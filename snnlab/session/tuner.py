"""What a few training steps tell before a training: a learning rate, and how fast a batch size is.

Not Lightning's Tuner: it gives all groups of the optimizer one rate and takes the experiment's callbacks away, and of
batch sizes it says the largest that fits, not the smallest that is as fast, and a CPU out of memory ends the process
(`tests/cli/test_find.py`: groups keep their rate, memory that does not suffice).
"""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from snnlab.config.schema import Experiment
from snnlab.errors import ConfigError
from snnlab.memory import is_out_of_memory
from snnlab.nn.memory_estimate import footprint
from snnlab.runs.plots.style import BLUE, DASHED, GREY, VERMILION, default_style, label, legend, new_figure, title
from snnlab.session import Session
from snnlab.session.build_trainer import annealing

_log = logging.getLogger(__name__)

# A loss of so many times the lowest one, smoothed, is on its way up for good.
_EXPLODED = 4.0
# Smoothing while it runs: the weight of what was before; and afterwards, over which part of all points.
_MEMORY, _PART = 0.9, 1 / 30
# A loss that has not fallen by so much has not fallen.
_FALLEN = 0.02
# A size is as fast as the fastest if it reaches this part of it.
_AS_FAST = 0.95


class RateRange(L.Callback):
    """Lets the learning rate grow from step to step, by the same factor each time, and remembers the losses.

    Parameters in a group with a rate of its own keep it, as they would in the training. It ends the training where the
    loss explodes.

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
            raise ConfigError("optimizer.lr", "every parameter has a rate of another group, so there is none to find")

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
    places = np.arange(len(y))
    bell = np.exp(-0.5 * ((places[:, None] - places) / max(1.0, _PART * len(y))) ** 2)
    smooth = bell @ y / bell.sum(1)
    lowest = int(smooth.argmin())
    best = None
    if smooth[lowest] < (1 - _FALLEN) * smooth[0]:
        best = float(x[int(np.gradient(smooth, np.log(x))[: lowest + 1].argmin())])
    return Found(x, y, smooth, best, float(x[lowest]))


def rounded(rate: float) -> float:
    """Return a rate with one digit, or a 1 and one digit behind it: nobody knows it better."""
    return float(f"{rate:.{1 if f'{rate:e}'[0] == '1' else 0}e}")


class StepClock(L.Callback):
    """Takes the time from the end of one step to the end of the next, with all that happens between them."""

    def __init__(self) -> None:
        self._ends: list[tuple[float, int]] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Remember when it was over."""
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)
        self._ends.append((time.perf_counter(), batch.lengths.numel()))

    @property
    def recordings_per_s(self) -> float:
        """The median over all steps but the first."""
        steps = zip(self._ends[:-1], self._ends[1:], strict=True)
        return statistics.median(many / (end - before) for (before, _), (end, many) in steps)


class Tried(NamedTuple):
    """What a batch size brought.

    Attributes:
        size: Recordings of a batch.
        recordings_per_s: How many went through in a second.
        memory: Bytes that a step takes at its peak; on a CPU those of its tensors, as foreseen; None: not known.
    """

    size: int
    recordings_per_s: float
    memory: float | None


def fastest(tried: Sequence[Tried]) -> int:
    """Return the smallest size that is as fast as the fastest, within 5 %."""
    most = max(each.recordings_per_s for each in tried)
    return next(each.size for each in tried if each.recordings_per_s >= _AS_FAST * most)


def available_memory() -> float | None:
    """Return the bytes that this machine, or the container that this runs in, has left; None where nobody says."""
    left = []
    meminfo, group = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
    if meminfo.is_file():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        left.append(float(lines["MemAvailable"].split()[0]) * 1024)
    if (group / "memory.max").is_file() and (most := (group / "memory.max").read_text().strip()) != "max":
        left.append(float(most) - float((group / "memory.current").read_text()))
    return min(left, default=None)


# Python and its libraries, and gaps between tensors, take more than the tensors alone.
_ROOM = 1.7


Proposal = tuple[Callable[[], Figure], str | None]
"""What draws the curve, and the override that is proposed."""


def propose_rate(experiment: Experiment, folder: Path, low: float, high: float, steps: int) -> Proposal:
    """Propose a learning rate, and print why; see `find_rate`."""
    now = experiment.optimizer.get("lr")
    found, exploded = find_rate(experiment, folder, low, high, steps)
    best = None if found.best is None else rounded(found.best)
    end = f"explodes at {found.rates[-1]:.2g}" if exploded else f"does not explode up to {found.rates[-1]:.2g}"
    print(f"{experiment.name}: the loss, {found.smooth[0]:.4g} at first, is lowest at {found.lowest:.2g} and {end}")
    if best is None:
        print("  at no rate did it fall, so none is proposed; see snnlab doctor, or take more --steps")
    else:
        print(f"  it falls fastest at {best:g}, which is proposed (now {now if now is None else format(now, 'g')})")
    draw = partial(draw_losses, found.rates, found.losses, found.smooth, best, experiment.name)
    return draw, None if best is None else f"optimizer.lr={best:g}"


def propose_size(experiment: Experiment, folder: Path, last: int, steps: int) -> Proposal:
    """Propose a batch size, and print why; see `try_sizes`."""
    tried, why = try_sizes(experiment, folder, last, steps)
    if not tried:
        raise ConfigError("", f"find batch_size: {why}", "set fewer steps: data.num_bins, or recompute: 10")
    best = fastest(tried)
    print(f"{experiment.name}: batch size, recordings a second, memory of a step")
    for size, speed, memory in tried:
        print(f"  {size:>6} {speed:>9.1f} {'' if memory is None else f'{memory / 1e6:>9,.0f} MB'}")
    print(f"  the largest was {tried[-1].size} ({why}); {best} is as fast as any (now {experiment.data['batch_size']})")
    print(f"  another batch size wants another learning rate: snnlab find lr data.batch_size={best}")
    sizes, speeds = [each.size for each in tried], [each.recordings_per_s for each in tried]
    return partial(draw_speeds, sizes, speeds, best, experiment.name), f"data.batch_size={best}"


def find_rate(experiment: Experiment, folder: Path, low: float, high: float, steps: int) -> tuple[Found, bool]:
    """Train some steps with a growing learning rate; return what was seen, and whether the loss exploded.

    Args:
        experiment: What is trained; of its schedule and its validation nothing is done.
        folder: Where its run would be recorded; nothing is written.
        low: The first rate.
        high: The last one.
        steps: Steps of the optimizer.

    Raises:
        SnnlabError: for a mistake in the configuration or the data.
    """
    session = _alone(experiment, folder, steps)
    growing = RateRange(low, high, steps)
    _trainer(session, growing).fit(session.module, datamodule=session.data)
    return judge(growing.rates, growing.losses), growing.exploded


def try_sizes(experiment: Experiment, folder: Path, last: int, steps: int) -> tuple[list[Tried], str]:
    """Train some steps with each batch size; return what was seen, and why there was no larger one.

    Args:
        experiment: What is trained; of its schedule and its validation nothing is done.
        folder: Where its run would be recorded; nothing is written.
        last: The largest size.
        steps: Steps with each, >= 2.

    Raises:
        SnnlabError: for a mistake in the configuration or the data.
    """
    session = _alone(experiment, folder, steps)
    data = session.data
    most, tried = min(last, data.split.train.size), list[Tried]()
    size, reason = min(4, most), f"--to {last}" if most == last else "the training set has no more"
    while size <= most:
        data.settings = replace(data.settings, batch_size=size)
        memory, left = _memory(session), available_memory()
        on_gpu = session.module.device.type == "cuda"
        if not on_gpu and memory is not None and left is not None and _ROOM * memory > left:
            return tried, f"a batch of {size} takes about {memory / 1e9:.1f} GB, and {left / 1e9:.1f} GB are left"
        try:
            tried.append(_timed(session, memory))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return tried, f"a batch of {size} is out of memory"
        size *= 2
    return tried, reason


def _timed(session: Session, memory: float | None) -> Tried:
    clock = StepClock()
    trainer = _trainer(session, clock)
    on_gpu = trainer.strategy.root_device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(trainer.strategy.root_device)
    trainer.fit(session.module, datamodule=session.data)
    peak = float(torch.cuda.max_memory_allocated(trainer.strategy.root_device)) if on_gpu else memory
    return Tried(session.data.settings.batch_size, clock.recordings_per_s, peak)


def _alone(experiment: Experiment, folder: Path, steps: int) -> Session:
    """Prepare a training of some steps in this process, of which nothing is logged, validated or drawn."""
    ends: dict[str, Any] = {"max_epochs": -1, "max_steps": steps, "limit_val_batches": 0, "enable_progress_bar": False}
    trainer = {key: value for key, value in experiment.trainer.items() if key not in ("min_epochs", "min_steps")}
    silent = {"scheduler": None, "logger": None, "callbacks": None, "plots": None, "monitors": None}
    trainer |= {**ends, "enable_checkpointing": False, "log_every_n_steps": 1}
    session = Session(replace(experiment, trainer=trainer, weight_averaging=None, **silent), folder)
    session.prepare()
    return session


def _trainer(session: Session, callback: L.Callback) -> L.Trainer:
    trainer = session.trainer([callback, *annealing(session.experiment, session.network)])
    session.computed_on(trainer.strategy.root_device)
    return trainer


def _memory(session: Session) -> float | None:
    settings, (make, _) = session.data.settings, session.optimization
    try:
        return footprint(session.built, settings.frame_shape, settings.steps, settings.batch_size, make).peak
    except (RuntimeError, ValueError) as error:
        _log.debug("the memory of a step is not known: %s", error)
        return None


def draw_losses(rates: np.ndarray, losses: np.ndarray, smooth: np.ndarray, proposed: float | None, name: str) -> Figure:
    """Draw the loss over the learning rate with which the step behind it was made.

    Args:
        proposed: The rate that is proposed, or None.
        name: What was trained.

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
    # What comes behind the explosion would press all else to the ground.
    low, high = smooth.min(), smooth[: max(1, int(smooth.argmin()) + 1)].max()
    ax.set_ylim(low - 0.2 * (high - low) - 1e-3, high + 0.6 * (high - low) + 1e-3)
    legend(ax, loc="upper left")
    label(ax, "learning rate", "loss")
    title(ax, name)
    return figure


def draw_speeds(sizes: Sequence[int], speeds: Sequence[float], proposed: int, name: str) -> Figure:
    """Draw recordings a second over the batch size.

    Args:
        speeds: Recordings a second with each.
        proposed: The size that is proposed.
        name: What was trained.
    """
    figure, (ax,) = new_figure()
    ax.plot(sizes, speeds, color=BLUE, linewidth=1.6, marker="o")
    ax.axvline(proposed, color=VERMILION, linestyle=DASHED, linewidth=1.4, label=f"{proposed}")
    ax.set_xscale("log", base=2)
    ax.set_xticks(list(sizes), [f"{size:g}" for size in sizes])
    ax.set_ylim(0, 1.15 * max(speeds))
    legend(ax, loc="lower right")
    label(ax, "batch size", "recordings a second")
    title(ax, name)
    return figure


def write_figure(draw: Callable[[], Figure], target: Path) -> None:
    """Draw into a file, whose folder is made.

    Raises:
        ConfigError: if it cannot be written.
    """
    with default_style():
        figure = draw()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(target)
        except OSError as error:
            raise ConfigError("--figure", f"{target} cannot be written ({error.strerror})") from error
