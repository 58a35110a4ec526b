"""What one batch, forward and backward, says of a network: plain numbers, layer by layer.

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
from snnlab.nn.layer import Counts, valid_steps
from snnlab.nn.neurons.base import Neuron, exact, named_neurons, rounded
from snnlab.nn.neurons.time_constants import Constant
from snnlab.nn.surrogate import Surrogate, watching


class Spiking(NamedTuple):
    """What only a layer that spikes has.

    Attributes:
        v_threshold: Firing threshold, the mean of those that are learned.
        reach: Largest membrane of all neurons, samples and steps, in thresholds.
        silent: Fraction of the neurons that never spike in the batch.
        saturated: Fraction of the neurons, over all samples, that spike at nearly each step, and can say no more.
        over: Fraction of the neurons and steps at which a membrane holds two thresholds or more, so that it spikes
            whatever comes next.
        passes: Mean of the surrogate over all neurons and steps, as a part of its peak: what it lets through.
        width: Half width of the surrogate at half its peak, in thresholds.
        membranes: How many neurons and steps are in each bin of `membranes.EDGES`, all beyond in the outer ones.
    """

    v_threshold: float
    reach: float
    silent: float
    saturated: float
    over: float
    passes: float
    width: float
    membranes: tuple[int, ...] = ()


class Layer(NamedTuple):
    """One layer of neurons, or the network's output where no neurons give it.

    Attributes:
        name: Dotted name.
        drive_mean: Mean of what arrives at a neuron at a step.
        drive_std: Its deviation over neurons, samples and steps.
        per_step: Outputs that are spikes, a neuron and step; None where nothing spikes.
        first: The step of the first spike, or of the first output that is not 0, from 0; None: never.
        gradient: Norm of the loss's gradient at its output.
        weights: Norm of the weights in front of it, its own and its feedback's with them.
        weight_gradient: Norm of their gradient.
        update: How much a step of the optimizer changes them, as a part of their norm; None where it was not tried.
        constants: Its time constants.
        drive_gradient: Norm of the loss's gradient at its input at each step; empty where none reaches it.
    """

    name: str
    neurons: int
    drive_mean: float
    drive_std: float
    per_step: float | None
    first: int | None
    gradient: float
    weights: float
    weight_gradient: float
    update: float | None
    constants: tuple[Constant, ...]
    spiking: Spiking | None
    drive_gradient: tuple[float, ...] = ()


class Vitals(NamedTuple):
    """A network's answer to one batch.

    Attributes:
        layers: In the order in which they answer.
        dt: Length of a step, ms, or None.
        events: What the frames hold in each channel, summed over the batch without signs.
        input_first: First step in which a frame holds anything, from 0; None: never.
        input_mean: Mean of what a cell holds at a step.
        input_std: Its deviation.
        length: Mean number of valid steps of a recording.
        wakes: Of layers that are silent and were watched through some steps of training, the step after which a neuron
            spiked; None: after none of them.
    """

    layers: tuple[Layer, ...]
    steps: int
    samples: int
    dt: float | None
    loss: float
    events: tuple[float, ...]
    input_first: int | None
    input_mean: float
    input_std: float
    length: float
    wakes: Mapping[str, int | None] = {}

    def layer(self, name: str) -> Layer:
        """Return a layer by name."""
        return next(layer for layer in self.layers if layer.name == name)


MakeOptimizer = Callable[[nn.Module], Optimizer]
# Under this name stands what drives no neuron, but the network's output.
OUTPUT = ""


class Weights(NamedTuple):
    """The weights in front of a layer, with its own; see `vitals.Layer`."""

    norm: float
    gradient: float
    update: float | None


def weights(network: Network, make_optimizer: MakeOptimizer | None) -> dict[str, Weights]:
    """Return norms by layer after a backward pass, and try one step of an optimizer, which changes the weights."""
    groups = weight_groups(network)
    norms = {name: norm(parameters) for name, parameters in groups.items()}
    gradients = {name: norm(p.grad for p in parameters if p.grad is not None) for name, parameters in groups.items()}
    before = {name: [p.detach().clone() for p in parameters] for name, parameters in groups.items()}
    if make_optimizer is None:
        return {name: Weights(norms[name], gradients[name], None) for name in groups}
    make_optimizer(network).step()
    changes = {name: change(parameters, before[name]) for name, parameters in groups.items()}
    return {
        name: Weights(norms[name], gradients[name], changes[name] / norms[name] if norms[name] else None)
        for name in groups
    }


def weight_groups(network: Network) -> dict[str, list[nn.Parameter]]:
    """Return the parameters before each layer of neurons, with its own; the rest is the output's."""
    names = [name for name, _ in named_neurons(network)]
    groups: dict[str, list[nn.Parameter]] = {}
    waiting: list[nn.Parameter] = []
    for name, module in network.named_modules():
        waiting.extend(module.parameters(recurse=False))
        owner = next((neuron for neuron in names if name == neuron or name.startswith(f"{neuron}.")), None)
        if owner is not None:
            groups.setdefault(owner, []).extend(waiting)
            waiting = []
    return {**groups, OUTPUT: waiting}


