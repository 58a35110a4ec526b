"""Compares the event-driven engine with plain dense loops, and with the network in PyTorch, after every step.

Axes: T steps, then those of one sample at one step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from snnlab.nn.dense_loops import DenseLoops
from snnlab.nn.layer import Counts, only_spikes
from snnlab.nn.network import Network
from snnlab.nn.network_form import network_form
from snnlab.nn.record import evaluation, state_variables
from snnlab.streaming.event_stream import EventStream
from snnlab.streaming.grid_proof import GridProof, grid_proofs
from snnlab.streaming.stream_layers import StreamNeuron

# Columns x, y, p of the events of a step.
Columns = tuple[np.ndarray, np.ndarray, np.ndarray]
Membranes = Mapping[str, np.ndarray]


@dataclass
class LayerCertificate:
    """Differences in the neurons of a layer.

    Attributes:
        name: Name of the neurons.
        neurons: Their number.
        spikes: Number of spikes in dense loops; None for a layer that does not spike.
        membranes_differ: Number of membranes with other bits than in dense loops, over all steps.
        count_differs: Number of steps with another number of spikes than in dense loops.
        spikes_differ: Number of neurons and steps with other spikes in the network.
    """

    name: str
    neurons: int
    spikes: int | None = None
    membranes_differ: int = 0
    count_differs: int = 0
    spikes_differ: int = 0


class FirstDifference(NamedTuple):
    """The first spike that dense loops and the network do not share.

    Attributes:
        step: Its step, from 0.
        layer: Name of the neurons.
        at: The neuron's indices.
        below: How far the membrane of the one without the spike is below the threshold.
        threshold: The threshold.
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
        """Whether membranes, numbers of spikes and outputs are those of dense loops, bit for bit."""
        differ = sum(layer.membranes_differ + layer.count_differs for layer in self.layers.values())
        return differ + self.outputs_differ == 0

    @property
    def membranes(self) -> int:
        """Number of membranes that were compared."""
        return self.steps * sum(layer.neurons for layer in self.layers.values())

    @property
    def spikes_differ(self) -> int:
        """Number of neurons and steps with other spikes in the network."""
        return sum(layer.spikes_differ for layer in self.layers.values())


def certify(network: Network, stream: EventStream, steps: Iterable[Columns], frames: np.ndarray) -> Certificate:
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
    dense = DenseLoops(network_form(network, frames.shape[1:]))
    neurons = {layer.neuron.name: layer.neuron for layer in stream.layers if layer.neuron.name}
    counted = _SpikeCounts(stream)
    for number, (columns, frame) in enumerate(zip(steps, frames, strict=True)):
        y, expected = stream.step(*columns), dense.step(frame)
        found.steps, found.events = number + 1, found.events + columns[0].size
        before = other.states
        other.step(frame)
        _compare_with_dense(found, dense, stream.membranes(), counted.take(), number)
        found.outputs += expected.size
        differ = int(np.count_nonzero(y.reshape(-1) != expected.reshape(-1)))
        found.outputs_differ += differ
        if differ and found.first_step is None:
            found.first_step = number, "the output"
        _compare_spikes(found, dense, other, neurons, (number, before))
    found.proofs = grid_proofs(stream.layers, dense.largest)
    return found


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
    found: Certificate, dense: DenseLoops, membranes: Membranes, counts: Mapping[str, int], number: int
) -> None:
    for name, states in dense.states.items():
        v = states["v"]
        layer = found.layers.setdefault(name, LayerCertificate(name, v.size))
        bits = np.count_nonzero(membranes[name].reshape(v.shape).view(np.int32) != v.view(np.int32))
        layer.membranes_differ += int(bits)
        counts_differ = False
        if (spikes := dense.spikes.get(name)) is not None:
            total = int(spikes.sum())
            counts_differ = counts[name] != total
            layer.spikes = (layer.spikes or 0) + total
            layer.count_differs += counts_differ
        if (bits or counts_differ) and found.first_step is None:
            found.first_step = number, name


def _compare_spikes(
    found: Certificate,
    dense: DenseLoops,
    other: _InPyTorch,
    neurons: Mapping[str, StreamNeuron],
    when: tuple[int, Mapping[str, Mapping[str, Any]]],
) -> None:
    for name, spikes in dense.spikes.items():
        theirs = other.spikes[name]
        spikes = spikes.reshape(theirs.shape)
        differ = spikes != theirs
        if not differ.any():
            continue
        found.layers[name].spikes_differ += int(np.count_nonzero(differ))
        if found.first_spike is None:
            at = tuple(int(n) for n in np.argwhere(differ)[0])
            fewer_in_dense = spikes[at] < theirs[at]
            v = dense.states[name]["v"] if fewer_in_dense else other.states[name]["v"][0].numpy()
            threshold = _threshold(neurons[name], at, when[1].get(name, {}))
            below = threshold - float(v.reshape(spikes.shape)[at])
            found.first_spike = FirstDifference(when[0], name, at, below, threshold)


def _threshold(neuron: StreamNeuron, at: Sequence[int], before: Mapping[str, Any]) -> float:
    """Return the threshold of a neuron in a step, which earlier spikes may have raised."""

    def of(coefficient: float | np.ndarray) -> float:
        values = np.asarray(coefficient)
        place = (*at, 0, 0)[: values.ndim]
        return float(values[tuple(min(n, size - 1) for n, size in zip(place, values.shape, strict=True))])

    raised = of(neuron.adaptation) * float(before["w"][0].numpy()[tuple(at)]) if neuron.adapts and before else 0.0
    return of(neuron.v_threshold) + raised
