"""Synaptic operations, membrane updates and activations of a network, counted while it answers.

As NeuroBench counts them, at a batch of one: an operation is a weight other than 0 that meets an input other than 0; it
is an accumulate (AC) where the layer's whole input of that sample and step is 0, 1 or -1, else a multiply-accumulate
(MAC). Dense operations count every weight and every input. Biases and what padding adds count nothing. Counted is what
goes into each layer, so the numbers do not depend on what is fused; steps past a sample's length count nothing.

The operations of a layer are a sum over its input's cells, each times the weights that it meets: those that are not 0
for the effective ones, all of them for the dense ones. How often a cell is other than 0 is counted apart for steps of
spikes and for others.

Axes: T steps, B samples, N steps of samples, P cells of one sample's input at one step, C channels.

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
from torch.nn import functional, functional as F

from snnlab.compat import ConvNd, ConvTransposeNd, convolve
from snnlab.compiled import compiled
from snnlab.errors import ConfigError
from snnlab.nn.blocks import Residual
from snnlab.nn.dt_checks import NORMS
from snnlab.nn.layer import OWN, Counts, valid_steps
from snnlab.nn.layers import Dropout, SumPool, Voting
from snnlab.nn.network import BuiltNetwork, Network, Shape
from snnlab.nn.neurons.base import Neuron, named_neurons, plain_loops
from snnlab.nn.neurons.recurrent import Feedback, Recurrent, Weights
from snnlab.nn.record import evaluation
from snnlab.nn.stages import FusedEvents, FusedNeuron, Stage, watched
from snnlab.nn.summary import has_weights
from snnlab.threads import share


@compiled(nogil=True)
def count(x: np.ndarray, valid: np.ndarray, cells: np.ndarray, first: int, last: int) -> None:
    """Add to `cells[part]` the cells of every part from the first to before the last.

    Shape:
        x: `[N, P]`; valid: bool `[N]`; cells: `[parts, 2, P]`, of graded steps and of others.
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


_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, SumPool)
_PASSES = (*NORMS, nn.ReLU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.GELU)
# What gives every spike on as it is, by code of its own.
_PLAIN = (nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout, Dropout)


def fan_out(built: BuiltNetwork, in_shape: Shape) -> dict[str, Tensor]:
    """Return how many outputs of the next layers with weights a lone spike of each neuron reaches.

    It passes pools, votes, norms and blocks on its way to them. Of a recurrent layer, those that come back to it are
    counted too. It is the gradient of the sum of all outputs, where each weight is 1 and each pool a sum.

    Args:
        built: The network and its shapes.
        in_shape: Input of one sample at one step.

    Shape:
        That of each spiking layer's neurons, by the key of its counts.

    Raises:
        ConfigError: naming a layer of which that is not known.
    """
    network, neurons = built.network, dict(named_neurons(built.network))
    steps = max(2, built.num_steps)  # what comes back within a loop comes at the second step
    leaves: dict[str, Tensor] = {}
    reached: list[Tensor] = [torch.zeros((), requires_grad=True)]
    hooks = [neuron.register_forward_hook(partial(_spikes, leaves, name)) for name, neuron in neurons.items()]
    hooks += [layer.register_forward_hook(partial(_passed, reached, name)) for name, layer in _between(network)]
    before = network.run_settings.checkpoint_segments
    network.configure(checkpoint_segments=0)  # computing again would call each hook twice
    try:
        with evaluation(network), plain_loops(), torch.enable_grad(), torch.random.fork_rng(devices=[]):
            network(torch.zeros(steps, 1, *in_shape))
    finally:
        network.configure(checkpoint_segments=before)
        for hook in hooks:
            hook.remove()
    if unknown := built.spiking.keys() - leaves.keys():
        raise ConfigError("", f"it is not known how far a spike of {min(unknown)} goes")
    found = torch.autograd.grad(torch.stack(reached).sum(), list(leaves.values()), allow_unused=True)
    ways = {name: _first_step(leaf, way) for (name, leaf), way in zip(leaves.items(), found, strict=True)}
    return {name: ways[name] + _back(neurons[name]) for name in built.spiking}


