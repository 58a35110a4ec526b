"""Metrics of an epoch: loss, accuracy or errors, and the activity of each spiking layer.

Axes: T steps, B samples, K outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from snnlab.nn.layer import Counts
from snnlab.target_kinds import IGNORED, Targets

# Running values are of this process only; processes are synchronized at the end of an epoch.
LOCAL: dict[str, bool] = {"sync_on_compute": False, "compute_with_cache": False}


def score_metric(targets: Targets, outputs: int, names: Sequence[str] | None = None) -> Metric:
    """Return the metric for a kind of targets; its `compute` returns a dict.

    Args:
        targets: Kind of the targets.
        outputs: Number of classes, or of values.
        names: Names of the values; None: their indices.
    """
    of_values = targets in ("value", "series")
    return ValueErrors(names or [*map(str, range(outputs))]) if of_values else Accuracy()


def num_averaged(kind: Targets, targets: Tensor) -> Tensor | int:
    """Return the number of samples, or of labelled steps, that a batch's loss averages."""
    return (targets != IGNORED).sum() if kind == "steps" else targets.shape[kind == "series"]


class Mean(Metric):
    """Weighted mean, NaN if a number is; torchmetrics' MeanMetric reads every number, which waits for a device."""

    full_state_update = False
    mean_value: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__(**LOCAL)
        for name in ("mean_value", "weight"):  # the sums; checkpoints have MeanMetric's names
            self.add_state(name, torch.zeros(()), "sum")

    def update(self, value: Tensor, weight: Tensor | int) -> None:
        """Add a number, a scalar."""
        self.mean_value += value.to(self.dtype) * weight
        self.weight += weight

    def compute(self) -> Tensor:
        """Return the mean."""
        return self.mean_value / self.weight


class Accuracy(Metric):
    """Fraction of samples, or of labelled steps, whose largest output is that of their class."""

    full_state_update = False
    right: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__(**LOCAL)
        for name in ("right", "total"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), "sum", persistent=True)

    def update(self, scores: Tensor, targets: Tensor) -> None:
        """Add scores `[B, K]` or `[T, B, K]` and targets `[B]` or `[T, B]`."""
        self.right += (scores.argmax(-1) == targets).sum()
        self.total += (targets != IGNORED).sum()

    def compute(self) -> dict[str, Tensor]:
        """Return the fraction; 0 where nothing is labelled."""
        return {"accuracy": self.right / self.total.clamp(min=1)}


class ValueErrors(Metric):
    """Mean absolute error, root mean squared error and R^2 of values.

        mae = mean |y - t|,   rmse = sqrt(mean (y - t)^2)
        r2 = mean_k (1 - sum (y_k - t_k)^2 / sum (t_k - mean t_k)^2)

    Sums are in double precision, so that results do not depend on the batches. r2 is 1 for exact answers and 0 for the
    targets' mean; it leaves out values whose targets are all equal, and is 0 if all are. Several values may have
    different units, so each has its own errors too. Of values at each step, each step counts as a sample.

    Args:
        names: Names of the values.
    """

    full_state_update = False
    samples: Tensor
    absolute: Tensor
    squared: Tensor
    sums: Tensor
    squares: Tensor

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(**LOCAL)
        self.names = list(names)
        self.add_state("samples", torch.zeros((), dtype=torch.int64), "sum", persistent=True)
        for name in ("absolute", "squared", "sums", "squares"):
            self.add_state(name, torch.zeros(len(names), dtype=torch.float64), "sum", persistent=True)

    def update(self, scores: Tensor, targets: Tensor) -> None:
        """Add answers and targets `[B, K]`, or `[T, B, K]`."""
        targets = targets.flatten(0, -2).double()
        error = scores.flatten(0, -2).double() - targets
        self.samples += len(targets)
        self.absolute += error.abs().sum(0)
        self.squared += error.square().sum(0)
        self.sums += targets.sum(0)
        self.squares += targets.square().sum(0)

    def compute(self) -> dict[str, Tensor]:
        """Return mae, rmse and r2; for several values also `mae/NAME` and so on."""
        total_squares = self.squares - self.sums.square() / self.samples
        # Rounding leaves a small spread when all targets are equal.
        varies = total_squares > 1e-12 * self.squares
        r2 = torch.where(varies, 1 - self.squared / total_squares, 0)
        mae, mse = self.absolute / self.samples, self.squared / self.samples
        found = {"mae": mae.mean(), "rmse": mse.mean().sqrt(), "r2": r2.sum() / varies.sum().clamp(min=1)}
        if len(self.names) > 1:
            for column, name in enumerate(self.names):
                value_errors = {"mae": mae[column], "rmse": mse[column].sqrt(), "r2": r2[column]}
                found |= {f"{key}/{name}": value for key, value in value_errors.items()}
        return found


