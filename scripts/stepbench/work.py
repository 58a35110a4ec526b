"""The trained network, its weights and its frames, the same for all libraries.

Axes: T steps, B samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

SENSOR, CLASSES = (2, 34, 34), 10
DENSITY = 0.035  # of events in the frames: that of N-MNIST in 32 bins
# Standard deviations of the membranes (without reset) of both convolutions' neurons, in thresholds. With `trained` they
# spike as often as those of conv_lif trained on N-MNIST, 0.03 and 0.07 times a step; with `busy`, 0.12 and 0.16 times.
DRIVES = {"trained": (0.5, 0.8), "busy": (1.0, 1.0)}
# Approximate mean square of the second convolution's input.
LATER_DENSITY = {
    "trained": {"max": 0.1, "avg": 0.009},
    "busy": {"max": 0.3, "avg": 0.03},
}
# Weights are multiples of 1 / GRID: their sums are exact in any order, in TF32 too, so that two libraries with the same
# weights can only differ in their neurons.
GRID = 128
SEED = 0


class BenchError(Exception):
    """An error that ends the bench; the user reads its text as one line."""


class UsageError(BenchError):
    """A request that cannot be fulfilled here."""


class Workload(NamedTuple):
    """A network and the size of a training step.

    Attributes:
        kind: `conv`: two convolutions, each with neurons and pooling, and a linear readout; `dense`: a linear layer and
            its neurons.
        steps: T.
        batch: B.
        pool: The pooling of the convolutions' spikes.
        inputs: Inputs of the dense layer.
        neurons: Its neurons.
        spikes: The rate of the convolutions' neurons: as in a `trained` network, or `busy`, up to four times as high.
    """

    kind: Literal["conv", "dense"]
    steps: int
    batch: int
    pool: Literal["max", "avg"] = "avg"
    inputs: int = 512
    neurons: int = 16_384
    spikes: Literal["trained", "busy"] = "trained"

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape of one sample at one step."""
        return SENSOR if self.kind == "conv" else (self.inputs,)

    @property
    def title(self) -> str:
        """The work as text."""
        what = f"conv, {self.pool} pooling" if self.kind == "conv" else f"linear {self.inputs} to {self.neurons}"
        busy = ", busy" if self.kind == "conv" and self.spikes == "busy" else ""
        return f"{what}{busy}, T = {self.steps}, batch {self.batch}"


def modules(work: Workload, neuron: Callable[[], nn.Module], of: Any = nn, **settings: Any) -> list[nn.Module]:
    """Return the layers in order.

    Args:
        work: The network and its size.
        neuron: Makes the neurons after each weight layer but the readout.
        of: The module of the other layers' classes.
        settings: Arguments of all of them.
    """
    if work.kind == "dense":
        return [of.Linear(work.inputs, work.neurons, bias=False, **settings), neuron()]
    pool = of.MaxPool2d if work.pool == "max" else of.AvgPool2d
    return [
        of.Conv2d(2, 12, 5, bias=False, **settings),
        neuron(),
        pool(2, **settings),
        of.Conv2d(12, 32, 5, bias=False, **settings),
        neuron(),
        pool(2, **settings),
        of.Flatten(**settings),
        of.Linear(800, CLASSES, bias=False, **settings),
    ]


def nodes(work: Workload, neuron: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the same layers as nodes of snnlab's YAML: those of `model=conv_lif` up to its readout."""
    if work.kind == "dense":
        return {"linear": {"type": "linear", "out_features": work.neurons, "bias": False}, "neuron": neuron}
    pool = {"type": f"{work.pool}_pool", "kernel_size": 2}
    conv = {"type": "conv2d", "kernel_size": 5, "bias": False}
    return {
        "conv1": conv | {"out_channels": 12},
        "neuron1": neuron,
        "pool1": pool,
        "conv2": conv | {"out_channels": 32},
        "neuron2": neuron,
        "pool2": pool,
        "flatten": {"type": "flatten"},
        "out": {"type": "linear", "out_features": CLASSES, "bias": False},
    }


def frames(work: Workload) -> Tensor:
    """Return random binary events, `[T, B, ...]`."""
    generator = torch.Generator().manual_seed(SEED)
    return (torch.rand(work.steps, work.batch, *work.in_shape, generator=generator) < DENSITY).float()


def targets(work: Workload) -> Tensor:
    """Return random classes, `[B]`."""
    outputs = CLASSES if work.kind == "conv" else work.neurons
    return torch.randint(outputs, (work.batch,), generator=torch.Generator().manual_seed(SEED))


@torch.no_grad()
def set_weights(weights: Sequence[Tensor], scale: float, work: Workload) -> None:
    """Fill weights, in the order of their layers.

    Args:
        weights: The weights, written.
        scale: Standard deviation of a neuron's input for which that of its membrane is its threshold.
        work: The network and its size.
    """
    drives = DRIVES[work.spikes] if work.kind == "conv" else (1.0,)
    generator = torch.Generator().manual_seed(SEED)
    for n, weight in enumerate(weights):
        fan_in = weight[0].numel() * (DENSITY if n == 0 else LATER_DENSITY[work.spikes][work.pool])
        size = (1.0 if n == 2 else scale * drives[n]) / math.sqrt(fan_in)
        weight.copy_((torch.randn(weight.shape, generator=generator) * size * GRID).round() / GRID)
