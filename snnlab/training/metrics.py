"""What is measured over an epoch: loss, how near the answers are, and what each spiking layer does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric

from snnlab.events.targets import Targets
from snnlab.nn.temporal import Counts
from snnlab.training.scores import LOCAL, counted, score_of


class LayerSpikes(Metric):
    """The spikes of each neuron of one layer, summed over an epoch.

    Args:
        shape: Shape of the layer's neurons.
        dt: Length of a step, ms; None where steps have no length, and no rate in Hz is given.
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
        self.per_neuron += _over_samples(counts.detach())
        self.steps += lengths.sum()
        self.samples += lengths.numel()

    def compute(self) -> dict[str, Tensor]:
        """Return spikes a neuron and step, rate in Hz, fraction of neurons that never fired, spikes a sample."""
        total = self.per_neuron.sum(dtype=torch.float64)
        per_step = total / (self.steps * self.per_neuron.numel())
        values = {"spikes_per_step": per_step, "silent": (self.per_neuron == 0).double().mean()}
        if self.dt is not None:
            values["rate_hz"] = per_step * (1000.0 / self.dt)
        return {**values, "spikes_per_sample": total / self.samples}

    def spikes_per_sample(self) -> Tensor:
        """Return the spikes a sample alone."""
        return self.per_neuron.sum(dtype=torch.float64) / self.samples


def _over_samples(counts: Tensor) -> Tensor:
    """Return a batch's sum; torch's own of an image that lies channels-last takes ten times as long."""
    last = counts.movedim(1, -1)
    return last.sum(0).movedim(-1, 0) if last.is_contiguous() else counts.sum(0)


class StageMetrics(nn.Module):
    """All metrics of one stage: train, val or test.

    Args:
        num_classes: Number of classes, or of values.
        spiking: Shape of each spiking layer's neurons, by the key of its counts.
        dt: Length of a step, ms, or None.
        targets: What the targets are.
        names: What values are called; None: by their numbers.
        parts: What the loss's parts are called, where it has several.
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
        # NaN stands for itself: by default a batch whose loss is not a number is left out of the mean.
        self.loss = MeanMetric(nan_strategy=math.nan, **LOCAL)
        self.part_names = list(parts)
        self.parts = nn.ModuleList(MeanMetric(nan_strategy=math.nan, **LOCAL) for _ in parts)
        self.targets: Targets = targets
        self.score = score_of(targets, num_classes, names)
        for metric in (self.loss, self.score, *self.parts):
            metric.persistent(True)  # type: ignore[operator]  # as the layers' are: half an epoch is in the checkpoint
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
        weight = counted(self.targets, targets)
        self.loss.update(loss.detach(), weight=weight)
        for name, part in zip(self.part_names, self.parts, strict=True):
            part.update((parts or {})[name].detach(), weight=weight)  # type: ignore[operator]
        self.score.update(scores.detach(), targets)
        for name, layer in zip(self.layer_names, self.layers, strict=True):
            layer.update(counts[name], lengths)  # type: ignore[operator]

    def so_far(self) -> dict[str, float]:
        """Return loss, scores and spikes a sample of this process since the last `collect`; waits for the device."""
        values = {"loss": self.loss.compute(), **self.score.compute()}
        if self.layer_names:
            values["spikes_per_sample"] = sum(layer.spikes_per_sample() for layer in self.layers)  # type: ignore[operator]
        return dict(zip(values, torch.stack([value.double() for value in values.values()]).tolist(), strict=True))

    def collect(self) -> dict[str, Tensor]:
        """Return everything since the last call by its name in the log, of all processes, and start anew."""
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
            of_layer: dict[str, Tensor] = layer.compute()  # type: ignore[operator]
            spikes = spikes.to(of_layer["spikes_per_sample"].device) + of_layer.pop("spikes_per_sample")
            values.update({f"{key}/{name}": value for key, value in of_layer.items()})
        if self.layer_names:
            values["spikes_per_sample"] = spikes
        return values

    def _all(self) -> list[Metric]:
        return [self.loss, self.score, *self.parts, *self.layers]  # type: ignore[list-item]
