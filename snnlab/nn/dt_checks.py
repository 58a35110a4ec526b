"""Warnings for the parts of a network that depend on dt, the length of a step, but should not.

Spikes and events are impulses: with twice as many steps, their number stays the same. A level, such as a bias or the
membrane of an integrator, is added at each step: with twice as many steps, it is added twice as often. A neuron is
correct for one of the two kinds of input.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor, nn

from snnlab.compat import BatchNormNd
from snnlab.nn.blocks import Loop
from snnlab.nn.layer import reach_of
from snnlab.nn.neurons.base import Neuron, named_neurons
from snnlab.nn.neurons.info import DELAYED_FEEDBACK, DtWarning, NeuronInfo
from snnlab.nn.neurons.time_constants import Constant

NORMS = (BatchNormNd, nn.LayerNorm, nn.GroupNorm)


class LayerWarning(NamedTuple):
    """A warning and the layers that it concerns."""

    layers: tuple[str, ...]
    warning: DtWarning


def dt_warnings(network: nn.Module) -> list[LayerWarning]:
    """Return the warnings in the order of the layers, each warning once.

    The layers are treated as one chain whose input is event counts.
    """
    layers: dict[DtWarning, list[str]] = {}
    for name, warning in _find_warnings(network):
        layers.setdefault(warning, []).append(name)
    return [LayerWarning(tuple(names), warning) for warning, names in layers.items()]


def _find_warnings(network: nn.Module) -> Iterator[tuple[str, DtWarning]]:
    source = ""  # the integrator whose level is the input; empty for impulses
    biased: list[str] = []
    normed: list[tuple[str, DtWarning]] = []
    neurons = dict(named_neurons(network))
    for name, layer in network.named_modules():
        if any(name.startswith(f"{neuron}.") for neuron in neurons):
            continue  # a part of a neuron, such as its feedback
        if isinstance(layer, Neuron):
            yield from _neuron_warnings(name, layer, source, biased, normed)
            source, biased, normed = "" if layer.spiking else name, [], []
        elif isinstance(layer, Loop):
            yield name, DELAYED_FEEDBACK
        elif isinstance(layer, NORMS):
            normed, biased = [(name, _norm_warning(layer))], []  # it normalizes an earlier bias, too
        elif isinstance(getattr(layer, "bias", None), Tensor):
            biased.append(name)


def _neuron_warnings(
    name: str, neuron: Neuron, source: str, biased: list[str], normed: list[tuple[str, DtWarning]]
) -> Iterator[tuple[str, DtWarning]]:
    if getattr(neuron, "dt", None) is None:
        return  # there is no dt
    info, constants = neuron.info(), neuron.constants()
    yield from normed
    not_in_ms = [constant for constant in constants if constant.unit != "ms"]
    if not_in_ms:  # then the gain depends on dt anyway
        yield from ((name, _not_in_ms(constant)) for constant in not_in_ms)
    elif info.drive_power is not None:
        yield from ((layer, _bias_warning(info.drive_power + 1)) for layer in biased if info.drive_power != -1)
        if warning := _gain_warning(info, source):
            yield name, warning
    yield from ((name, _coarse_warning(constant)) for constant in constants if _is_coarse(constant))
    yield from ((name, warning) for warning in info.warnings)


def _norm_warning(layer: nn.Module) -> DtWarning:
    cause = "norm_over_time" if reach_of([layer]) == "given" else "norm_of_a_step"
    return DtWarning(cause, advice="train again where dt changes")


def _bias_warning(power: int) -> DtWarning:
    return DtWarning("bias", fix=(("bias", False),), power=power)


def _gain_warning(info: NeuronInfo, source: str) -> DtWarning | None:
    """Return the warning about a gain that is not correct for the kind of input."""
    assert info.drive_power is not None
    power = info.drive_power + bool(source)
    if power == 0:
        return None
    setting = "" if info.gain is None else info.gain.setting
    gain = setting if isinstance(setting, str) else f"{setting:.4g}"
    return DtWarning("gain", fix=info.fixes.get(power, ()), about=gain, source=source, power=power)


def _not_in_ms(constant: Constant) -> DtWarning:
    in_steps = constant.unit == "steps"
    return DtWarning(
        "constant_in_steps" if in_steps else "constant_as_factor",
        fix=() if constant.ms is None else ((constant.name, constant.ms),),
        about=constant.name,
        number=constant.steps if in_steps else constant.factor,
    )


def _is_coarse(constant: Constant) -> bool:
    return constant.unit == "ms" and constant.steps < (2.0 if constant.decay == "euler" else 1.0)


def _coarse_warning(constant: Constant) -> DtWarning:
    if constant.decay == "euler":
        fix = (("decay", "exact"),)
        return DtWarning("too_short_for_euler", fix=fix, about=constant.name, number=constant.steps)
    return DtWarning("shorter_than_a_step", advice="more bins", about=constant.name, number=constant.steps)
