"""Names of SpikingJelly's state dicts: the layers of each type are matched in order.

SpikingJelly names layers by their place in the Python object, such as `conv_fc.0` or `layer1.0.conv1`; these names
differ between its versions and between users' programs. The order of the layers of one type does not. Layers of
transformers are joined and sorted first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from snnlab.errors import DataError, join_names
from snnlab.nn.network import Network
from snnlab.nn.neurons.membrane import LeakyMembrane
from snnlab.printable import printable

_LEARNED = ".learned"
_TIME_CONSTANT = "learned time constant"
_DENSE = {2: "linear layer", 3: "conv1d layer", 4: "conv2d layer", 5: "conv3d layer"}
# A projection that is one of three there and part of `qkv` here.
_PART = re.compile(r"(?P<block>(?:.*\.)?)(?P<part>[qkv])_(?P<layer>conv|bn)\.(?P<own>\w+)")
# QKFormer's embeddings and stages, which SpikingJelly registers one kind after the other.
_STAGE = re.compile(r"(?P<kind>patch_embed|stage)(?P<number>\d+)\.")


class Matched(NamedTuple):
    """The tensors of a file with SpikingJelly's time constants as the network stores them, and their names in it."""

    tensors: dict[str, Tensor]
    targets: dict[str, str]


def match_spikingjelly(path: Path, tensors: Mapping[str, Tensor], network: Network) -> Matched:
    """Return the names in the network of the tensors of one of SpikingJelly's state dicts.

    The n-th layer of a type in the file is the n-th layer of this type in the network; a type is what the tensors of a
    layer show: convolutions by their axes, linear layers, batch normalizations, and the `w` of ParametricLIFNode, for
    which 1 / tau = sigmoid(w).

    Args:
        path: The file, for messages.
        tensors: Its tensors by name, in its order.
        network: The network.

    Raises:
        DataError: if the file has more or fewer layers of a type, or a layer has more tensors there.
    """
    tensors = in_order_of_use(tensors, network.state_dict())
    theirs, ours = _by_type(tensors), _by_type(network.state_dict())
    for kind in {**theirs, **ours}:
        _require_as_many(path, kind, theirs.get(kind, {}), ours.get(kind, {}))
    converted, targets = dict(tensors), dict[str, str]()
    for kind, layers in theirs.items():
        for (layer, own_names), (target, names) in zip(layers.items(), ours[kind].items(), strict=True):
            if kind == _TIME_CONSTANT:
                name, (setting,) = f"{layer}.w".lstrip("."), names
                targets[name] = f"{target}.{setting}"
                converted[name] = _stored(tensors[name], network, target.removesuffix(_LEARNED), setting)
                continue
            for own in own_names:
                name = f"{layer}.{own}".lstrip(".")
                targets[name] = f"{target}.{own}"
                if own not in names:
                    hint = f"set {_setting(network, target)}.bias=true" if own == "bias" else ""
                    raise DataError(path, f"{printable(name)} is not in this network's {target}", hint)
    return Matched(converted, targets)


def _by_type(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, list[str]]]:
    """Return the layers that have tensors, with their tensors' names, by type."""
    layers = dict[str, list[str]]()
    for name in tensors:
        layer, _, own = name.rpartition(".")
        layers.setdefault(layer, []).append(own)
    found = dict[str, dict[str, list[str]]]()
    for layer, names in layers.items():
        kind = _type_of(layer, {own: tensors[f"{layer}.{own}".lstrip(".")].dim() for own in names})
        found.setdefault(kind, {})[layer] = names
    return found


def _type_of(layer: str, axes: Mapping[str, int]) -> str:
    """Return the type of a layer by the numbers of axes of its tensors."""
    if "running_mean" in axes:
        return "batch normalization"
    if axes == {"w": 0} or (layer.endswith(_LEARNED) and axes in ({"tau_mem": 0}, {"beta": 0})):
        return _TIME_CONSTANT
    if axes.keys() <= {"weight", "bias"} and axes.get("bias", 1) == 1 and axes.get("weight") in _DENSE:
        return _DENSE[axes["weight"]]
    return f"layer with {join_names(printable(name) for name in sorted(axes))}"


