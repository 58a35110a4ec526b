"""Layers and parameters that a training leaves as they are."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from snnlab.errors import ConfigError
from snnlab.training.optimization.parameters import kinds_of, matches, require_match


def freeze(network: nn.Module, words: Sequence[str]) -> list[nn.Module]:
    """Let parameters have no gradient, and return the layers that stay in evaluation: what batch norm has seen stays.

    Args:
        network: The network.
        words: Layers, kinds, names or patterns; see `parameters.matches`.

    Raises:
        ConfigError: if a word means nothing, or nothing is left to train.
    """
    kinds, modules = kinds_of(network), dict(network.named_modules())
    layers = [name for name in modules if any(fnmatchcase(name, word) for word in words) and name]
    require_match([word for word in words if not any(fnmatchcase(name, word) for name in layers)], kinds)
    for name, parameter in network.named_parameters():
        if matches(name, kinds[name], words):
            parameter.requires_grad_(False)
    if words and not any(parameter.requires_grad for parameter in network.parameters()):
        raise ConfigError("", "nothing is left to train")
    return [modules[name] for name in layers]
