"""Layer statistics: numbers of each layer of a network from one forward and backward pass over a batch.

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from snnlab.nn import Network
from snnlab.nn.delays import Delays
from snnlab.nn.layer import Counts, valid_steps
from snnlab.nn.neurons.base import Neuron, cast_coefficients, named_neurons, to_full_precision
from snnlab.nn.neurons.time_constants import Constant
from snnlab.nn.surrogate import Surrogate, observe_membranes


class SpikeStatistics(NamedTuple):
    """Statistics of a spiking layer.

    Attributes:
        v_threshold: Firing threshold; the mean if several are learned.
        max_membrane: Largest membrane of all neurons, samples and steps, in thresholds.
        silent: Fraction of the neurons that never spike in the batch.
        saturated: Fraction of the neurons, over all samples, that spike at nearly each step.
        above_two: Fraction of the neurons and steps with a membrane of two thresholds or more: the neuron spikes again
            whatever its next input is.
        surrogate_mean: Mean of the surrogate gradient over all neurons and steps, as a part of its peak.
        width: Half width of the surrogate gradient at half its peak, in thresholds.
        membrane_histogram: Membranes of all neurons and steps in the bins of `EDGES`; the outer bins hold all beyond.
    """

    v_threshold: float
    max_membrane: float
    silent: float
    saturated: float
    above_two: float
    surrogate_mean: float
    width: float
    membrane_histogram: tuple[int, ...] = ()


class LayerStatistics(NamedTuple):
    """Statistics of one layer of neurons, or of the network's output if no neurons give it.

    Attributes:
        name: Dotted name.
        drive_mean: Mean input of a neuron at a step.
        drive_std: Standard deviation of the input over neurons, samples and steps.
        spikes_per_step: Spikes per neuron and step; None for a layer without spikes.
        first_step: Step of the first spike, or of the first output that is not 0, from 0; None: never.
        gradient: Norm of the loss's gradient at its output.
        weight_norm: Norm of the weights before it, its own and its feedback's included.
        weight_gradient: Norm of their gradient.
        relative_update: Norm of their change in one optimizer step, as a part of their norm; None without a step.
        constants: Its time constants.
        drive_gradient: Norm of the loss's gradient at its input at each step; empty if no gradient reaches it.
    """

    name: str
    neurons: int
    drive_mean: float
    drive_std: float
    spikes_per_step: float | None
    first_step: int | None
    gradient: float
    weight_norm: float
    weight_gradient: float
    relative_update: float | None
    constants: tuple[Constant, ...]
    spiking: SpikeStatistics | None
    drive_gradient: tuple[float, ...] = ()


class NetworkStatistics(NamedTuple):
    """Statistics of a network on one batch.

    Attributes:
        layers: In the order in which they run.
        dt: Length of a step, ms, or None.
        events: Sum of the frames' absolute values in each channel, over the batch.
        input_first: First step with a frame that is not 0, from 0; None: never.
        input_mean: Mean value of a frame's pixel at a step.
        input_std: Its standard deviation.
        mean_length: Mean number of valid steps of a recording.
        spikes_after: For each silent layer that was tested by training, the number of steps until a neuron spiked;
            None: none spiked.
    """

    layers: tuple[LayerStatistics, ...]
    steps: int
    samples: int
    dt: float | None
    loss: float
    events: tuple[float, ...]
    input_first: int | None
    input_mean: float
    input_std: float
    mean_length: float
    spikes_after: Mapping[str, int | None] = {}

    def layer(self, name: str) -> LayerStatistics:
        """Return the statistics of a layer."""
        return next(layer for layer in self.layers if layer.name == name)


MakeOptimizer = Callable[[nn.Module], Optimizer]
# The name of the weights after the last layer of neurons, which give the network's output.
OUTPUT = ""


class WeightNorms(NamedTuple):
    """Norms of the weights before a layer, its own included."""

    norm: float
    gradient: float
    relative_update: float | None


def weight_norms(network: Network, make_optimizer: MakeOptimizer | None) -> dict[str, WeightNorms]:
    """Return norms by layer after a backward pass; with an optimizer do one step, which changes the weights."""
    groups = weight_groups(network)
    norms = {name: norm(parameters) for name, parameters in groups.items()}
    gradients = {name: norm(p.grad for p in parameters if p.grad is not None) for name, parameters in groups.items()}
    before = {name: [p.detach().clone() for p in parameters] for name, parameters in groups.items()}
    if make_optimizer is None:
        return {name: WeightNorms(norms[name], gradients[name], None) for name in groups}
    make_optimizer(network).step()
    changes = {name: change_norm(parameters, before[name]) for name, parameters in groups.items()}
    return {
        name: WeightNorms(norms[name], gradients[name], changes[name] / norms[name] if norms[name] else None)
        for name in groups
    }


def weight_groups(network: Network) -> dict[str, list[nn.Parameter]]:
    """Return the parameters before each layer of neurons, its own included; the last ones under `OUTPUT`."""
    names = [name for name, _ in named_neurons(network)]
    groups: dict[str, list[nn.Parameter]] = {}
    pending: list[nn.Parameter] = []
    for name, module in network.named_modules():
        pending.extend(() if isinstance(module, Delays) else module.parameters(recurse=False))
        owner = next((neuron for neuron in names if name == neuron or name.startswith(f"{neuron}.")), None)
        if owner is not None:
            groups.setdefault(owner, []).extend(pending)
            pending = []
    return {**groups, OUTPUT: pending}


def norm(tensors: Iterable[Tensor]) -> float:
    """Return the L2 norm of all values of the tensors together."""
    return sum(float(tensor.detach().square().sum(dtype=torch.float64)) for tensor in tensors) ** 0.5


def change_norm(parameters: Sequence[Tensor], before: Sequence[Tensor]) -> float:
    """Return the L2 norm of the difference between the parameters and their earlier values."""
    return norm(parameter.detach() - old for parameter, old in zip(parameters, before, strict=True))


# A membrane of two thresholds is still at the threshold after its spike.
TWO_THRESHOLDS = 2.0
# The bins of a histogram of membranes, in thresholds; the outer two hold all values beyond.
LOW, HIGH, BINS = -4.0, 4.0, 80
EDGES = tuple(LOW + (HIGH - LOW) * edge / BINS for edge in range(BINS + 1))


class MembraneStatistics(NamedTuple):
    """The part of a spiking layer's statistics that needs its membranes."""

    v_threshold: float
    max_membrane: float
    above_two: float
    surrogate_mean: float
    width: float
    histogram: tuple[int, ...]


