"""What one batch, forward and backward, says of a network: plain numbers, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from snnlab.nn.neurons.time_constants import Constant


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
