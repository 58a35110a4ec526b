"""Synaptic operations, membrane updates and activations of a network, counted while it answers.

As NeuroBench counts them, at a batch of one: an operation is a weight other than 0 that meets an input other than 0; it
is an accumulate (AC) where the layer's whole input of that sample and step is 0, 1 or -1, else a multiply-accumulate
(MAC). Dense operations count every weight and every input. Biases and what padding adds count nothing. Counted is what
goes into each layer, so the numbers do not depend on what is fused; steps past a sample's length count nothing.

The operations of a layer are a sum over its input's cells, each times the weights that it meets: those that are not 0
for the effective ones, all of them for the dense ones. How often a cell is other than 0 is counted apart for steps of
spikes and for others.

Axes: T steps, B samples, N steps of samples, P cells of one sample's input at one step.

Source: Yik et al., The NeuroBench framework for benchmarking neuromorphic computing, Nature Communications 2025.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from snnlab.compat import ConvNd, ConvTransposeNd, convolve
from snnlab.nn.network import Network
from snnlab.nn.neurons.base import Neuron
from snnlab.nn.neurons.recurrent import Feedback, Recurrent, Weights
from snnlab.nn.stages import FusedEvents, FusedNeuron, Stage, watched
from snnlab.nn.summary import has_weights
from snnlab.nn.temporal import OWN, Counts, valid_steps
from snnlab.threads import share

Connection = nn.Linear | ConvNd | nn.RNNBase | Feedback

_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


class Reach(NamedTuple):
    """What one sample's input of one step meets.

    Attributes:
        effective: Weights other than 0 that each cell meets, in the shape of the input.
        dense: All weights that all cells meet.
        within: Weights other than 0 that meet what the layer itself remembers, as the gates of a GRU do.
    """

    effective: Tensor
    dense: int
    within: int = 0


def reach(layer: Connection, shape: torch.Size) -> Reach:
    """Return how many weights the cells of an input meet.

    Args:
        layer: A layer with weights.
        shape: Shape of its input, of one sample at one step.
    """
    if isinstance(layer, nn.RNNBase):
        return _of_recurrent(layer, shape)
    with torch.inference_mode(False), torch.autocast(layer.weight.device.type, enabled=False):
        weight = (layer.weights() if isinstance(layer, Feedback) else layer).weight.detach()
        # Double precision: sums of whole numbers stay whole far beyond what a layer has.
        there = (weight != 0).double()
        return Reach(_met(layer, there, shape), round(_met(layer, torch.ones_like(there), shape).sum().item()))


def _met(layer: nn.Linear | ConvNd | Feedback, weight: Tensor, shape: torch.Size) -> Tensor:
    """Return for each cell the sum of the weights that it meets: the gradient of the summed output."""
    with torch.enable_grad():
        x = torch.ones(1, *shape, dtype=weight.dtype, device=weight.device, requires_grad=True)
        (found,) = torch.autograd.grad(_apply(layer, x, weight).sum(), x)
    return found[0]


def _apply(layer: nn.Linear | ConvNd | Feedback, x: Tensor, weight: Tensor) -> Tensor:
    if isinstance(layer, Feedback):
        return layer(x, Weights(weight, None))
    if isinstance(layer, ConvTransposeNd):
        settings = (layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation)
        return _TRANSPOSED[weight.dim() - 2](x, weight, None, *settings)  # type: ignore[arg-type]
    if isinstance(layer, ConvNd):
        return convolve(layer, x, weight)
    return functional.linear(x, weight)


def _of_recurrent(layer: nn.RNNBase, shape: torch.Size) -> Reach:
    matrices = {name: part.detach() for name, part in layer.named_parameters() if part.dim() == 2}
    first = matrices.pop("weight_ih_l0")
    effective = (first != 0).sum(0, dtype=torch.float64).expand(shape)
    dense = first.numel() * shape[:-1].numel()
    rest = sum(part.numel() for part in matrices.values()), sum(int((m != 0).sum()) for m in matrices.values())
    return Reach(effective, dense + rest[0], rest[1])


GRADED, BINARY = 0, 1


def cells_seen(x: Tensor, valid: Tensor) -> Tensor:
    """Return how often each cell is other than 0, in steps where some cell is graded, and in those of 0, 1 and -1.

    Args:
        x: The input.
        valid: Which steps count.

    Shape:
        x: `[N, P]`; valid: bool `[N]`; returns `[2, P]`, float64.
    """
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
        return _by_torch(x.float(), valid)
    # Here, because numba takes a second to import, which only who counts should wait for.
    from snnlab.nn.operations.numba_cells import count

    parts = min(torch.get_num_threads(), max(len(x), 1))
    cells = np.zeros((parts, 2, x.shape[1]), np.int32)
    run = partial(count, x.detach().contiguous().numpy(), valid.numpy(), cells)
    share(run, parts, x.numel())
    return torch.from_numpy(cells.sum(0, dtype=np.float64))


def _by_torch(x: Tensor, valid: Tensor) -> Tensor:
    there = (x != 0).float()
    graded = (x.abs() != there).any(1)
    kinds = torch.stack([valid & graded, valid & ~graded]).float()
    with torch.autocast(x.device.type, enabled=False):
        return (kinds @ there).double()  # whole numbers below 2^24: exact


_ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.GELU)


class Totals(NamedTuple):
    """What all samples cost together; sums of several add up.

    Attributes:
        dense: Dense synaptic operations.
        macs: Effective multiply-accumulates.
        acs: Effective accumulates.
        updates: Membranes that took a step: every neuron, at every step.
        active: Outputs of spiking neurons and activations other than 0.
        outputs: All of their outputs.
        steps: Valid steps.
        samples: Samples.
    """

    dense: int = 0
    macs: int = 0
    acs: int = 0
    updates: int = 0
    active: int = 0
    outputs: int = 0
    steps: int = 0
    samples: int = 0

    def __add__(self, other: Totals) -> Totals:  # type: ignore[override]
        return Totals(*(a + b for a, b in zip(self, other, strict=True)))

    def metrics(self, stage: str) -> dict[str, float]:
        """Return what a result says, by name: a sample's mean, and that of one of its steps."""
        values: dict[str, float] = {}
        for kind, total in (("dense", self.dense), ("macs", self.macs), ("acs", self.acs)):
            values[f"{stage}/synops_{kind}"] = total / max(self.samples, 1)
            values[f"{stage}/synops_{kind}_per_step"] = total / max(self.steps, 1)
        values[f"{stage}/membrane_updates"] = self.updates / max(self.samples, 1)
        if self.outputs:
            values[f"{stage}/activation_sparsity"] = 1.0 - self.active / self.outputs
        return values