class _SpikeCall(NamedTuple):
    distance: Tensor
    surrogate: Surrogate
    v_threshold: float | Tensor


def membrane_statistics(neuron: Neuron, x: Tensor, lengths: Tensor) -> MembraneStatistics | None:
    """Run a layer once more on its input, in plain PyTorch, and return the statistics of its membranes.

    Args:
        neuron: The layer.
        x: Its input.
        lengths: Valid steps of each sample.

    Shape:
        x: `[T, B, ...]`; lengths: `[B]`. Returns None for a neuron that does not use `spike`.
    """
    histogram = torch.zeros(BINS, dtype=torch.int64, device=x.device)
    max_membrane, gradient_sum, above_two, count, width, threshold = -torch.inf, 0.0, 0, 0, 0.0, 0.0
    x, all_valid = to_full_precision(x), bool((lengths >= len(x)).all())
    with torch.no_grad():
        for t, last in enumerate(_spike_calls(neuron, x, lengths)):
            surrogate_gradient, relative_v = _relative_surrogate_gradient(last), 1.0 + last.distance / last.v_threshold
            if not all_valid:
                valid = lengths > t
                if not bool(valid.any()):
                    break
                surrogate_gradient, relative_v = surrogate_gradient[valid], relative_v[valid]
            max_membrane = max(max_membrane, float(relative_v.max()))
            above_two += int((relative_v >= TWO_THRESHOLDS).sum())
            histogram += _histogram(relative_v)
            gradient_sum += float(surrogate_gradient.sum(dtype=torch.float64))
            count += surrogate_gradient.numel()
            width, threshold = _width_per_threshold(last), _mean_value(last.v_threshold)
    if not count:
        return None
    return MembraneStatistics(
        threshold, max_membrane, above_two / count, gradient_sum / count, width, tuple(histogram.tolist())
    )


