"""Folds batch normalizations into the convolution or linear layer before them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.nn.blocks.loop import Loop, feedback_nodes
from snnlab.nn.layers.norm import BatchNorm
from snnlab.nn.network import Network, build_network
from snnlab.nn.neurons.base import Neuron

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
    """
    if any(isinstance(module, Neuron) and module.is_quantized for module in network.modules()):
        return network  # none is left in a network in whole numbers
    built = network.built_from
    if built is None:
        raise ConfigError("fold_norm", "needs the network's settings", "build the network with snnlab.nn.build_network")
    layers = _fold_nodes(built.layers, network)
    folded = build_network(layers, in_shape=built.in_shape, dt=built.dt, num_steps=built.num_steps).network
    first = next(network.parameters(), torch.empty(0))
    folded.to(first.device, first.dtype).train(network.training)
    own, before = folded.state_dict(), network.state_dict()
    folded.load_state_dict({key: before.get(key, value) for key, value in own.items()})
    for path, block in network.named_modules():
        if isinstance(block, Network):
            _fold_weights([*block.layers()], folded.get_submodule(path))
    return folded


def _fold_nodes(layers: Mapping[str, Any], network: nn.Module) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, node in layers.items():
        last = next(reversed(found.values()), None)
        kind = node.get("type")
        if kind == "batch_norm" and not node.get("per_step", False) and last and last["type"] in _FOLDS_INTO:
            last["bias"] = True
            last.pop("weight_norm", None)
        else:
            found[name] = _fold_within(node, network.get_submodule(name))
    return found


def _fold_within(node: Mapping[str, Any], block: nn.Module) -> dict[str, Any]:
    """Return a block's node with the layers in it folded."""
    found = dict(node)
    if isinstance(node.get("layers"), Mapping):
        copied = block.get_submodule("copy1") if node.get("type") == "repeat" else block
        found["layers"] = _fold_nodes(node["layers"], copied)
    if isinstance(node.get("shortcut"), Mapping):
        found["shortcut"] = _fold_nodes(node["shortcut"], block.get_submodule("shortcut"))
    if isinstance(node.get("branches"), Mapping):
        branches = node["branches"].items()
        found["branches"] = {name: _fold_nodes(branch, block.get_submodule(name)) for name, branch in branches}
    if isinstance(block, Loop):
        ways = zip(feedback_nodes(node.get("feedback")), block.feedback_paths, strict=True)
        folded = [_fold_within(way, block.get_submodule(path.name)) for (_, way), path in ways]
        found["feedback"] = folded if isinstance(node.get("feedback"), list | tuple) else folded[0]
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