class _Seen:
    """What has gone into one layer: how often each cell was other than 0, in steps for MACs and in steps for ACs."""

    def __init__(self, reach: Reach) -> None:
        self.reach, self.steps = reach, 0
        self.cells = torch.zeros(2, *reach.effective.shape, dtype=torch.float64, device=reach.effective.device)

    def add(self, x: Tensor, valid: Tensor) -> None:
        """Add inputs `[T, B, ...]` at the steps that are `valid`, `[T, B]`."""
        self.steps += int(valid.sum())
        last = x.dim() == 5 and x.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
        # As they lie in memory: a copy takes as long as all the rest.
        x = x.permute(0, 1, 3, 4, 2) if last else x
        cells = cells_seen(x.flatten(2).flatten(0, 1), valid.flatten()).reshape(2, *x.shape[2:])
        self.cells += cells.movedim(-1, 1) if last else cells

    def operations(self) -> tuple[int, int, int]:
        """Return dense operations, MACs and ACs."""
        of_kinds = [round(float((cells * self.reach.effective).sum())) for cells in self.cells]
        macs, acs = of_kinds[GRADED], of_kinds[BINARY]
        return self.steps * self.reach.dense, macs + self.steps * self.reach.within, acs


class Operations:
    """Counts what a network does, see `counted`."""

    def __init__(self, network: nn.Module) -> None:
        self._layers: dict[tuple[int, torch.Size], _Seen] = {}
        self._unseen = {id(module) for module in network.modules() if has_weights(module)}
        self._rest = Totals()

    def totals(self) -> Totals | None:
        """Return what has been counted so far; None where there are weights of which nobody knows what they do.

        Such are those of a layer of the user's own, also where it hands its input on to layers within itself.
        """
        if self._unseen:
            return None
        found = self._rest
        for seen in self._layers.values():
            found += Totals(*seen.operations())
        return found

    def begin(self, network: nn.Module, inputs: tuple[Any, ...], settings: dict[str, Any]) -> None:
        """Count the samples of a call, and their steps."""
        x, lengths = inputs[0], settings.get("lengths")
        self._rest += Totals(samples=x.shape[1], steps=int(_valid(lengths, x).sum()))

    def __call__(
        self,
        stage: Stage,
        x: Tensor,
        y: Tensor,
        state: Any,
        lengths: Tensor | None,
        counts: Counts | None,
    ) -> None:
        """Count what one stage has done."""
        layer = stage.layer
        if isinstance(stage, FusedNeuron):
            if isinstance(stage, FusedEvents):
                self._add(stage.first[1], x, lengths)
            if stage.pooling is not None:  # its outputs before that are nowhere
                y = y.new_empty(*x.shape[:2], *_own(counts).shape[1:])
        if isinstance(layer, nn.Linear | ConvNd | nn.RNNBase):
            self._add(layer, x, lengths)
        elif isinstance(layer, Neuron):
            outputs = int(_valid(lengths, x).sum()) * y.shape[2:].numel()
            self._rest += Totals(updates=outputs)
            if layer.spiking:
                # Spikes were counted as they came; who spikes once a step at most has as many outputs other than 0.
                spikes = None if layer.graded or counts is None else counts.get(OWN)
                active = int(torch.count_nonzero(y) if spikes is None else spikes.sum(dtype=torch.float64).round())
                self._rest += Totals(active=active, outputs=outputs)
            if isinstance(layer, Recurrent):
                first = torch.zeros_like(y[0]) if state is None else state.s
                self._add(layer.feedback, torch.cat([first[None], y[:-1]]), lengths)
        elif isinstance(layer, _ACTIVATIONS):
            valid = _valid(lengths, y)
            active = int(((y != 0).flatten(2).sum(2) * valid).sum()) if y.dim() > 2 else int(((y != 0) & valid).sum())
            self._rest += Totals(active=active, outputs=int(valid.sum()) * y.shape[2:].numel())

    def _add(self, layer: Connection, x: Tensor, lengths: Tensor | None) -> None:
        self._unseen.discard(id(layer))
        key = id(layer), x.shape[2:]
        if key not in self._layers:
            self._layers[key] = _Seen(reach(layer, x.shape[2:]))
        self._layers[key].add(x, _valid(lengths, x))


