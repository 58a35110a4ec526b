"""Record spikes and states of all neurons at every step: the network runs one step at a time, without hooks.

A network with a layer that needs all steps runs them at once, with hooks; then the layers of single steps run again.

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.nn.layer import Counts, TemporalLayer, only_spikes, whole_recording_layer
from snnlab.nn.network import Network


class NetworkRecord(NamedTuple):
    """A network's output for one input, with the spikes and states of its layers.

    Attributes:
        y: The network's output.
        spikes: Spikes of each spiking layer, by the key of its counts: nested names are dotted.
        states: State variables, by layer and variable, such as `states["lif1"]["v"]`; each is the value at the end of
            the step, so a membrane is recorded after its reset. A layer that needs all steps at once has none.

    Shape:
        `[T, B, ...]` each.
    """

    y: Tensor
    spikes: dict[str, Tensor]
    states: dict[str, dict[str, Tensor]]


def record(network: Network, x: Tensor, *, lengths: Tensor | None = None) -> NetworkRecord:
    """Run a network in evaluation mode, from rest, and record the spikes and states of all steps.

    It restores the modules' modes and computes no gradient.

    Args:
        network: The network.
        x: Its input.
        lengths: Valid steps of each sample; later steps have no spikes and do not change the states.

    Shape:
        x: `[T, B, ...]`; lengths: `[B]`, int64.
    """
    if whole_recording_layer(network) is not None:
        return _record_at_once(network, x, lengths)
    outputs: list[Tensor] = []
    spikes: list[Counts] = []
    states: list[dict[str, dict[str, Tensor]]] = []
    with evaluation(network), torch.no_grad():
        for y, state, counts in _steps(network, x, lengths):
            outputs.append(y)
            spikes.append(counts)
            states.append(dict(state_variables(state)))
    layers = {name: {key: torch.stack([s[name][key] for s in states]) for key in of} for name, of in states[0].items()}
    return NetworkRecord(torch.cat(outputs), {key: torch.stack([s[key] for s in spikes]) for key in spikes[0]}, layers)


def step_spikes(network: Network, x: Tensor, *, lengths: Tensor | None = None) -> Tensor:
    """Run a network in evaluation mode, from rest, and return the number of spikes of all its neurons at each step.

    Args:
        network: The network.
        x: Its input.
        lengths: Valid steps of each sample; later steps have no spikes.

    Shape:
        x: `[T, B, ...]`; lengths: `[B]`, int64; returns float32 `[T, B]`.
    """
    if whole_recording_layer(network) is not None:
        of_layers = [s.flatten(2).sum(2).float() for s in _record_at_once(network, x, lengths).spikes.values()]
        return torch.stack([*of_layers, x.new_zeros(x.shape[:2], dtype=torch.float32)]).sum(0)
    spikes: list[Tensor] = []
    with evaluation(network), torch.no_grad():
        for _, _, counts in _steps(network, x, lengths):
            of_layers = [n.flatten(1).sum(1, dtype=torch.float32) for n in counts.values()]
            spikes.append(torch.stack([*of_layers, x.new_zeros(x.shape[1], dtype=torch.float32)]).sum(0))
    return torch.stack(spikes)


@contextmanager
def evaluation(module: nn.Module) -> Iterator[None]:
    """Put a module and its submodules into evaluation mode, and restore each one's mode at the end."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def _record_at_once(network: Network, x: Tensor, lengths: Tensor | None) -> NetworkRecord:
    """Record a network that needs all steps; layers in a loop are called for each step."""
    calls: dict[str, list[_Call]] = {name: [] for name, _ in _temporal_layers(network)}

    def keep(name: str, layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        calls[name].append(_Call(given[0], given[1] if len(given) > 1 else None, named.get("lengths"), *output))

    layers = dict(_temporal_layers(network))
    hooks = [layer.register_forward_hook(partial(keep, name), with_kwargs=True) for name, layer in layers.items()]
    try:
        with evaluation(network), torch.no_grad():
            y, _ = network(x, lengths=lengths)
    finally:
        for hook in hooks:
            hook.remove()
    states: dict[str, dict[str, Tensor]] = {}
    with evaluation(network), torch.no_grad():
        for name, layer in layers.items():
            steps = [dict(_fields(state)) for call in calls[name] for state in _states(layer, call)]
            if steps:
                states[name] = {key: torch.stack([step[key] for step in steps]) for key in steps[0]}
    spiking = [name for name, layer in layers.items() if getattr(layer, "spiking", False)]
    return NetworkRecord(y, {name: torch.cat([call.y for call in calls[name]]) for name in spiking}, states)


class _Call(NamedTuple):
    x: Tensor
    state: Any
    lengths: Tensor | None
    y: Tensor
    after: Any


def _temporal_layers(network: nn.Module) -> Iterator[tuple[str, TemporalLayer]]:
    """Yield the layers with a state, but blocks and what is within a layer, by their dotted names."""
    for name, layer in network.named_children():
        if isinstance(layer, TemporalLayer) and not isinstance(layer, Network):
            yield name, layer
        else:
            yield from ((f"{name}.{inner}", each) for inner, each in _temporal_layers(layer))


def _states(layer: TemporalLayer, call: _Call) -> Iterator[Any]:
    """Yield a layer's state after each step of a call."""
    if layer.whole_recording or not hasattr(call.after, "_asdict"):
        return
    state = call.state
    for t, x_t in enumerate(call.x.split(1)):
        _, state = layer(x_t, state, lengths=None if call.lengths is None else (call.lengths - t).clamp(0, 1))
        yield state


def _steps(network: Network, x: Tensor, lengths: Tensor | None) -> Iterator[tuple[Tensor, Any, Counts]]:
    """Yield output, state and spikes of each step, from rest."""
    state = None
    for t, x_t in enumerate(x.split(1)):
        counts: Counts = {}
        left = None if lengths is None else (lengths - t).clamp(0, 1)
        y, state = network(x_t, state, lengths=left, counts=counts)
        yield y, state, only_spikes(counts)


def state_variables(state: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield each layer's dotted name and its state variables by name.

    The state of a network is a dict by layer name; that of a layer is a NamedTuple. It may hold nested states: a
    NamedTuple, whose variables belong to the layer, or the dict of a nested network.
    """
    for name, value in state.items():
        if isinstance(value, Mapping):
            yield from state_variables(value, f"{within}{name}.")
        elif hasattr(value, "_asdict"):  # the state of a plugin may be any object; only named fields can be recorded
            yield within + name, dict(_fields(value))
            for part in value:
                if isinstance(part, Mapping):
                    yield from state_variables(part, f"{within}{name}.")


def _fields(state: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a NamedTuple by name, also those of the NamedTuples in it."""
    for key, part in state._asdict().items():
        if isinstance(part, Tensor):
            yield key, part
        elif hasattr(part, "_asdict"):
            yield from _fields(part)
