"""Compares the event-driven engine with plain dense loops, and with the network in PyTorch, after every step.

Axes: T steps, then those of one sample at one step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import nan
from typing import NamedTuple

import numpy as np
import torch

from snnlab.nn.dense_loops import DenseLoops
from snnlab.nn.layer import Counts, only_spikes
from snnlab.nn.network import Network
from snnlab.nn.neurons.base import Neuron, cast_coefficients, named_neurons
from snnlab.nn.record import evaluation, state_variables
from snnlab.step_events import StepColumns
from snnlab.streaming.event_stream import EventStream
from snnlab.streaming.grid_proof import GridProof, grid_proofs

States = Mapping[str, Mapping[str, np.ndarray]]


@dataclass
class LayerCertificate:
    """Differences in the neurons of a layer.

    Attributes:
        name: Name of the neurons.
        neurons: Their number.
        spikes: Number of spikes in dense loops; None for a layer that does not spike.
        states: Names of a neuron's states.
        states_differ: Number of states with other bits than in dense loops, over all steps.
        count_differs: Number of steps with another number of spikes than in dense loops.
        spikes_differ: Number of neurons and steps with other spikes in the network.
        step_distance: How far a state, or an output, is at most from that of one step of the neuron in PyTorch, which
            begins with the same states; 0 for a neuron whose operations have the same bits.
    """

    name: str
    neurons: int
    states: tuple[str, ...]
    spikes: int | None = None
    states_differ: int = 0
    count_differs: int = 0
    spikes_differ: int = 0
    step_distance: float = 0.0


class FirstDifference(NamedTuple):
    """The first spike that dense loops and the network do not share.

    Attributes:
        step: Its step, from 0.
        layer: Name of the neurons.
        at: The neuron's indices.
        below: How far the membrane of the one without the spike is below the threshold; NaN if it is not known.
        threshold: The threshold; NaN if there is none.
    """

    step: int
    layer: str
    at: tuple[int, ...]
    below: float
    threshold: float


@dataclass
class Certificate:
    """What a comparison of all steps found.

    Attributes:
        outputs_differ: Number of outputs that differ from dense loops.
        outputs: Number of outputs.
        first_step: First step in which the engine differs from dense loops, and the layer; None: none.
        first_spike: First spike that the network does not share; None: none.
        proofs: Whether the sums have the same bits in any order.
    """

    steps: int = 0
    events: int = 0
    layers: dict[str, LayerCertificate] = field(default_factory=dict)
    outputs: int = 0
    outputs_differ: int = 0
    first_step: tuple[int, str] | None = None
    first_spike: FirstDifference | None = None
    proofs: list[GridProof] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        """Whether all states, numbers of spikes and outputs are those of dense loops, bit for bit."""
        differ = sum(layer.states_differ + layer.count_differs for layer in self.layers.values())
        return differ + self.outputs_differ == 0

    @property
    def states(self) -> int:
        """Number of states that were compared."""
        return self.steps * sum(layer.neurons * len(layer.states) for layer in self.layers.values())

    @property
    def spikes_differ(self) -> int:
        """Number of neurons and steps with other spikes in the network."""
        return sum(layer.spikes_differ for layer in self.layers.values())


def certify(network: Network, stream: EventStream, steps: Iterable[StepColumns], frames: np.ndarray) -> Certificate:
    """Run a recording through the engine, dense loops, and the network, and compare them after every step.

    Args:
        network: The stream's network, in evaluation mode.
        stream: The stream, in the state before its first step.
        steps: The events of each step.
        frames: The same events as frames.

    Shape:
        frames: `[T, ...]`, float32.
    """
    found, other = Certificate(), _InPyTorch(network)
    dense = DenseLoops(stream.form)
    neurons = {name: module for name, module in named_neurons(network) if name in dense.states}
    counted = _SpikeCounts(stream)
    for number, (columns, frame) in enumerate(zip(steps, frames, strict=True)):
        y, expected = stream.step(*columns), dense.step(frame)
        found.steps, found.events = number + 1, found.events + columns[0].size
        other.step(frame)
        _compare_with_dense(found, dense, stream.states(), counted.take(), number)
        found.outputs += expected.size
        differ = int(np.count_nonzero(y.reshape(-1) != expected.reshape(-1)))
        found.outputs_differ += differ
        if differ and found.first_step is None:
            found.first_step = number, "the output"
        _compare_spikes(found, dense, other, number)
        for name, module in neurons.items():
            layer = found.layers[name]
            layer.step_distance = max(layer.step_distance, _step_distance(dense, name, module, other))
    found.proofs = grid_proofs(stream.layers, dense.largest)
    return found


def _step_distance(dense: DenseLoops, name: str, module: Neuron, other: _InPyTorch) -> float:
    """Return how far the last step of a layer is from that of its neurons in PyTorch, with the same states before."""
    neuron, _ = module.parts()
    before = dense.before[name]
    shape = next(other.states[name][key].shape for key in before)

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.tensor(values).reshape(shape)

    x = tensor(dense.inputs[name])
    state = type(neuron.initial_state(x))(*(tensor(before[key]) for key in before))
    with torch.no_grad():
        y, after = neuron.step(x, state, cast_coefficients(neuron.coefficients(), x))
    pairs = [(dense.outputs[name], y), *zip(dense.states[name].values(), after, strict=True)]
    return max(float(np.abs(own.ravel() - theirs.numpy().ravel()).max()) for own, theirs in pairs)


class _InPyTorch:
    """The network, one step a call."""

    def __init__(self, network: Network) -> None:
        self._network, self._state = network, None
        self.states: dict[str, dict[str, torch.Tensor]] = {}
        self.spikes: dict[str, np.ndarray] = {}

    def step(self, frame: np.ndarray) -> None:
        counts: Counts = {}
        with evaluation(self._network), torch.no_grad():
            _, self._state = self._network(torch.from_numpy(frame)[None, None], self._state, counts=counts)
        self.states = dict(state_variables(self._state or {}))
        self.spikes = {name: spikes[0].numpy() for name, spikes in only_spikes(counts).items()}


class _SpikeCounts:
    """The numbers of spikes of a stream's last step, by layer."""

    def __init__(self, stream: EventStream) -> None:
        self._stream, self._before = stream, self._total(stream)

    def _total(self, stream: EventStream) -> dict[str, int]:
        return {name: layer["spikes"] for name, layer in stream.stats()["layers"].items()}

    def take(self) -> dict[str, int]:
        total = self._total(self._stream)
        found = {name: count - self._before[name] for name, count in total.items()}
        self._before = total
        return found


