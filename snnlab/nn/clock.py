"""What in a network depends on the length of a step, where it should not.

Spikes and events are impulses: with twice the steps there are as many of them. A level, such as a bias or the membrane
of an integrator, is there at each step: with twice the steps it comes twice as often. A neuron suits one of the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor, nn

from snnlab.compat import BatchNormNd
from snnlab.nn.blocks.loop import Loop
from snnlab.nn.layers.norm import PerStepBatchNorm
from snnlab.nn.neurons.base import Neuron, named_neurons
from snnlab.nn.neurons.dialect import LATE_FEEDBACK, Dialect, Remark
from snnlab.nn.neurons.time_constants import Constant

NORMS = (BatchNormNd, nn.LayerNorm, nn.GroupNorm)

# By the power of the number of steps.
_DRIVES = {-1: "half the drive", 1: "twice the drive", 2: "four times the drive"}


class Warned(NamedTuple):
    """A remark and the layers that it is about."""

    layers: tuple[str, ...]
    remark: Remark


def clock_warnings(network: nn.Module) -> list[Warned]:
    """Return what depends on the length of a step, in the order of the layers, the same remark only once.

    The layers are taken as one chain, whose input counts events.
    """
    layers: dict[Remark, list[str]] = {}
    for name, remark in _remarks(network):
        layers.setdefault(remark, []).append(name)
    return [Warned(tuple(names), remark) for remark, names in layers.items()]


def _remarks(network: nn.Module) -> Iterator[tuple[str, Remark]]:
    source = ""  # the integrator whose level arrives, where it is no impulses
    biased: list[str] = []
    normed: list[tuple[str, Remark]] = []
    neurons = dict(named_neurons(network))
    for name, layer in network.named_modules():
        if any(name.startswith(f"{neuron}.") for neuron in neurons):
            continue  # a part of a neuron, such as its feedback
        if isinstance(layer, Neuron):
            yield from _of_neuron(name, layer, source, biased, normed)
            source, biased, normed = "" if layer.spiking else name, [], []
        elif isinstance(layer, Loop):
            yield name, LATE_FEEDBACK
        elif isinstance(layer, NORMS):
            normed, biased = [(name, _normed(layer))], []  # an earlier bias is among what it normalises
        elif isinstance(getattr(layer, "bias", None), Tensor):
            biased.append(name)


def _of_neuron(
    name: str, neuron: Neuron, source: str, biased: list[str], normed: list[tuple[str, Remark]]
) -> Iterator[tuple[str, Remark]]:
    if getattr(neuron, "dt", None) is None:
        return  # there is no dt to depend on
    dialect, constants = neuron.dialect(), neuron.constants()
    yield from normed
    own_clock = [constant for constant in constants if constant.given != "ms"]
    if own_clock:  # the rest depends on it anyhow
        yield from ((name, _given(constant)) for constant in own_clock)
    elif dialect.drive_power is not None:
        yield from ((layer, _bias(dialect.drive_power + 1)) for layer in biased if dialect.drive_power != -1)
        if remark := _drive(dialect, source):
            yield name, remark
    yield from ((name, _coarse(constant)) for constant in constants if _is_coarse(constant))
    yield from ((name, remark) for remark in dialect.remarks)


def _normed(layer: nn.Module) -> Remark:
    whole = isinstance(layer, BatchNormNd) and not isinstance(layer, PerStepBatchNorm)
    over = "what arrives in a step, over all steps" if whole else "each step by itself"
    return Remark(f"normalises {over}, so that what it learns fits one dt", "train again where dt changes")


def _bias(power: int) -> Remark:
    return Remark(f"a bias acts once a step: twice the bins, {_DRIVES[power]}", "bias: false")


def _drive(dialect: Dialect, source: str) -> Remark | None:
    """Return what is wrong with the gain for what arrives."""
    assert dialect.drive_power is not None
    power = dialect.drive_power + bool(source)
    if power == 0:
        return None
    arrives = f"the level of {source}, which comes once a step" if source else "impulses (spikes or events)"
    cure = dialect.cures.get(power, "keep dt")
    return Remark(
        f"an input_gain of {dialect.input_gain} does not suit {arrives}: twice the bins, {_DRIVES[power]}", cure
    )


def _given(constant: Constant) -> Remark:
    how = f"{constant.steps:.4g} steps" if constant.given == "steps" else f"a factor, {constant.factor:.4g} a step"
    return Remark(
        f"{constant.name} is given as {how}: twice the bins, half the time constant",
        f"{constant.name}: {constant.ms:.4g}",
    )


def _is_coarse(constant: Constant) -> bool:
    return constant.given == "ms" and constant.steps < (2.0 if constant.decay == "euler" else 1.0)


def _coarse(constant: Constant) -> Remark:
    if constant.decay == "euler":
        return Remark(
            f"{constant.name} is {constant.steps:.3g} steps, where decay: euler needs 2 or more",
            "decay: exact",
        )
    return Remark(
        f"{constant.name} is {constant.steps:.3g} steps long, so that what happens within a step is lost", "more bins"
    )