@contextmanager
def counted(network: Network) -> Iterator[Operations]:
    """Count what a network does within. It has to be asked for its spikes, and its weights must not change."""
    operations = Operations(network)
    hook = network.register_forward_pre_hook(operations.begin, with_kwargs=True)
    try:
        with watched(operations):
            yield operations
    finally:
        hook.remove()


def _own(counts: Counts | None) -> Tensor:
    assert counts is not None, "operations are counted where spikes are"
    return counts[OWN]


def _valid(lengths: Tensor | None, x: Tensor) -> Tensor:
    """Return which steps of which samples count, `[T, B]`."""
    valid = valid_steps(lengths, x.shape[0], x)
    return x.new_ones(x.shape[:2], dtype=torch.bool) if valid is None else valid.flatten(1)


def footprint_bytes(network: nn.Module) -> int:
    """Return the bytes of all parameters and buffers."""
    return sum(part.numel() * part.element_size() for part in (*network.parameters(), *network.buffers()))


def connection_sparsity(network: nn.Module) -> float:
    """Return which part of the weights is 0; biases, norms and neurons' constants are no connections.

    A network without weights has a sparsity of 0.
    """
    weights = list(_weights(network))
    of_all = sum(weight.numel() for weight in weights)
    return sum(int((weight == 0).sum()) for weight in weights) / of_all if of_all else 0.0


def _weights(network: nn.Module) -> Iterator[Tensor]:
    for module in network.modules():
        if isinstance(module, Feedback):
            yield module.weights().weight.detach()
        elif isinstance(module, nn.Linear | ConvNd):
            yield module.weight.detach()
        elif isinstance(module, nn.RNNBase):
            yield from (part.detach() for part in module.parameters() if part.dim() == 2)