def _compare_with_dense(
    found: Certificate, dense: DenseLoops, states: States, counts: Mapping[str, int], number: int
) -> None:
    for name, expected in dense.states.items():
        size = dense.inputs[name].size
        layer = found.layers.setdefault(name, LayerCertificate(name, size, tuple(expected)))
        bits = sum(
            np.count_nonzero(states[name][key].view(np.int32) != values.view(np.int32))
            for key, values in expected.items()
        )
        layer.states_differ += int(bits)
        counts_differ = False
        if (spikes := dense.spikes.get(name)) is not None:
            total = int(spikes.sum())
            counts_differ = counts[name] != total
            layer.spikes = (layer.spikes or 0) + total
            layer.count_differs += counts_differ
        if (bits or counts_differ) and found.first_step is None:
            found.first_step = number, name


def _compare_spikes(found: Certificate, dense: DenseLoops, other: _InPyTorch, number: int) -> None:
    for name, theirs in other.spikes.items():
        spikes = dense.spikes[name].reshape(theirs.shape)
        differ = spikes != theirs
        if not differ.any():
            continue
        found.layers[name].spikes_differ += int(np.count_nonzero(differ))
        if found.first_spike is None:
            at = tuple(int(n) for n in np.argwhere(differ)[0])
            below, threshold = _below(dense, other, name, at, theirs.shape)
            found.first_spike = FirstDifference(number, name, at, below, threshold)


def _below(
    dense: DenseLoops, other: _InPyTorch, name: str, at: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[float, float]:
    """Return how far the membrane of the one with fewer spikes is below the threshold, and the threshold."""
    form, x, before = dense.form.neurons[name].form, dense.inputs[name], dense.before[name]
    if form.threshold is None:
        return nan, nan
    u, threshold = (float(form.value(node, x, before).reshape(shape)[at]) for node in form.threshold)
    if dense.spikes[name].reshape(shape)[at] >= other.spikes[name][at]:
        v = other.states[name].get("v")
        u = nan if v is None else float(v[0].numpy()[at])
    return threshold - u, threshold
