"""snnTorch's state dicts: layers are matched in order, and so are neurons, whose constants are part of the file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from snnlab.errors import DataError
from snnlab.interop.layer_order import (
    Matched,
    Target,
    full_name,
    layer_targets,
    number_text,
    pairs_of_layers,
    require_as_many,
    setting_place,
    stored_value,
)
from snnlab.nn.network import Network
from snnlab.nn.neurons.base import Neuron
from snnlab.printable import printable

# Every neuron of snnTorch has it: 0, 1 and 2 are its "subtract", "zero" and "none".
_RESET = "reset_mechanism_val"
_RESETS = ("subtract", "value", "none")
_CONSTANTS = ("threshold", "alpha", "beta")
_FACTOR = "graded_spikes_factor"


class _Neuron(NamedTuple):
    """A neuron of the network with its place: in the network, and in the configuration."""

    name: str
    module: Neuron
    place: str


def match_snntorch(path: Path, tensors: Mapping[str, Tensor], network: Network) -> Matched:
    """Return the names in the network of the tensors of one of snnTorch's state dicts.

    The n-th layer of a type in the file is the n-th layer of this type in the network, and the n-th neuron the n-th
    neuron. Thresholds, factors and resets of the file must be the network's settings; those that are learned here, or
    have a value per neuron, are loaded.

    Args:
        path: The file, for messages.
        tensors: Its tensors by name, in its order.
        network: The network.

    Raises:
        DataError: if the file has more or fewer layers of a type or neurons, or a constant is not the network's.
    """
    theirs = [name.removesuffix(_RESET).removesuffix(".") for name in tensors if f".{name}".endswith(f".{_RESET}")]
    if not theirs:
        raise DataError(path, f"has no neurons of snnTorch: no {_RESET}")
    ours = [
        _Neuron(name, module, setting_place(network, name))
        for name, module in network.named_modules()
        if isinstance(module, Neuron) and module.info().feedback is None and module.info().reset is not None
    ]
    require_as_many(path, "neuron", theirs, [neuron.name for neuron in ours])
    converted, targets, constants = dict(tensors), dict[str, Target](), set[str]()
    for layer, neuron in zip(theirs, ours, strict=True):
        constants |= {full_name(neuron.name, own) for own in neuron.module.state_dict()}
        _require_late_reset(path, layer, neuron)
        _require_reset(path, full_name(layer, _RESET), tensors, neuron)
        targets |= {full_name(layer, _RESET): tensors[full_name(layer, _RESET)].item(), full_name(layer, _FACTOR): 1.0}
        for own in _CONSTANTS:
            if (name := full_name(layer, own)) in tensors:
                targets[name], converted[name] = _constant(path, name, own, tensors[name], neuron)
    weights = {name: value for name, value in tensors.items() if name not in targets}
    own = {name: value for name, value in network.state_dict().items() if name not in constants}
    for pair in pairs_of_layers(path, weights, own):
        targets |= layer_targets(path, pair, network)
    return Matched(converted, targets)


def _require_late_reset(path: Path, layer: str, neuron: _Neuron) -> None:
    """Raise an error unless a neuron has snnTorch's conventions, which are no numbers of the file."""
    firing, reset = neuron.module.info().firing, neuron.module.info().reset
    if firing is None or reset is None or (firing.strict and (reset.delayed or reset.kind == "none")):
        return
    message = f"{printable(layer)} spikes above its threshold and is reset one step later, and {neuron.place} is not"
    raise DataError(path, message, "set neuron=snntorch_leaky, or threshold: strict, reset_delay: true")


def _require_reset(path: Path, name: str, tensors: Mapping[str, Tensor], neuron: _Neuron) -> None:
    number = tensors[name].item()
    theirs = _RESETS[int(number)] if number in (0, 1, 2) else None
    ours = neuron.module.info().reset
    if ours is not None and theirs != ours.kind:
        fix = f"set {neuron.place}.reset={theirs}" if theirs else ""
        raise DataError(path, f"{printable(name)} is {number:g}, and {neuron.place}.reset {ours.kind}", fix)


def _constant(path: Path, name: str, own: str, value: Tensor, neuron: _Neuron) -> tuple[Target, Tensor]:
    """Return where a threshold or a factor is stored, and the value that is stored, or the number that it must be."""
    module, shown, firing = neuron.module, printable(name), neuron.module.info().firing
    setting = "v_threshold" if own == "threshold" else own
    decay = next((decay for decay in module.decays() if decay.factor_name == own), None)
    if own != "threshold":
        if decay is None:
            raise DataError(path, f"{shown}: {neuron.place} has no {own}", "set neuron=snntorch_synaptic")
        if decay.setting != own:
            hint = f"set {neuron.place}.{own}={number_text(value)}" if value.numel() == 1 else ""
            raise DataError(path, f"{shown}: {neuron.place} has {decay.setting}, a length, in place of {own}", hint)
    found = module.stored_quantity(setting)
    if found is not None:
        return full_name(neuron.name, found.key), stored_value(path, name, value, found)
    if value.numel() != 1:
        hint = f"set {neuron.place}.learn={{{setting}: neuron}}, or .per_neuron=[{setting}]"
        raise DataError(path, f"{shown} has {value.numel():,} values, and {neuron.place}.{setting} one", hint)
    expected = decay.per_step() if decay is not None else float(firing.threshold) if firing is not None else math.nan
    if not bool(value == torch.tensor(expected, dtype=value.dtype)):
        number = number_text(value)
        raise DataError(path, f"{shown} is {number}, expected {expected:.9g}", f"set {neuron.place}.{setting}={number}")
    return expected, value
