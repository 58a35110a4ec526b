"""Count synaptic operations, membrane updates and activations of a network during inference.

The definitions are those of NeuroBench at a batch size of 1. An operation is a nonzero weight times a nonzero input. It
is an accumulate (AC) if the layer's whole input of that sample and step is 0, 1 or -1, else a multiply-accumulate
(MAC). Dense operations count every weight and every input. Biases and padding count nothing. The inputs of the layers
are counted, so the numbers do not depend on fusion; steps past a sample's length count nothing.

The operations of a layer are a sum over its input's cells: the number of steps in which the cell is nonzero, times the
weights that the cell is multiplied with: nonzero weights for effective operations, all weights for dense ones. Steps
whose input is only spikes and other steps are counted separately.

Axes: T steps, B samples, N steps of samples, P cells of one sample's input at one step, C channels.

Source: Yik et al., The NeuroBench framework for benchmarking neuromorphic computing, Nature Communications 2025.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from snnlab.compat import ConvNd, convolve
from snnlab.compiled import compiled
from snnlab.nn.layer import OWN_SPIKES, Counts, valid_steps
from snnlab.nn.layers import DelayedConnections
from snnlab.nn.network import Network
from snnlab.nn.neurons.base import Neuron, without_autocast
from snnlab.nn.neurons.recurrent import Feedback, FeedbackWeights, Recurrent
from snnlab.nn.quantization import whole_bits
from snnlab.nn.stages import FusedEvents, FusedNeuron, Stage, observe_stages
from snnlab.nn.summary import has_weights
from snnlab.threads import share


@compiled(nogil=True)
def add_nonzero_cells(x: np.ndarray, valid: np.ndarray, cells: np.ndarray, first: int, last: int) -> None:
    """Add the nonzero cells of each part from `first` to before `last` to `cells[part]`.

    Shape:
        x: `[N, P]`; valid: bool `[N]`; cells: `[parts, 2, P]`, for graded steps and for binary steps.
    """
    parts = len(cells)
    for part in range(first, last):
        for n in range(len(x) * part // parts, len(x) * (part + 1) // parts):
            if not valid[n]:
                continue
            graded = 0
            for at in range(x.shape[1]):
                graded += (x[n, at] != 0) & (x[n, at] != 1) & (x[n, at] != -1)
            kind = 0 if graded else 1
            for at in range(x.shape[1]):
                cells[part, kind, at] += x[n, at] != 0


Weighted = nn.Linear | ConvNd | DelayedConnections | Feedback
Connection = Weighted | nn.RNNBase


class WeightCounts(NamedTuple):
    """The numbers of weights that the input of one sample at one step is multiplied with.

    Attributes:
        effective: Nonzero weights of each cell, in the shape of the input.
        dense: All weights, summed over the cells.
        recurrent: Nonzero weights of the layer's own state, such as the hidden weights of a GRU.
    """

    effective: Tensor
    dense: int
    recurrent: int = 0


def weight_counts(layer: Connection, shape: torch.Size) -> WeightCounts:
    """Return the numbers of weights that the cells of an input are multiplied with.

    Args:
        layer: A layer with weights.
        shape: Shape of its input, of one sample at one step.
    """
    if isinstance(layer, nn.RNNBase):
        return _count_rnn_weights(layer, shape)
    with torch.inference_mode(False), without_autocast(layer.weight.device.type):
        weight = (layer.connections() if isinstance(layer, Feedback) else layer.weight).detach()
        # Double precision: sums of whole numbers are exact up to 2^53.
        nonzero = (weight != 0).double()
        return WeightCounts(
            _weight_sums(layer, nonzero, shape),
            round(_weight_sums(layer, torch.ones_like(nonzero), shape).sum().item()),
        )


def _weight_sums(layer: Weighted, weight: Tensor, shape: torch.Size) -> Tensor:
    """Return for each cell the sum of its weights: the gradient of the summed output."""
    with torch.enable_grad():
        x = torch.ones(1, *shape, dtype=weight.dtype, device=weight.device, requires_grad=True)
        (found,) = torch.autograd.grad(_apply_weights(layer, x, weight).sum(), x)
    return found[0]


def _apply_weights(layer: Weighted, x: Tensor, weight: Tensor) -> Tensor:
    if isinstance(layer, Feedback):
        return layer(x, FeedbackWeights(weight, None))
    if isinstance(layer, DelayedConnections):
        return layer.without_delays(x, weight)
    if isinstance(layer, ConvNd):
        return convolve(layer, x, weight)
    return nn.functional.linear(x, weight)


def _count_rnn_weights(layer: nn.RNNBase, shape: torch.Size) -> WeightCounts:
    matrices = {name: part.detach() for name, part in layer.named_parameters() if part.dim() == 2}
    first = matrices.pop("weight_ih_l0")
    effective = (first != 0).sum(0, dtype=torch.float64).expand(shape)
    dense = first.numel() * shape[:-1].numel()
    rest = sum(part.numel() for part in matrices.values()), sum(int((m != 0).sum()) for m in matrices.values())
    return WeightCounts(effective, dense + rest[0], rest[1])


GRADED, BINARY = 0, 1


def count_nonzero_steps(x: Tensor, valid: Tensor) -> Tensor:
    """Return in how many steps each cell is nonzero: in graded steps, and in steps with only 0, 1 and -1.

    Args:
        x: The input.
        valid: The steps to count.

    Shape:
        x: `[N, P]`; valid: bool `[N]`; returns `[2, P]`, float64.
    """
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
        return _count_cells_torch(x.float(), valid)
    parts = min(torch.get_num_threads(), max(len(x), 1))
    cells = np.zeros((parts, 2, x.shape[1]), np.int32)
    run = partial(add_nonzero_cells, x.detach().contiguous().numpy(), valid.numpy(), cells)
    share(run, parts, x.numel())
    return torch.from_numpy(cells.sum(0, dtype=np.float64))


def _count_cells_torch(x: Tensor, valid: Tensor) -> Tensor:
    nonzero = (x != 0).float()
    graded = (x.abs() != nonzero).any(1)
    kinds = torch.stack([valid & graded, valid & ~graded]).float()
    with without_autocast(x.device.type):
        return (kinds @ nonzero).double()  # whole numbers below 2^24: exact


_ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.GELU)


class OperationCounts(NamedTuple):
    """The operations of all samples; several of them can be added.

    Attributes:
        dense: Dense synaptic operations.
        macs: Effective multiply-accumulates.
        acs: Effective accumulates.
        updates: Membrane updates: one for every neuron at every step.
        active: Nonzero outputs of spiking neurons and activations.
        outputs: All outputs of spiking neurons and activations.
        steps: Valid steps.
        samples: Samples.
        of_bits: Effective multiply-accumulates (`macs`) and accumulates (`acs`) of a network in whole numbers, by the
            bits of their weights; empty for real numbers.
    """

    dense: int = 0
    macs: int = 0
    acs: int = 0
    updates: int = 0
    active: int = 0
    outputs: int = 0
    steps: int = 0
    samples: int = 0
    of_bits: Counter[tuple[str, int]] = Counter()  # noqa: RUF012

    def __add__(self, other: OperationCounts) -> OperationCounts:  # type: ignore[override]
        sums: list[Any] = [a + b for a, b in zip(self[:-1], other[:-1], strict=True)]  # type: ignore[operator]
        return OperationCounts(*sums, of_bits=self.of_bits + other.of_bits)

    def metrics(self, stage: str) -> dict[str, float]:
        """Return the means over the samples, and over the steps, by metric name."""
        values: dict[str, float] = {}
        for kind, total in (("dense", self.dense), ("macs", self.macs), ("acs", self.acs)):
            values[f"{stage}/synops_{kind}"] = total / max(self.samples, 1)
            values[f"{stage}/synops_{kind}_per_step"] = total / max(self.steps, 1)
        for (kind, bits), total in self.of_bits.items():
            values[f"{stage}/synops_{kind}_{bits}_bits"] = total / max(self.samples, 1)
        values[f"{stage}/membrane_updates"] = self.updates / max(self.samples, 1)
        if self.outputs:
            values[f"{stage}/activation_sparsity"] = 1.0 - self.active / self.outputs
        return values


class _InputCounts:
    """The inputs of one layer: in how many steps each cell was nonzero, separately for MACs and ACs."""

    def __init__(self, weight_counts: WeightCounts, bits: int | None) -> None:
        self.weight_counts, self.bits, self.steps = weight_counts, bits, 0
        self.cells = torch.zeros(
            2, *weight_counts.effective.shape, dtype=torch.float64, device=weight_counts.effective.device
        )

    def add(self, x: Tensor, valid: Tensor) -> None:
        """Add inputs `[T, B, ...]` at the steps where `valid` `[T, B]` is true."""
        self.steps += int(valid.sum())
        last = x.dim() == 5 and x.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
        # In the order of memory: a copy takes as long as the counting.
        x = x.permute(0, 1, 3, 4, 2) if last else x
        cells = count_nonzero_steps(x.flatten(2).flatten(0, 1), valid.flatten()).reshape(2, *x.shape[2:])
        self.cells += cells.movedim(-1, 1) if last else cells

    def operations(self) -> OperationCounts:
        """Return dense operations, MACs and ACs."""
        operations = [round(float((cells * self.weight_counts.effective).sum())) for cells in self.cells]
        macs, acs = operations[GRADED], operations[BINARY]
        macs += self.steps * self.weight_counts.recurrent
        of_bits = Counter() if self.bits is None else Counter({("macs", self.bits): macs, ("acs", self.bits): acs})
        return OperationCounts(self.steps * self.weight_counts.dense, macs, acs, of_bits=of_bits)


class OperationCounter:
    """The operations that a network has done within `count_operations`."""

    def __init__(self, network: nn.Module) -> None:
        self._layers: dict[tuple[int, torch.Size], _InputCounts] = {}
        self._uncounted = {id(module) for module in network.modules() if has_weights(module)}
        self._totals = OperationCounts()

    def totals(self) -> OperationCounts | None:
        """Return the operations so far; None if the network has weights whose operations are unknown.

        These are the weights of user-defined layers, also those of known layers inside them.
        """
        if self._uncounted:
            return None
        found = self._totals
        for inputs_of_layer in self._layers.values():
            found += inputs_of_layer.operations()
        return found

    def begin(self, network: nn.Module, inputs: tuple[Any, ...], settings: dict[str, Any]) -> None:
        """Count the samples of a call and their steps."""
        x, lengths = inputs[0], settings.get("lengths")
        self._totals += OperationCounts(samples=x.shape[1], steps=int(_valid(lengths, x).sum()))

    def __call__(
        self,
        stage: Stage,
        x: Tensor,
        y: Tensor,
        state: Any,
        lengths: Tensor | None,
        counts: Counts | None,
    ) -> None:
        """Count the operations of one stage."""
        layer = stage.layer
        if isinstance(stage, FusedNeuron):
            if isinstance(stage, FusedEvents):
                self._add(stage.first[1], x, lengths)
            if stage.pooling is not None:  # the fused stage does not return the neurons' own outputs
                y = y.new_empty(*x.shape[:2], *_spikes_per_neuron(counts).shape[1:])
        if isinstance(layer, nn.Linear | ConvNd | DelayedConnections | nn.RNNBase):
            self._add(layer, x, lengths)
        elif isinstance(layer, Neuron):
            outputs = int(_valid(lengths, x).sum()) * y.shape[2:].numel()
            self._totals += OperationCounts(updates=outputs)
            if layer.spiking:
                # The spikes are counted already; without graded spikes their number is that of nonzero outputs.
                spikes = None if layer.graded or counts is None else counts.get(OWN_SPIKES)
                active = int(torch.count_nonzero(y) if spikes is None else spikes.sum(dtype=torch.float64).round())
                self._totals += OperationCounts(active=active, outputs=outputs)
            if isinstance(layer, Recurrent):
                first = torch.zeros_like(y[0]) if state is None else state.s[:, -y.shape[2] :]
                self._add(layer.feedback, torch.cat([first[None], y[:-1]]), lengths)
        elif isinstance(layer, _ACTIVATIONS):
            valid = _valid(lengths, y)
            active = int(((y != 0).flatten(2).sum(2) * valid).sum()) if y.dim() > 2 else int(((y != 0) & valid).sum())
            self._totals += OperationCounts(active=active, outputs=int(valid.sum()) * y.shape[2:].numel())

    def _add(self, layer: Connection, x: Tensor, lengths: Tensor | None) -> None:
        self._uncounted.discard(id(layer))
        key = id(layer), x.shape[2:]
        if key not in self._layers:
            self._layers[key] = _InputCounts(weight_counts(layer, x.shape[2:]), whole_bits(layer))
        self._layers[key].add(x, _valid(lengths, x))


@contextmanager
def count_operations(network: Network) -> Iterator[OperationCounter]:
    """Count the operations of a network in this context. Calls must pass `counts`, and weights must not change."""
    operations = OperationCounter(network)
    hook = network.register_forward_pre_hook(operations.begin, with_kwargs=True)
    try:
        with observe_stages(operations):
            yield operations
    finally:
        hook.remove()


def _spikes_per_neuron(counts: Counts | None) -> Tensor:
    assert counts is not None, "counting operations needs counts"
    return counts[OWN_SPIKES]


def _valid(lengths: Tensor | None, x: Tensor) -> Tensor:
    """Return which steps of which samples are valid, `[T, B]`."""
    valid = valid_steps(lengths, x.shape[0], x)
    return x.new_ones(x.shape[:2], dtype=torch.bool) if valid is None else valid.flatten(1)


def footprint_bytes(network: nn.Module) -> int:
    """Return the bytes of all parameters and buffers."""
    return sum(part.numel() * part.element_size() for part in (*network.parameters(), *network.buffers()))


def connection_sparsity(network: nn.Module) -> float:
    """Return the fraction of weights that are 0, without biases, norms and constants of neurons.

    A network without weights has a sparsity of 0.
    """
    weights = list(_weights_of(network))
    total = sum(weight.numel() for weight in weights)
    return sum(int((weight == 0).sum()) for weight in weights) / total if total else 0.0


def _weights_of(network: nn.Module) -> Iterator[Tensor]:
    for module in network.modules():
        if isinstance(module, Feedback):
            yield module.connections().detach()
        elif isinstance(module, nn.Linear | ConvNd | DelayedConnections):
            yield module.weight.detach()
        elif isinstance(module, nn.RNNBase):
            yield from (part.detach() for part in module.parameters() if part.dim() == 2)
