"""Weights kept small.

Axes: none but those of the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized

from snnlab.nn.neurons.base import Neuron
from snnlab.nn.temporal import Counts
from snnlab.training.losses.contract import REGULARISERS, Regulariser, Task, Valued, chosen


@REGULARISERS.register("weights")
class Weights(Regulariser):
    """The sum of the absolute or squared weights of layers, without biases, norms and the neurons' constants.

        value = sum |w|^power

    Args:
        power: 1 draws weights to 0, 2 keeps them small.
        layers: Names of layers with weights, of recurrent neurons or of blocks; null for all.
    """

    def __init__(self, power: Literal[1, 2] = 2, layers: Sequence[str] | None = None) -> None:
        super().__init__()
        self.power, self.layers = power, layers
        # In tuples, which torch does not look into: the weights are the network's, not the loss's.
        self._of: tuple[tuple[nn.Module, str], ...] = ()

    def bind(self, task: Task) -> None:
        known = dict(_weighted(task.built.network))
        names = chosen(self.layers, known, "layer with weights")
        self._of = tuple((module, name) for layer in names for module, name in known[layer])

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> Valued:
        weights = (getattr(module, name) for module, name in self._of)
        value = torch.stack([(w.abs() if self.power == 1 else w.square()).sum() for w in weights]).sum()
        value = value if weight is None else value * weight.mean()
        return value, {"weights": value}


def _weighted(network: nn.Module) -> Iterator[tuple[str, list[tuple[nn.Module, str]]]]:
    """Yield the dotted names of the modules with weights, with where their weights are."""
    for name, module in network.named_modules():
        if isinstance(module, (Neuron, ParametrizationList, nn.ParameterDict)) or ".parametrizations." in name:
            continue
        own = [key for key, value in module.named_parameters(recurse=False) if value.dim() > 1]
        if is_parametrized(module):
            own += list(module.parametrizations)  # type: ignore[arg-type]
        if own:
            yield name, [(module, key) for key in own]
