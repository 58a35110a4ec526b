"""Folds batch normalizations into the convolution or linear layer before them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.nn.layers.norm import BatchNorm
from snnlab.nn.network import Network, build_network

_FOLDS_INTO = ("conv1d", "conv2d", "conv3d", "linear")
_MODULES = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


@torch.no_grad()
def fold_norm(network: Network) -> Network:
    """Return a network without the batch normalizations that directly follow a convolution or a linear layer.

        W' = k W,   b' = k (b - mean) + bias,   k = weight / sqrt(var + eps)

    It equals the network in evaluation mode, up to the rounding of W' and b' to the weights' precision. Other
    normalizations stay.

    Args:
        network: The network, unchanged.

    Raises:
        ConfigError: if it was not built by `build_network`.
    """
    built = network.built_from
    if built is None:
        raise ConfigError("fold_norm", "needs the network's settings", "build the network with snnlab.nn.build_network")
    layers = _fold_nodes(built.layers)
    folded = build_network(layers, in_shape=built.in_shape, dt=built.dt, num_steps=built.num_steps).network
    first = next(network.parameters(), torch.empty(0))
    folded.to(first.device, first.dtype).train(network.training)
    own, before = folded.state_dict(), network.state_dict()
    folded.load_state_dict({key: before.get(key, value) for key, value in own.items()})
    for path, block in network.named_modules():
        if isinstance(block, Network):
            _fold_weights([*block.layers()], folded.get_submodule(path))
    return folded


def _fold_nodes(layers: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, node in layers.items():
        last = next(reversed(found.values()), None)
        kind = node.get("type")
        if kind == "batch_norm" and not node.get("per_step", False) and last and last["type"] in _FOLDS_INTO:
            last["bias"] = True
            last.pop("weight_norm", None)
        else:
            found[name] = _fold_within(node)
    return found


def _fold_within(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return a block's node with the layers in it folded."""
    found = dict(node)
    for key in ("layers", "shortcut"):
        if isinstance(node.get(key), Mapping):
            found[key] = _fold_nodes(node[key])
    if isinstance(node.get("branches"), Mapping):
        found["branches"] = {name: _fold_nodes(branch) for name, branch in node["branches"].items()}
    feedback = node.get("feedback")
    if isinstance(feedback, Mapping):
        found["feedback"] = _fold_within(feedback)
    elif isinstance(feedback, list | tuple):
        found["feedback"] = [_fold_within(each) for each in feedback]
    return found


def _fold_weights(layers: list[tuple[str, nn.Module]], into: nn.Module) -> None:
    """Set the weights of the folded layers of a block."""
    target: nn.Module | None = None
    for name, layer in layers:
        if isinstance(layer, BatchNorm) and target is not None:
            _fold_into(layer, target)
        elif isinstance(layer, _MODULES):
            target = into.get_submodule(name)
            _set_weights(target, layer.weight, layer.bias)
        else:
            target = None


def _fold_into(norm: BatchNorm, target: nn.Module) -> None:
    weight, bias = target.get_parameter("weight").double(), target.get_parameter("bias").double()
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    shift = torch.zeros_like(scale)
    if norm.affine:
        scale, shift = scale * norm.weight.double(), norm.bias.double()
    bias = (bias - norm.running_mean.double()) * scale + shift
    _set_weights(target, weight * scale.view(-1, *[1] * (weight.dim() - 1)), bias)


def _set_weights(target: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    names = dict(target.named_parameters(recurse=False))
    if "weight" in names:  # not a weight with a norm, which was copied
        names["weight"].copy_(weight)
    if "bias" in names:
        names["bias"].copy_(torch.zeros_like(names["bias"]) if bias is None else bias)