def _between(network: Network) -> Iterator[tuple[str, nn.Module]]:
    """Yield what has weights, pools or changes values, outside neurons, with dotted names."""
    inside = tuple(f"{name}." for name, _ in named_neurons(network))
    for name, layer in network.named_modules():
        own = not isinstance(layer, (Network, Neuron, nn.ParameterDict)) or isinstance(layer, Residual)
        if own and ".parametrizations" not in name and not name.startswith(inside):
            yield name, layer


def _spikes(leaves: dict[str, Tensor], name: str, module: nn.Module, inputs: Any, output: Any) -> Any:
    """Put a leaf of the graph in the place of a neuron's output; within a loop, one of its own at each step."""
    leaf = torch.ones_like(output[0], requires_grad=True)
    leaves.setdefault(name, leaf)
    return leaf, output[1]


def _passed(reached: list[Tensor], name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
    """Let spikes through what has no weights, each by itself, and note how many outputs those reach that have."""
    x, y = inputs[0], output[0] if isinstance(output, tuple) else output
    if isinstance(module, (ConvNd, nn.Linear, nn.RNNBase)):
        reached.append(_outputs(module, x))
        y = y.detach()
    elif isinstance(module, _PASSES):
        y = x
    elif isinstance(module, _POOLS):
        y = _sums(module, x, y)
    elif isinstance(module, Voting):
        y = x.unflatten(-1, (-1, module.group_size)).sum(-1)
    elif not _plain(module):
        raise ConfigError("", f"it is not known how many operations a spike causes in {name}")
    return (y, *output[1:]) if isinstance(output, tuple) else y


def _plain(module: nn.Module) -> bool:
    """Return whether a module hands on what comes in, or what the modules within it make of that."""
    if isinstance(module, Residual):
        return module.connect in ("add", "concat")
    within = any(True for _ in module.children())
    return isinstance(module, _PLAIN) or (within and not any(True for _ in module.parameters(recurse=False)))


def _outputs(module: nn.Module, x: Tensor) -> Tensor:
    """Return the sum of all outputs of a layer whose weights are 1."""
    if isinstance(module, nn.RNNBase):
        matrix = module.get_parameter("weight_ih_l0")
        return x.sum() * (len(matrix) * (2 if module.bidirectional else 1))
    assert isinstance(module, (ConvNd, nn.Linear))
    ones = torch.ones_like(module.weight)
    if isinstance(module, nn.Linear):
        return F.linear(x, ones).sum()
    if isinstance(module, ConvTransposeNd):
        sizes = (module.stride, module.padding, module.output_padding, module.groups, module.dilation)
        return _TRANSPOSE[len(module.kernel_size)](x, ones, None, *sizes).sum()  # type: ignore[operator]
    return convolve(module, x, ones).sum()


def _sums(pool: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return the sums of a pool's windows, `[N, C, *size]`."""
    dims = x.dim() - 2
    kernel, stride, padding, dilation = (
        each if isinstance(each, tuple) else (each,) * dims
        for each in (getattr(pool, name, 1) for name in ("kernel_size", "stride", "padding", "dilation"))
    )
    sizes = zip(x.shape[2:], y.shape[2:], kernel, stride, padding, dilation, strict=True)
    # Cells behind the last one, where a window is not filled.
    behind = [max(0, (after - 1) * step + wide * (k - 1) + 1 - n - 2 * p) for n, after, k, step, p, wide in sizes]
    padded = F.pad(x, [side for extra in reversed(behind) for side in (0, extra)])
    ones = x.new_ones(x.shape[1], 1, *kernel)
    return _CONV[dims](padded, ones, None, stride, padding, dilation, x.shape[1])


def _first_step(leaf: Tensor, way: Tensor | None) -> Tensor:
    return torch.zeros_like(leaf[0, 0]).detach() if way is None else way[0, 0]


def _back(neuron: Neuron) -> float:
    """Return the connections of a neuron to its own layer; of a convolution, those of one away from the border."""
    if not isinstance(neuron, Recurrent):
        return 0.0
    feedback = neuron.feedback
    weight = feedback.weight
    sources = weight.shape[1] if weight.dim() == 2 else weight.shape[0]
    return (weight.numel() - (0 if feedback.autapses else int(feedback.autapse.sum()))) / sources