def norm(tensors: Iterable[Tensor]) -> float:
    """Return the norm of all values of some tensors together."""
    return sum(float(tensor.detach().square().sum(dtype=torch.float64)) for tensor in tensors) ** 0.5


def change(parameters: Sequence[Tensor], before: Sequence[Tensor]) -> float:
    """Return the norm of the way from earlier values to those of now."""
    return norm(parameter.detach() - old for parameter, old in zip(parameters, before, strict=True))


# A membrane of so many thresholds still holds one after its spike.
TWO = 2.0
# The bins of a distribution of membranes, in thresholds; the outer two hold all that is beyond.
LOW, HIGH, BINS = -4.0, 4.0, 80
EDGES = tuple(LOW + (HIGH - LOW) * edge / BINS for edge in range(BINS + 1))


class Membranes(NamedTuple):
    """What is said of membranes in `vitals.Spiking`."""

    v_threshold: float
    reach: float
    over: float
    passes: float
    width: float
    spread: tuple[int, ...]


class _Look(NamedTuple):
    distance: Tensor
    surrogate: Surrogate
    v_threshold: float | Tensor


def membranes(neuron: Neuron, x: Tensor, lengths: Tensor) -> Membranes | None:
    """Take a layer once more through its input, by the plain loop, and look at every spike that is decided.

    Args:
        neuron: The layer.
        x: What arrived at it.
        lengths: Valid steps of each sample.

    Shape:
        x: `[T, B, ...]`; lengths: `[B]`. Returns None for a neuron that decides by itself, without `spike`.
    """
    looks: list[_Look] = []
    spread = torch.zeros(BINS, dtype=torch.int64, device=x.device)
    reach, total, over, number, width, threshold = -torch.inf, 0.0, 0, 0, 0.0, 0.0
    x, whole = exact(x), bool((lengths >= len(x)).all())
    with torch.no_grad(), watching(lambda *look: looks.append(_Look(*look))):
        state, k = neuron.initial_state(x[0]), rounded(neuron.coefficients(), x)
        for t, x_t in enumerate(x):
            looks.clear()
            state = neuron.step(x_t, state, k)[1]
            if not looks:
                return None
            last = looks[-1]  # with a delayed reset the step's own spike is the later one
            bell, held = _bell(last), 1.0 + last.distance / last.v_threshold
            if not whole:
                valid = lengths > t
                if not bool(valid.any()):
                    break
                bell, held = bell[valid], held[valid]
            reach = max(reach, float(held.max()))
            over += int((held >= TWO).sum())
            spread += _binned(held)
            total += float(bell.sum(dtype=torch.float64))
            number += bell.numel()
            width, threshold = _width(last), _mean(last.v_threshold)
    return Membranes(threshold, reach, over / number, total / number, width, tuple(spread.tolist()))


def _binned(held: Tensor) -> Tensor:
    places = held.sub(LOW).mul_(BINS / (HIGH - LOW)).clamp_(0, BINS - 1).nan_to_num_(0.0).int()
    # In whatever order they lie in memory, so that none is copied.
    axes = sorted(range(places.dim()), key=places.stride, reverse=True)
    return torch.bincount(places.permute(axes).reshape(-1), minlength=BINS)


def _bell(look: _Look) -> Tensor:
    """Return the surrogate as a part of its peak; some library's is negative above the threshold."""
    height: Any = look.surrogate.factors(look.v_threshold)[1]
    return (look.surrogate.derivative(look.distance, look.v_threshold) / height).abs()


def _width(look: _Look) -> float:
    size = look.surrogate.size
    return size.width / _mean(look.v_threshold) if size.absolute else size.width


def _mean(value: float | Tensor) -> float:
    return float(torch.as_tensor(value).mean())


Objective = Callable[[Tensor, Counts], Tensor]
# A neuron that spikes at so many of its steps is as good as always on.
ALWAYS = 0.9


class _Seen:
    """What went through one layer, in one call or step by step, and the gradient that came back."""

    def __init__(self) -> None:
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.square = 0.0
        self.drive_squares: dict[int, Tensor] = {}

    def __call__(self, layer: nn.Module, given: tuple[Tensor, ...], output: Any) -> None:
        y: Tensor = output[0] if isinstance(output, tuple) else output
        if given[0].requires_grad:
            given[0].register_hook(partial(self._add_drive, len(self.inputs)))
        self.inputs.append(given[0].detach())
        self.outputs.append(y.detach())
        if y.requires_grad:
            y.register_hook(self._add)

    def _add(self, gradient: Tensor) -> None:
        self.square += float(torch.linalg.vector_norm(gradient, dtype=torch.float64)) ** 2

    def _add_drive(self, call: int, gradient: Tensor) -> None:
        axes = tuple(range(1, gradient.dim()))
        self.drive_squares[call] = torch.linalg.vector_norm(gradient.detach(), dim=axes, dtype=torch.float64).square()

    def drive_gradient(self) -> tuple[float, ...]:
        """Return the gradient's norm at the input at each step, or nothing where none came."""
        if not self.drive_squares:
            return ()
        none = {call: x.new_zeros(x.shape[0], dtype=torch.float64) for call, x in enumerate(self.inputs)}
        squares = {**none, **self.drive_squares}
        return tuple(torch.cat([squares[call] for call in sorted(squares)]).sqrt().tolist())