def _spike_calls(neuron: Neuron, x: Tensor, lengths: Tensor) -> Iterator[_SpikeCall]:
    """Yield the call of `spike` that decides the spikes of each step; nothing for a neuron without one."""
    calls: list[_SpikeCall] = []
    observed = observe_membranes(lambda *call: calls.append(_SpikeCall(*call)))
    if neuron.parallel:
        with observed:
            neuron.run(x, None, lengths, None)  # with lengths: a step may see later ones
        yield from (call._replace(distance=distance) for call in calls for distance in call.distance)
        return
    state, k = neuron.initial_state(x[0]), cast_coefficients(neuron.coefficients(), x)
    with observed:
        for x_t in neuron.weighted_input(x):
            calls.clear()
            state = neuron.step(x_t, state, k)[1]
            if not calls:
                return
            yield calls[-1]  # with a delayed reset the later call decides the spike of this step


def _histogram(relative_v: Tensor) -> Tensor:
    bins = relative_v.sub(LOW).mul_(BINS / (HIGH - LOW)).clamp_(0, BINS - 1).nan_to_num_(0.0).int()
    # Flattened in memory order, so that nothing is copied.
    axes = sorted(range(bins.dim()), key=bins.stride, reverse=True)
    return torch.bincount(bins.permute(axes).reshape(-1), minlength=BINS)


def _relative_surrogate_gradient(call: _SpikeCall) -> Tensor:
    """Return the surrogate gradient as a part of its peak; some libraries' is negative above the threshold."""
    height: Any = call.surrogate.factors(call.v_threshold)[1]
    return (call.surrogate.derivative(call.distance, call.v_threshold) / height).abs()


def _width_per_threshold(call: _SpikeCall) -> float:
    size = call.surrogate.size
    return size.width / _mean_value(call.v_threshold) if size.absolute else size.width


def _mean_value(value: float | Tensor) -> float:
    return float(torch.as_tensor(value).mean())


Objective = Callable[[Tensor, Counts], Tensor]
# A neuron that spikes at this part of its steps is saturated.
ALWAYS_ON = 0.9


class _LayerRecorder:
    """A forward hook that records a layer's inputs and outputs, of one call or of each step, and their gradients."""

    def __init__(self) -> None:
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.gradient_square = 0.0
        self.drive_squares: dict[int, Tensor] = {}

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        y: Tensor = output[0] if isinstance(output, tuple) else output
        if inputs[0].requires_grad:
            inputs[0].register_hook(partial(self._add_drive_gradient, len(self.inputs)))
        self.inputs.append(inputs[0].detach())
        self.outputs.append(y.detach())
        if y.requires_grad:
            y.register_hook(self._add_gradient)

    def _add_gradient(self, gradient: Tensor) -> None:
        self.gradient_square += float(torch.linalg.vector_norm(gradient, dtype=torch.float64)) ** 2

    def _add_drive_gradient(self, call: int, gradient: Tensor) -> None:
        axes = tuple(range(1, gradient.dim()))
        self.drive_squares[call] = torch.linalg.vector_norm(gradient.detach(), dim=axes, dtype=torch.float64).square()

    def drive_gradient(self) -> tuple[float, ...]:
        """Return the gradient's norm at the input at each step; empty if no gradient reached the input."""
        if not self.drive_squares:
            return ()
        zeros = {call: x.new_zeros(x.shape[0], dtype=torch.float64) for call, x in enumerate(self.inputs)}
        squares = {**zeros, **self.drive_squares}
        return tuple(torch.cat([squares[call] for call in sorted(squares)]).sqrt().tolist())


