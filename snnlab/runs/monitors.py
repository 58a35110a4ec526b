"""Monitors: layer statistics for all loggers every few steps, without any effect on the training.

Axes: T steps, B recordings.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from snnlab.analysis.layer_statistics import EDGES, OUTPUT, NetworkStatistics, change_norm, measure, norm, weight_groups
from snnlab.data.events.frames import Batch, Mix
from snnlab.errors import one_line
from snnlab.experiment_fields import MonitorSettings
from snnlab.nn import Network
from snnlab.nn.layer import Counts
from snnlab.nn.summary import learned
from snnlab.runs.plots.activity import draw_gradients
from snnlab.runs.plots.style import default_style, render
from snnlab.seeds import Stream, derived_seed
from snnlab.spec.signatures import checks_arguments
from snnlab.target_kinds import kind_of
from snnlab.training.module import SpikingModule
from snnlab.training.task import batch_loss

_log = logging.getLogger(__name__)


@checks_arguments
class Monitors(MonitorSettings, L.Callback):
    """Logs layer statistics of a few recordings of the batch every few steps of the optimizer.

    Numbers go to all loggers, histograms and plots to TensorBoard; the names begin with `monitors/`. Without a logger
    nothing is computed. The training is the same bit for bit with and without monitors.
    """

    def __post_init__(self) -> None:
        self._statistics: NetworkStatistics | None = None
        self._measured_step = self._drawn_step = -1
        self._pending = self._disabled = False
        self._update: WeightUpdate | None = None

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Batch, batch_idx: int) -> None:
        """Measure the layers at every `every_steps`-th step."""
        step = trainer.global_step
        due = step % self.every_steps == 0 and step != self._measured_step
        if not due or self._disabled or not trainer.loggers or not trainer.is_global_zero:
            return
        dt = trainer.datamodule.settings.step_ms  # type: ignore[attr-defined]
        self._statistics = measure_batch(trainer, pl_module, first_recordings(batch, self.recordings), dt)
        if self._statistics is None:
            self._disabled = True
            return
        self._measured_step, self._pending = step, True
        _log_metrics(trainer, scalars(self._statistics), step)
        for name, histogram in histograms(self._statistics):
            for writer in _tensorboard_writers(trainer):
                writer.add_histogram_raw(f"monitors/{name}", **histogram, global_step=step)
        for learned_parameter in learned(pl_module.network):
            for writer in _tensorboard_writers(trainer) if learned_parameter.values.numel() > 1 else ():
                writer.add_histogram(
                    f"monitors/{learned_parameter.key}/{learned_parameter.layer}", learned_parameter.values.cpu(), step
                )

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Save the weights and the gradients of the whole batch."""
        if self._pending:
            self._update, self._pending = WeightUpdate(pl_module.network), False

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Log the change of the weights in the step."""
        if self._update is not None:
            _log_metrics(trainer, self._update.scalars(), self._measured_step)
            self._update = None

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Draw the plot at every `every_epochs`-th epoch."""
        if (trainer.current_epoch + 1) % self.every_epochs == 0:
            self._draw(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Draw the plot of the last measurement if it is missing."""
        self._draw(trainer)

    def _draw(self, trainer: L.Trainer) -> None:
        writers = _tensorboard_writers(trainer)
        if self._statistics is None or self._drawn_step == self._measured_step or not writers:
            return
        self._drawn_step = self._measured_step
        rows = {layer.name: layer.drive_gradient for layer in self._statistics.layers if layer.drive_gradient}
        if not rows:
            return
        with default_style():
            pixels = render(draw_gradients(rows, self._statistics.dt))
        for writer in writers:
            writer.add_image("monitors/input_gradient", pixels, self._measured_step, dataformats="HWC")


def _log_metrics(trainer: L.Trainer, values: Mapping[str, float], step: int) -> None:
    named = {f"monitors/{name}": value for name, value in values.items()}
    for logger in trainer.loggers:
        logger.log_metrics(named, step)


def _tensorboard_writers(trainer: L.Trainer) -> list[Any]:
    return [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def measure_batch(
    trainer: L.Trainer, module: SpikingModule, batch: Batch, dt: float | None
) -> NetworkStatistics | None:
    """Return the layer statistics of the network on a batch, forward from the initial state and backward.

    A copy of the network runs, so that its weights, gradients, running means and hooks do not change, and other users
    of its gradients (other processes, gradient accumulation) do not see these; the random state is restored.

    Args:
        dt: Length of a step, ms, or None.

    Returns None, with a warning, for a network that cannot be copied, or that one of several processes cannot run
    alone.
    """
    if any(isinstance(layer, torch.nn.SyncBatchNorm) for layer in module.network.modules()):
        _log.warning("monitors: batch norm over several processes would wait for the others; layers are not measured")
        return None
    try:
        network = copy.deepcopy(module.network)
    except (RuntimeError, TypeError) as error:  # a layer of a plugin may store tensors of its last call
        reason = one_line(error)
        _log.warning("monitors: the network cannot be copied, so its layers are not measured (%s)", reason)
        return None
    network.configure(checkpoint_segments=0)  # recomputation would record each layer's input twice
    device = batch.x.device

    def objective(y: Tensor, counts: Counts) -> Tensor:
        return batch_loss(module.loss, y, batch, counts)[0]

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derived_seed(module.seed, Stream.DROPOUT, trainer.global_step, 0))
        with trainer.precision_plugin.train_step_context():
            return measure(network, batch.x, batch.lengths, objective, dt=dt)


def first_recordings(batch: Batch, number: int) -> Batch:
    """Return the first recordings of a batch."""
    over_time = kind_of(batch.targets) in ("steps", "series")
    targets = batch.targets[:, :number] if over_time else batch.targets[:number]
    mix = None if batch.mix is None else Mix(*(values[:number] for values in batch.mix))
    return batch._replace(
        frames=batch.x[:, :number],
        lengths=batch.lengths[:number],
        targets=targets,
        index=batch.index[:number],
        mix=mix,
        host_lengths=None if batch.host_lengths is None else batch.host_lengths[:number],
    )


def scalars(statistics: NetworkStatistics) -> dict[str, float]:
    """Return the statistics as numbers by name: `NAME/LAYER`."""
    found: dict[str, float] = {}
    for layer in statistics.layers:
        if layer.drive_gradient:
            found[f"input_gradient/{layer.name}"] = math.hypot(*layer.drive_gradient)
        found[f"output_gradient/{layer.name}"] = layer.gradient
        if (spiking := layer.spiking) is None or layer.spikes_per_step is None:
            continue
        if statistics.dt is not None:
            found[f"rate_hz/{layer.name}"] = layer.spikes_per_step * 1000 / statistics.dt
        found[f"spikes_per_step/{layer.name}"] = layer.spikes_per_step
        found[f"silent/{layer.name}"], found[f"saturated/{layer.name}"] = spiking.silent, spiking.saturated
        found[f"largest_membrane/{layer.name}"] = spiking.max_membrane
        found[f"surrogate_passes/{layer.name}"] = spiking.surrogate_mean
    return found


def histograms(statistics: NetworkStatistics) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a histogram of each layer's membranes, in thresholds, as arguments of TensorBoard's `add_histogram_raw`."""
    middles = [(low + high) / 2 for low, high in pairwise(EDGES)]
    for layer in statistics.layers:
        counts = layer.spiking.membrane_histogram if layer.spiking is not None else ()
        if not sum(counts):
            continue  # TensorBoard rejects an empty histogram
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


class WeightUpdate:
    """Measures the change of the weights in one step of the optimizer.

    Args:
        network: The network before the step, with the gradients of a whole batch.
    """

    def __init__(self, network: Network) -> None:
        last = [name for name, _ in network.layers()][-1]
        self.groups = {name if name != OUTPUT else last: group for name, group in weight_groups(network).items()}
        self.groups = {name: group for name, group in self.groups.items() if group}
        self.gradients = {
            name: norm(p.grad for p in group if p.grad is not None) for name, group in self.groups.items()
        }
        self.before: dict[str, list[Tensor]] = {
            name: [p.detach().clone() for p in group] for name, group in self.groups.items()
        }

    def scalars(self) -> dict[str, float]:
        """Return, after the step, the norms of weights, of gradients, and of the change relative to the weights."""
        found: dict[str, float] = {}
        for name, group in self.groups.items():
            size = norm(self.before[name])
            found[f"weights/{name}"], found[f"weight_gradient/{name}"] = size, self.gradients[name]
            if size:
                found[f"update/{name}"] = change_norm([p.detach() for p in group], self.before[name]) / size
        return found