class LayerSpikes(Metric):
    """The spikes of each neuron of one layer, summed over an epoch.

    Args:
        shape: Shape of the layer's neurons.
        dt: Length of a step, ms; None where steps have no length; then there is no rate in Hz.
    """

    full_state_update = False
    per_neuron: Tensor
    steps: Tensor
    samples: Tensor

    def __init__(self, shape: tuple[int, ...], dt: float | None) -> None:
        super().__init__(**LOCAL)
        self.dt = dt
        self.add_state("per_neuron", torch.zeros(shape), "sum", persistent=True)
        self.add_state("steps", torch.zeros((), dtype=torch.int64), "sum", persistent=True)
        self.add_state("samples", torch.zeros((), dtype=torch.int64), "sum", persistent=True)

    def update(self, counts: Tensor, lengths: Tensor) -> None:
        """Add a batch's counts `[B, ...]` over `lengths [B]` steps."""
        self.per_neuron += _sum_over_samples(counts.detach())
        self.steps += lengths.sum()
        self.samples += lengths.numel()

    def compute(self) -> dict[str, Tensor]:
        """Return spikes per neuron and step, rate in Hz, fraction of neurons that never fired, spikes per sample."""
        total = self.per_neuron.sum(dtype=torch.float64)
        per_step = total / (self.steps * self.per_neuron.numel())
        values = {"spikes_per_step": per_step, "silent": (self.per_neuron == 0).double().mean()}
        if self.dt is not None:
            values["rate_hz"] = per_step * (1000.0 / self.dt)
        return {**values, "spikes_per_sample": total / self.samples}

    def spikes_per_sample(self) -> Tensor:
        """Return only the spikes per sample."""
        return self.per_neuron.sum(dtype=torch.float64) / self.samples


def _sum_over_samples(counts: Tensor) -> Tensor:
    """Return the sum over a batch; torch's own sum of channels-last images takes ten times as long."""
    last = counts.movedim(1, -1)
    return last.sum(0).movedim(-1, 0) if last.is_contiguous() else counts.sum(0)


class StageMetrics(nn.Module):
    """All metrics of one stage: train, val or test.

    Args:
        num_classes: Number of classes, or of values.
        spiking: Shape of each spiking layer's neurons, by the key of its counts.
        dt: Length of a step, ms, or None.
        targets: Kind of the targets.
        names: Names of the values; None: their indices.
        parts: Names of the loss's terms, if it has several.
    """

    def __init__(
        self,
        num_classes: int,
        spiking: Mapping[str, tuple[int, ...]],
        dt: float | None,
        targets: Targets = "class",
        names: Sequence[str] | None = None,
        parts: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.loss = Mean()
        self.part_names = list(parts)
        self.parts = nn.ModuleList(Mean() for _ in parts)
        self.targets: Targets = targets
        self.score = score_metric(targets, num_classes, names)
        for metric in (self.loss, self.score, *self.parts):
            metric.persistent(True)  # type: ignore[operator]  # as the layers' metrics: checkpoints within an epoch store them
        self.layer_names = list(spiking)
        self.layers = nn.ModuleList(LayerSpikes(shape, dt) for shape in spiking.values())

    def update(
        self,
        loss: Tensor,
        scores: Tensor,
        targets: Tensor,
        counts: Counts,
        lengths: Tensor,
        parts: Mapping[str, Tensor] | None = None,
    ) -> None:
        weight = num_averaged(self.targets, targets)
        self.loss.update(loss.detach(), weight=weight)
        for name, part in zip(self.part_names, self.parts, strict=True):
            part.update((parts or {})[name].detach(), weight=weight)  # type: ignore[operator]
        self.score.update(scores.detach(), targets)
        for name, layer in zip(self.layer_names, self.layers, strict=True):
            layer.update(counts[name], lengths)  # type: ignore[operator]

    def running_values(self) -> dict[str, float]:
        """Return loss, scores and spikes per sample of this process since the last `collect`; waits for the device."""
        values = {"loss": self.loss.compute(), **self.score.compute()}
        if self.layer_names:
            values["spikes_per_sample"] = sum(layer.spikes_per_sample() for layer in self.layers)  # type: ignore[operator]
        return dict(zip(values, torch.stack([value.double() for value in values.values()]).tolist(), strict=True))

    def collect(self) -> dict[str, Tensor]:
        """Return the metrics of all processes since the last call, by their names in the log, and reset them."""
        with ExitStack() as shared:
            for metric in self._all():
                shared.enter_context(metric.sync_context())
            values = self._values()
        for metric in self._all():
            metric.reset()
        return values

    def _values(self) -> dict[str, Tensor]:
        values: dict[str, Tensor] = {"loss": self.loss.compute(), **self.score.compute()}
        for name, part in zip(self.part_names, self.parts, strict=True):
            values[f"loss/{name}"] = part.compute()  # type: ignore[operator]
        spikes = torch.zeros((), dtype=torch.float64)
        for name, layer in zip(self.layer_names, self.layers, strict=True):
            layer_values: dict[str, Tensor] = layer.compute()  # type: ignore[operator]
            spikes = spikes.to(layer_values["spikes_per_sample"].device) + layer_values.pop("spikes_per_sample")
            values.update({f"{key}/{name}": value for key, value in layer_values.items()})
        if self.layer_names:
            values["spikes_per_sample"] = spikes
        return values

    def _all(self) -> list[Metric]:
        return [self.loss, self.score, *self.parts, *self.layers]  # type: ignore[list-item]
