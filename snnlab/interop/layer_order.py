"""Layers of another project's state dict, matched with a network's by their order among the layers of their type.

Other libraries name layers by their place in the Python object, such as `conv_fc.0` or `layer1.0.conv1`; these names
differ between their versions and between users' programs. The order of the layers of one type does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from snnlab.errors import DataError, join_names
from snnlab.nn.network import Network
from snnlab.nn.neurons.learn import StoredQuantity
from snnlab.printable import printable

LEARNED = ".learned"
TIME_CONSTANT = "learned time constant"
_DENSE = {2: "linear layer", 3: "conv1d layer", 4: "conv2d layer", 5: "conv3d layer"}

# The name of a tensor of the file: a name of the network, a number that it must be equal to, or null: not used.
Target = str | float | None


class Matched(NamedTuple):
    """The tensors of a file, with constants as the network stores them, and their names in it."""

    tensors: dict[str, Tensor]
    targets: dict[str, Target]


class Pair(NamedTuple):
    """A layer of the file and its counterpart in the network, each with the names of its tensors."""

    kind: str
    theirs: str
    their_names: list[str]
    ours: str
    our_names: list[str]


def pairs_of_layers(path: Path, theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> Iterator[Pair]:
    """Yield the n-th layer of each type in the file with the n-th layer of this type in the network.

    A type is what the tensors of a layer show: convolutions by their axes, linear layers, batch normalizations.

    Args:
        path: The file, for messages.
        theirs: Its tensors by name, in its order.
        ours: The network's.

    Raises:
        DataError: if the file has more or fewer layers of a type.
    """
    there, here = _layers_by_type(theirs), _layers_by_type(ours)
    for kind in {**there, **here}:
        require_as_many(path, kind, there.get(kind, {}), here.get(kind, {}))
    for kind, layers in there.items():
        for (layer, names), (target, own_names) in zip(layers.items(), here[kind].items(), strict=True):
            yield Pair(kind, layer, names, target, own_names)


def layer_targets(path: Path, pair: Pair, network: Network) -> dict[str, Target]:
    """Return the names in the network of a layer's tensors, which have the same last part in both.

    Raises:
        DataError: if the layer has more tensors in the file.
    """
    for own in pair.their_names:
        if own not in pair.our_names:
            hint = f"set {setting_place(network, pair.ours)}.bias=true" if own == "bias" else ""
            name = printable(full_name(pair.theirs, own))
            raise DataError(path, f"{name} is not in this network's {pair.ours}", hint)
    return {full_name(pair.theirs, own): f"{pair.ours}.{own}" for own in pair.their_names}


def full_name(layer: str, own: str) -> str:
    """Return the name of a layer's tensor; a state dict of a single layer has names without a first part."""
    return f"{layer}.{own}".lstrip(".")


def _layers_by_type(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, list[str]]]:
    """Return the layers that have tensors, with their tensors' names, by type."""
    layers = dict[str, list[str]]()
    for name in tensors:
        layer, _, own = name.rpartition(".")
        layers.setdefault(layer, []).append(own)
    found = dict[str, dict[str, list[str]]]()
    for layer, names in layers.items():
        kind = _type_of(layer, {own: tensors[full_name(layer, own)].dim() for own in names})
        found.setdefault(kind, {})[layer] = names
    return found


def _type_of(layer: str, axes: Mapping[str, int]) -> str:
    """Return the type of a layer by the numbers of axes of its tensors."""
    if "running_mean" in axes:
        return "batch normalization"
    if axes == {"w": 0} or (layer.endswith(LEARNED) and axes in ({"tau_mem": 0}, {"beta": 0})):
        return TIME_CONSTANT
    if axes.keys() <= {"weight", "bias"} and axes.get("bias", 1) == 1 and axes.get("weight") in _DENSE:
        return _DENSE[axes["weight"]]
    return f"layer with {join_names(printable(name) for name in sorted(axes))}"


def require_as_many(path: Path, kind: str, theirs: Iterable[str], ours: Iterable[str]) -> None:
    """Raise an error that names the first layer left over, unless there are as many layers on both sides."""
    there, here = list(theirs), list(ours)
    if len(there) == len(here):
        return
    more = there[len(here) :] or here[len(there) :]
    whose = "its" if len(there) > len(here) else "this network's"
    left_over = printable(more[0].removesuffix(LEARNED))
    message = f"has {_count_text(len(there), kind)}, and this network {len(here)}; {whose} {left_over} is left over"
    fixes = {
        (TIME_CONSTANT, True): "its neurons learn tau: set neuron=spikingjelly_plif",
        (TIME_CONSTANT, False): "its neurons learn no tau: set neuron=spikingjelly_lif",
    }
    raise DataError(path, message, fixes.get((kind, len(there) > len(here)), ""))


def _count_text(number: int, kind: str) -> str:
    if number == 1:
        return f"1 {kind}"
    return f"{number} {kind.replace('layer', 'layers', 1) if 'layer' in kind else f'{kind}s'}"


def setting_place(network: Network, layer: str) -> str:
    """Return the place of a layer in the configuration."""
    place, before, block = "model", ".layers", network
    for name in layer.split("."):
        kind, module = block.layer_types.get(name), block.get_submodule(name)
        if kind in ("shortcut", "branch"):
            place, before = f"{place}{'.branches' if kind == 'branch' else ''}.{name}", ""
        elif kind != "copy":  # all copies have one node
            place, before = f"{place}{before}.{name}", ".layers"
        if not isinstance(module, Network):
            break
        block = module
    return place


def stored_value(path: Path, name: str, value: Tensor, quantity: StoredQuantity) -> Tensor:
    """Return a quantity of a neuron as its state dict has it; another shape stays as it is.

    Args:
        path: The file, for messages.
        name: The quantity's name in it.
        value: Its values, in the unit of the setting.
        quantity: Where the neuron stores it.
    """
    own, legal = quantity.values, quantity.legal
    if value.numel() not in (1, own.numel()):
        return value
    numbers = value.double().flatten().tolist()
    if wrong := [number for number in numbers if number not in legal]:
        raise DataError(path, f"{printable(name)} is {wrong[0]:.9g}, expected a number {legal}")
    stored = [legal.stored(number) if quantity.as_logarithm else number for number in numbers]
    return torch.tensor(stored, dtype=own.dtype).expand(own.numel()).reshape(own.shape)


def number_text(value: Tensor) -> str:
    """Return the value of a tensor with as many digits as its precision needs."""
    if value.is_floating_point() and value.dtype is not torch.float64:
        return str(value.float().numpy().flat[0])
    return str(value.item())
