"""The monitors: every so many steps a look at each layer, for all loggers, of which the training notices nothing.

Axes: T steps, B recordings.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from snnlab.analysis.layer_statistics import EDGES, OUTPUT, Vitals, change_norm, measure, norm, weight_groups
from snnlab.data.events.frames import Batch, Mix
from snnlab.errors import one_line
from snnlab.nn import Network
from snnlab.nn.layer import Counts
from snnlab.nn.summary import learned
from snnlab.runs.plots.activity import draw_gradients
from snnlab.runs.plots.style import default_style, render
from snnlab.seeds import Stream, derived_seed
from snnlab.settings import Count, at_least, checks_arguments
from snnlab.target_kinds import kind_of
from snnlab.training.module import SpikingModule, batch_loss

_log = logging.getLogger(__name__)


@checks_arguments
class Monitors(L.Callback):
    """Looks, every so many steps of the optimizer, at what a few recordings of the batch do in the network.

    Numbers go to all loggers, distributions and pictures to TensorBoard; the names begin with `monitors/`. Where there
    is no logger nothing is done. The training is the same bit for bit with and without them.

    Args:
        every_steps: Steps from one look to the next, the first one before the first step; >= 1.
        recordings: Of the batch, the first ones; all where there are fewer; >= 2, since batch norm in training needs as
            many.
        every_epochs: Epochs from one picture to the next; >= 1.

    Raises:
        ValueError: if a number is out of its range.
    """

    def __init__(
        self, every_steps: Count = 100, recordings: Annotated[int, at_least(2)] = 8, every_epochs: Count = 4
    ) -> None:
        self.every_steps, self.recordings, self.every_epochs = every_steps, recordings, every_epochs
        self._vitals: Vitals | None = None
        self._looked_at = self._drawn_at = -1
        self._waiting = self._blind = False
        self._update: Update | None = None

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Batch, batch_idx: int) -> None:
        """Look, if it is time."""
        step = trainer.global_step
        due = step % self.every_steps == 0 and step != self._looked_at
        if not due or self._blind or not trainer.loggers or not trainer.is_global_zero:
            return
        dt = trainer.datamodule.settings.step_ms  # type: ignore[attr-defined]
        self._vitals = look(trainer, pl_module, first_of(batch, self.recordings), dt)
        if self._vitals is None:
            self._blind = True
            return
        self._looked_at, self._waiting = step, True
        _tell(trainer, scalars(self._vitals), step)
        for name, histogram in histograms(self._vitals):
            for writer in _tensorboards(trainer):
                writer.add_histogram_raw(f"monitors/{name}", **histogram, global_step=step)
        for each in learned(pl_module.network):
            for writer in _tensorboards(trainer) if each.values.numel() > 1 else ():
                writer.add_histogram(f"monitors/{each.key}/{each.layer}", each.values.cpu(), step)

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Remember the weights and the gradients of the whole batch."""
        if self._waiting:
            self._update, self._waiting = Update(pl_module.network), False

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Say what the step has done to them."""
        if self._update is not None:
            _tell(trainer, self._update.scalars(), self._looked_at)
            self._update = None

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Draw, if this epoch is one of the few."""
        if (trainer.current_epoch + 1) % self.every_epochs == 0:
            self._draw(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Draw the last look, if that was not done."""
        self._draw(trainer)

    def _draw(self, trainer: L.Trainer) -> None:
        writers = _tensorboards(trainer)
        if self._vitals is None or self._drawn_at == self._looked_at or not writers:
            return
        self._drawn_at = self._looked_at
        rows = {layer.name: layer.drive_gradient for layer in self._vitals.layers if layer.drive_gradient}
        if not rows:
            return
        with default_style():
            pixels = render(draw_gradients(rows, self._vitals.dt))
        for writer in writers:
            writer.add_image("monitors/input_gradient", pixels, self._looked_at, dataformats="HWC")


def _tell(trainer: L.Trainer, values: Mapping[str, float], step: int) -> None:
    named = {f"monitors/{name}": value for name, value in values.items()}
    for logger in trainer.loggers:
        logger.log_metrics(named, step)


def _tensorboards(trainer: L.Trainer) -> list[Any]:
    return [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def look(trainer: L.Trainer, module: SpikingModule, batch: Batch, dt: float | None) -> Vitals | None:
    """Return what recordings do in the network as it stands, forward from rest and backward.

    They go through a copy, so that weights, gradients, running means and hooks of the network stay as they are, and
    nobody who waits for its gradients (other processes, a sum over several batches) hears of these; random numbers are
    put back.

    Args:
        dt: Length of a step, ms, or None.

    Returns None, and says why, for a network that cannot be copied, or run by one of several processes alone.
    """
    if any(isinstance(layer, torch.nn.SyncBatchNorm) for layer in module.network.modules()):
        _log.warning("monitors: batch norm over several processes would wait for the others; layers are not looked at")
        return None
    try:
        network = copy.deepcopy(module.network)
    except (RuntimeError, TypeError) as error:  # a layer of a plugin may keep what its last call computed
        reason = one_line(error)
        _log.warning("monitors: the network cannot be copied, so that its layers are not looked at (%s)", reason)
        return None
    network.configure(checkpoint_segments=0)  # computing again would show each layer's input twice
    device = batch.x.device

    def objective(y: Tensor, counts: Counts) -> Tensor:
        return batch_loss(module.loss, y, batch, counts)[0]

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derived_seed(module.seed, Stream.DROPOUT, trainer.global_step, 0))
        with trainer.precision_plugin.train_step_context():
            return measure(network, batch.x, batch.lengths, objective, dt=dt)


def first_of(batch: Batch, number: int) -> Batch:
    """Return the first recordings of a batch."""
    labels_of_steps = kind_of(batch.targets) == "steps"
    targets = batch.targets[:, :number] if labels_of_steps else batch.targets[:number]
    mix = None if batch.mix is None else Mix(*(values[:number] for values in batch.mix))
    return batch._replace(
        frames=batch.x[:, :number],
        lengths=batch.lengths[:number],
        targets=targets,
        index=batch.index[:number],
        mix=mix,
    )


def scalars(vitals: Vitals) -> dict[str, float]:
    """Return a number for each layer: `NAME/LAYER`."""
    found: dict[str, float] = {}
    for layer in vitals.layers:
        if layer.drive_gradient:
            found[f"input_gradient/{layer.name}"] = math.hypot(*layer.drive_gradient)
        found[f"output_gradient/{layer.name}"] = layer.gradient
        if (spiking := layer.spiking) is None or layer.spikes_per_step is None:
            continue
        if vitals.dt is not None:
            found[f"rate_hz/{layer.name}"] = layer.spikes_per_step * 1000 / vitals.dt
        found[f"spikes_per_step/{layer.name}"] = layer.spikes_per_step
        found[f"silent/{layer.name}"], found[f"saturated/{layer.name}"] = spiking.silent, spiking.saturated
        found[f"largest_membrane/{layer.name}"] = spiking.max_membrane
        found[f"surrogate_passes/{layer.name}"] = spiking.surrogate_mean
    return found


def histograms(vitals: Vitals) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the membranes of each layer, in thresholds, as TensorBoard's `add_histogram_raw` takes them."""
    middles = [(low + high) / 2 for low, high in pairwise(EDGES)]
    for layer in vitals.layers:
        counts = layer.spiking.membrane_histogram if layer.spiking is not None else ()
        if not sum(counts):
            continue  # TensorBoard refuses an empty one
        weighted = list(zip(counts, middles, strict=True))
        yield (
            f"membrane/{layer.name}",
            {
                "min": EDGES[0],
                "max": EDGES[-1],
                "num": sum(counts),
                "sum": sum(count * middle for count, middle in weighted),
                "sum_squares": sum(count * middle**2 for count, middle in weighted),
                "bucket_limits": list(EDGES[1:]),
                "bucket_counts": list(counts),
            },
        )


class Update:
    """Looks at the weights and their gradients before a step, and again behind it.

    Args:
        network: The network, with the gradients of a whole batch.
    """

    def __init__(self, network: Network) -> None:
        last = [name for name, _ in network.line()][-1]
        self.groups = {name if name != OUTPUT else last: group for name, group in weight_groups(network).items()}
        self.groups = {name: group for name, group in self.groups.items() if group}
        self.gradients = {
            name: norm(p.grad for p in group if p.grad is not None) for name, group in self.groups.items()
        }
        self.before: dict[str, list[Tensor]] = {
            name: [p.detach().clone() for p in group] for name, group in self.groups.items()
        }

    def scalars(self) -> dict[str, float]:
        """Return, behind the step, norms of weights and gradients, and of the step as a part of the weights."""
        found: dict[str, float] = {}
        for name, group in self.groups.items():
            size = norm(self.before[name])
            found[f"weights/{name}"], found[f"weight_gradient/{name}"] = size, self.gradients[name]
            if size:
                found[f"update/{name}"] = change_norm([p.detach() for p in group], self.before[name]) / size
        return found
