"""Normal initial weights whose deviation follows from a layer's size alone, as publications give them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import nn

from snnlab.compat import ConvNd, ConvTransposeNd
from snnlab.errors import ConfigError, did_you_mean
from snnlab.intervals import Positive
from snnlab.nn.init import INITS, set_weight
from snnlab.nn.neurons.recurrent import Feedback

Fan = Literal["in", "out"]


@INITS.register("normal")
class Normal:
    """Normal weights without a mean, of linear layers, convolutions and the feedback of recurrent neurons.

        std(w) = gain / sqrt(n),   n: inputs of an output (fan "in"), or outputs of an input ("out")

    Biases stay as they are.

    Args:
        gain: Deviation for n = 1.
        fan: Which connections are counted; in a convolution without stride, those of its window.
        layers: Names of layers, blocks and recurrent neurons; null for all.

    Raises:
        ConfigError: if gain is not positive; later, if a name is that of nothing with weights.

    Source: He et al., Delving deep into rectifiers, ICCV 2015: gain sqrt(2).
    """

    def __init__(self, *, gain: Positive = 1.0, fan: Fan = "in", layers: Sequence[str] | None = None) -> None:
        self.gain, self.layers = gain, layers
        self.fan: Fan = fan

    def __call__(self, network: nn.Module) -> list[str]:
        """Set the weights in place, from torch's random state; return the names of the layers that were set."""
        there = dict(_weighted(network))
        for wanted in self.layers or ():
            if not any(_within(name, wanted) for name in there):
                raise ConfigError(
                    "layers", f"nothing with weights is called '{wanted}'", did_you_mean(wanted, there), there
                )
        chosen = {
            name: layer
            for name, layer in there.items()
            if self.layers is None or any(_within(name, wanted) for wanted in self.layers)
        }
        for layer in chosen.values():
            std = self.gain / math.sqrt(_fan(layer, self.fan))
            set_weight(layer, torch.empty_like(layer.weight).normal_(0.0, std))
        return list(chosen)


def _weighted(network: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the layers with weights; the feedback of recurrent neurons under the neurons' name."""
    for name, layer in network.named_modules():
        if isinstance(layer, Feedback):
            yield name.removesuffix(".feedback"), layer
        elif isinstance(layer, (nn.Linear, ConvNd)):
            yield name, layer


def _within(name: str, wanted: str) -> bool:
    return name == wanted or name.startswith(f"{wanted}.")


def _fan(layer: Any, fan: Fan) -> int:
    """Return the number of connections of each output, or of each input."""
    # The weight's first axis is that of the outputs, but in transposed convolutions.
    of_first = (fan == "in") != isinstance(layer, ConvTransposeNd)
    return (layer.weight[0] if of_first else layer.weight[:, 0]).numel()