def measure(
    network: Network,
    x: Tensor,
    lengths: Tensor,
    objective: Objective,
    *,
    dt: float | None,
    make_optimizer: MakeOptimizer | None = None,
) -> Vitals:
    """Return what a batch does in a network; with an optimizer its weights are a step further on afterwards.

    Args:
        x: Frames.
        lengths: Valid steps of each sample.
        objective: From the network's output and its counts to the loss.
        dt: Length of a step, ms; None where steps have no length.
        make_optimizer: What makes an optimizer, of which one step is tried, or None.

    Shape:
        x: `[T, B, ...]`; lengths: `[B]`, int64.
    """
    counts: Counts = {}
    network.zero_grad(set_to_none=True)
    with _looking(network) as seen:
        y, _ = network(x, lengths=lengths, counts=counts)
        seen[OUTPUT](network, (y,), y)
        loss = objective(y, counts)
        loss.backward()
    last = [name for name, _ in network.line()][-1]
    neurons = dict(named_neurons(network))
    # Before the optimizer's step, since the membranes are run once more.
    spiking = {
        name: _spiking(neuron, seen[name], counts[name].detach(), lengths)
        for name, neuron in neurons.items()
        if name in counts and seen[name].outputs
    }
    of_weights = weights(network, make_optimizer)
    names = [name for name in neurons if seen[name].outputs] + ([] if last in neurons else [OUTPUT])
    layers = [
        _layer(
            name or last, neurons.get(name), seen[name], counts.get(name), spiking.get(name), of_weights[name], lengths
        )
        for name in names
    ]
    valid = valid_steps(lengths, x.shape[0], x)
    x = (x if valid is None else torch.where(valid, x, 0)).detach()
    return Vitals(
        layers=tuple(layers),
        steps=x.shape[0],
        samples=x.shape[1],
        dt=dt,
        loss=float(loss.detach()),
        events=_channels(x),
        input_first=_first(x),
        input_mean=float(x.mean()),
        input_std=float(x.std()),
        length=float(lengths.double().mean()),
    )


@contextmanager
def _looking(network: Network) -> Iterator[dict[str, _Seen]]:
    """Look at all neurons by name while the network runs; a place for its output is there too."""
    seen = {OUTPUT: _Seen()}
    handles = []
    for name, neuron in named_neurons(network):
        seen[name] = _Seen()
        handles.append(neuron.register_forward_hook(seen[name]))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _layer(
    name: str,
    neuron: Neuron | None,
    seen: _Seen,
    counts: Tensor | None,
    spiking: Spiking | None,
    of_weights: Weights,
    lengths: Tensor,
) -> Layer:
    drive, y = _joined(seen.inputs), _joined(seen.outputs)
    valid = valid_steps(lengths, drive.shape[0], drive)
    drive = drive if valid is None else drive[valid.expand_as(drive)]
    total = None if counts is None else float(counts.detach().sum(dtype=torch.float64))
    neurons = y[0, 0].numel()
    return Layer(
        name=name,
        neurons=neurons,
        drive_mean=float(drive.mean()),
        drive_std=float(drive.std()),
        per_step=None if total is None else total / (int(lengths.sum()) * neurons),
        first=_first(y),
        gradient=seen.square**0.5,
        drive_gradient=seen.drive_gradient(),
        weights=of_weights.norm,
        weight_gradient=of_weights.gradient,
        update=of_weights.update,
        constants=() if neuron is None else tuple(neuron.constants()),
        spiking=spiking,
    )


def _spiking(neuron: Neuron, seen: _Seen, counts: Tensor, lengths: Tensor) -> Spiking | None:
    found = membranes(neuron, _joined(seen.inputs), lengths)
    if found is None:
        return None
    per_step = counts / lengths.reshape(-1, *[1] * (counts.dim() - 1))
    several = float(_joined(seen.outputs).max()) > 1  # spikes a step, so that a neuron can always say more
    on = torch.zeros_like(per_step) if several else per_step >= ALWAYS
    return Spiking(
        v_threshold=found.v_threshold,
        reach=found.reach,
        silent=float((counts.sum(0) == 0).double().mean()),
        saturated=float(on.double().mean()),
        over=0.0 if several else found.over,
        passes=found.passes,
        width=found.width,
        membranes=found.spread,
    )


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _first(y: Tensor) -> int | None:
    active = y.detach().flatten(1).any(1).nonzero()
    return int(active[0]) if len(active) else None


def _channels(x: Tensor) -> tuple[float, ...]:
    """Return what each channel of the frames holds, without signs; frames `[T, B, W]` are one."""
    x = x.abs()
    return (float(x.sum()),) if x.dim() == 3 else tuple(x.transpose(0, 2).flatten(1).sum(1).tolist())