def measure(
    network: Network,
    x: Tensor,
    lengths: Tensor,
    objective: Objective,
    *,
    dt: float | None,
    make_optimizer: MakeOptimizer | None = None,
) -> NetworkStatistics:
    """Return the statistics of a network on one batch; with an optimizer, do one step, which changes the weights.

    Args:
        x: Frames.
        lengths: Valid steps of each sample.
        objective: Computes the loss from the network's output and its spike counts.
        dt: Length of a step, ms; None if steps have no length.
        make_optimizer: Makes the optimizer that does one step, or None.

    Shape:
        x: `[T, B, ...]`; lengths: `[B]`, int64.
    """
    counts: Counts = {}
    network.zero_grad(set_to_none=True)
    with _record_layers(network) as recorders:
        y, _ = network(x, lengths=lengths, counts=counts)
        recorders[OUTPUT](network, (y,), y)
        loss = objective(y, counts)
        loss.backward()
    last = [name for name, _ in network.layers()][-1]
    neurons = dict(named_neurons(network))
    # Before the optimizer's step, since the layers run once more for their membranes.
    spiking = {
        name: _spike_statistics(neuron, recorders[name], counts[name].detach(), lengths)
        for name, neuron in neurons.items()
        if name in counts and recorders[name].outputs
    }
    norms = weight_norms(network, make_optimizer)
    names = [name for name in neurons if recorders[name].outputs] + ([] if last in neurons else [OUTPUT])
    layers = [
        _layer_statistics(
            name or last, neurons.get(name), recorders[name], counts.get(name), spiking.get(name), norms[name], lengths
        )
        for name in names
    ]
    valid = valid_steps(lengths, x.shape[0], x)
    x = (x if valid is None else torch.where(valid, x, 0)).detach()
    return NetworkStatistics(
        layers=tuple(layers),
        steps=x.shape[0],
        samples=x.shape[1],
        dt=dt,
        loss=float(loss.detach()),
        events=_sum_per_channel(x),
        input_first=_first_active_step(x),
        input_mean=float(x.mean()),
        input_std=float(x.std()),
        mean_length=float(lengths.double().mean()),
    )


@contextmanager
def _record_layers(network: Network) -> Iterator[dict[str, _LayerRecorder]]:
    """Record all layers of neurons by name while the network runs; the entry `OUTPUT` is for the network's output."""
    recorders = {OUTPUT: _LayerRecorder()}
    handles = []
    for name, neuron in named_neurons(network):
        recorders[name] = _LayerRecorder()
        handles.append(neuron.register_forward_hook(recorders[name]))
    try:
        yield recorders
    finally:
        for handle in handles:
            handle.remove()


def _layer_statistics(
    name: str,
    neuron: Neuron | None,
    recorder: _LayerRecorder,
    counts: Tensor | None,
    spiking: SpikeStatistics | None,
    norms: WeightNorms,
    lengths: Tensor,
) -> LayerStatistics:
    drive, y = _concatenated(recorder.inputs), _concatenated(recorder.outputs)
    valid = valid_steps(lengths, drive.shape[0], drive)
    drive = drive if valid is None else drive[valid.expand_as(drive)]
    spike_sum = None if counts is None else float(counts.detach().sum(dtype=torch.float64))
    neurons = y[0, 0].numel()
    return LayerStatistics(
        name=name,
        neurons=neurons,
        drive_mean=float(drive.mean()),
        drive_std=float(drive.std()),
        spikes_per_step=None if spike_sum is None else spike_sum / (int(lengths.sum()) * neurons),
        first_step=_first_active_step(y),
        gradient=recorder.gradient_square**0.5,
        drive_gradient=recorder.drive_gradient(),
        weight_norm=norms.norm,
        weight_gradient=norms.gradient,
        relative_update=norms.relative_update,
        constants=() if neuron is None else tuple(neuron.constants()),
        spiking=spiking,
    )


def _spike_statistics(
    neuron: Neuron, recorder: _LayerRecorder, counts: Tensor, lengths: Tensor
) -> SpikeStatistics | None:
    membranes = membrane_statistics(neuron, _concatenated(recorder.inputs), lengths)
    if membranes is None:
        return None
    fraction = counts / lengths.reshape(-1, *[1] * (counts.dim() - 1))
    multi_spike = float(_concatenated(recorder.outputs).max()) > 1  # such a neuron never saturates
    saturated = torch.zeros_like(fraction) if multi_spike else fraction >= ALWAYS_ON
    return SpikeStatistics(
        v_threshold=membranes.v_threshold,
        max_membrane=membranes.max_membrane,
        silent=float((counts.sum(0) == 0).double().mean()),
        saturated=float(saturated.double().mean()),
        above_two=0.0 if multi_spike else membranes.above_two,
        surrogate_mean=membranes.surrogate_mean,
        width=membranes.width,
        membrane_histogram=membranes.histogram,
    )


def _concatenated(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _first_active_step(y: Tensor) -> int | None:
    active = y.detach().flatten(1).any(1).nonzero()
    return int(active[0]) if len(active) else None


def _sum_per_channel(x: Tensor) -> tuple[float, ...]:
    """Return the sum of absolute values in each channel of the frames; frames `[T, B, W]` are one channel."""
    x = x.abs()
    return (float(x.sum()),) if x.dim() == 3 else tuple(x.transpose(0, 2).flatten(1).sum(1).tolist())
