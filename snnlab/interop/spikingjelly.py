"""SpikingJelly's state dicts: layers are matched in order; those of transformers are joined and sorted first."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from snnlab.interop.layer_order import (
    LEARNED,
    TIME_CONSTANT,
    Matched,
    Target,
    full_name,
    layer_targets,
    pairs_of_layers,
)
from snnlab.nn.network import Network
from snnlab.nn.neurons.base import Neuron

# A projection that is one of three there and part of `qkv` here.
_PART = re.compile(r"(?P<block>(?:.*\.)?)(?P<part>[qkv])_(?P<layer>conv|bn)\.(?P<own>\w+)")
# QKFormer's embeddings and stages, which SpikingJelly registers one kind after the other.
_STAGE = re.compile(r"(?P<kind>patch_embed|stage)(?P<number>\d+)\.")


def match_spikingjelly(path: Path, tensors: Mapping[str, Tensor], network: Network) -> Matched:
    """Return the names in the network of the tensors of one of SpikingJelly's state dicts.

    The n-th layer of a type in the file is the n-th layer of this type in the network, also the `w` of
    ParametricLIFNode, for which 1 / tau = sigmoid(w).

    Args:
        path: The file, for messages.
        tensors: Its tensors by name, in its order.
        network: The network.

    Raises:
        DataError: if the file has more or fewer layers of a type, or a layer has more tensors there.
    """
    tensors = in_order_of_use(tensors, network.state_dict())
    converted, targets = dict(tensors), dict[str, Target]()
    for pair in pairs_of_layers(path, tensors, network.state_dict()):
        if pair.kind != TIME_CONSTANT:
            targets |= layer_targets(path, pair, network)
            continue
        name, (setting,) = full_name(pair.theirs, "w"), pair.our_names
        targets[name] = f"{pair.ours}.{setting}"
        converted[name] = _stored(tensors[name], network, pair.ours.removesuffix(LEARNED), setting)
    return Matched(converted, targets)


def _stored(w: Tensor, network: Network, layer: str, setting: str) -> Tensor:
    """Return what the network stores for 1 / tau = sigmoid(w), tau in steps.

    A factor beta = 1 - 1 / tau is stored as its logit, and a time constant as the logarithm of what it exceeds its
    lower bound by: one step where decay is euler, else 0.
    """
    neuron = network.get_submodule(layer)
    assert isinstance(neuron, Neuron)
    (decay,), w = [each for each in neuron.decays() if setting == each.setting], w.double()
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