def _require_as_many(path: Path, kind: str, theirs: Iterable[str], ours: Iterable[str]) -> None:
    there, here = list(theirs), list(ours)
    if len(there) == len(here):
        return
    more = there[len(here) :] or here[len(there) :]
    whose = "its" if len(there) > len(here) else "this network's"
    left_over = printable(more[0].removesuffix(_LEARNED))
    message = f"has {_count_text(len(there), kind)}, and this network {len(here)}; {whose} {left_over} is left over"
    fixes = {
        (_TIME_CONSTANT, True): "its neurons learn tau: set neuron=spikingjelly_plif",
        (_TIME_CONSTANT, False): "its neurons learn no tau: set neuron=spikingjelly_lif",
    }
    raise DataError(path, message, fixes.get((kind, len(there) > len(here)), ""))


def _count_text(number: int, kind: str) -> str:
    if number == 1:
        return f"1 {kind}"
    return f"{number} {kind.replace('layer', 'layers', 1) if 'layer' in kind else f'{kind}s'}"


def _setting(network: Network, layer: str) -> str:
    """Return the place of a layer in the configuration, or that of the block that it belongs to."""
    place, before, block = "model", ".layers", network
    for name in layer.split("."):
        kind, module = block.layer_types.get(name), block.get_submodule(name)
        if kind in ("shortcut", "branch"):
            place, before = f"{place}{'.branches' if kind == 'branch' else ''}.{name}", ""
        elif kind != "copy":  # all copies have one node
            place, before = f"{place}{before}.{name}", ".layers"
        if not isinstance(module, Network) or module.expanded is not None:
            break
        block = module
    return place


def _stored(w: Tensor, network: Network, layer: str, setting: str) -> Tensor:
    """Return what the network stores for 1 / tau = sigmoid(w), tau in steps.

    A factor beta = 1 - 1 / tau is stored as its logit, and a time constant as the logarithm of what it exceeds its
    lower bound by: one step where decay is euler, else 0.
    """
    neuron = network.get_submodule(layer)
    assert isinstance(neuron, LeakyMembrane)
    decay, w = neuron.membrane_decay, w.double()
    if setting == decay.factor_name:
        return -w
    unit = 1.0 if isinstance(decay.tau, str) else decay.dt or 1.0
    return math.log(unit) - (w if decay.decay == "euler" else torch.log(F.softplus(w)))


def in_order_of_use(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a transformer's layers in the order in which they are used, in the shapes of our layers.

    Projections `q_conv`, `k_conv`, `v_conv` and their norms become one `qkv_conv`. Convolutions of single tokens, which
    SpikingJelly applies to `[C, H * W]`, get a second axis of one cell where ours are applied to `[C, H, W]`. Other
    state dicts stay as they are.

    Args:
        tensors: The tensors of the file by name, in its order.
        own: The network's state dict.
    """
    found = _join_projections(tensors)
    if any(map(_STAGE.match, found)):
        found = dict(sorted(found.items(), key=lambda item: _position(item[0])))
    if any(value.dim() == 3 for value in own.values()):
        return found
    return {
        name: value[..., None] if value.dim() == 3 and value.shape[2] == 1 else value for name, value in found.items()
    }


def _join_projections(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        match = _PART.fullmatch(name)
        others = [] if match is None else [_name(match, part) for part in "qkv"]
        if match is None or not all(other in tensors for other in others):
            found[name] = value
        elif value.dim() == 0:  # the number of batches
            found.setdefault(_name(match, "qkv"), value)
        elif match["part"] == "q":
            found[_name(match, "qkv")] = torch.cat([tensors[other] for other in others])
    return found


def _name(match: re.Match[str], part: str) -> str:
    return f"{match['block']}{part}_{match['layer']}.{match['own']}"


def _position(name: str) -> tuple[int, bool]:
    """Return the stage of a tensor, the embedding before the blocks; the last layers are in none."""
    match = _STAGE.match(name)
    return (10**6, False) if match is None else (int(match["number"]), match["kind"] == "stage")
