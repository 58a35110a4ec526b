"""One batch forward and backward through a network, with a look at every layer of neurons.

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from snnlab.diagnosis.membranes import membranes
from snnlab.diagnosis.vitals import Layer, Spiking, Vitals
from snnlab.diagnosis.weights import OUTPUT, MakeOptimizer, Weights, weights
from snnlab.nn import Network
from snnlab.nn.neurons.base import Neuron, named_neurons
from snnlab.nn.temporal import Counts, valid_steps

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
