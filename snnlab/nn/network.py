"""Named layers, one after the other, over all steps at once.

Axes: T steps, B samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from snnlab.nn.temporal import OWN, Counts, TemporalLayer, fold_time, valid_steps

NetworkState = dict[str, Any]


class Network(TemporalLayer):
    """Apply named layers in order; a temporal layer itself, so networks nest.

    A layer without time sees all T*B steps as one batch; a temporal layer sees `[T, B, ...]` and its part of the
    state.

    Args:
        layers: Layers by name; the names are the keys of the state dict, of the state and of the counts.

    Shape:
        x: `[T, B, ...]`; returns `[T, B, ...]` and the state, a dict by layer name.

    Raises:
        ValueError: if a name cannot be used, or the state holds a name that is no layer.
    """

    def __init__(self, layers: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, layer in layers.items():
            if not name.isidentifier() or hasattr(self, name):
                raise ValueError(f"'{name}' cannot be a layer's name; use letters, digits and _, such as '{name}1'")
            self.add_module(name, layer)

    def forward(
        self,
        x: Tensor,
        state: NetworkState | None = None,
        *,
        lengths: Tensor | None = None,
        counts: Counts | None = None,
    ) -> tuple[Tensor, NetworkState]:
        """Run all steps through each layer in turn."""
        before = state or {}
        if unknown := before.keys() - self._modules.keys():
            raise ValueError(f"the state holds {sorted(unknown)}, which are no layers of this network")
        after: NetworkState = {}
        valid = valid_steps(lengths, x.shape[0], x)
        lengths = None if valid is None else lengths
        for name, layer in self.named_children():
            if not isinstance(layer, TemporalLayer):
                x = fold_time(layer, x)
                continue
            own: Counts | None = None if counts is None else {}
            x, after[name] = layer(x, before.get(name), lengths=lengths, counts=own)
            if counts is not None:
                counts.update({f"{name}.{key}" if key != OWN else name: n for key, n in (own or {}).items()})
        valid = valid_steps(lengths, x.shape[0], x)
        return (x if valid is None else torch.where(valid, x, 0)), {k: v for k, v in after.items() if v is not None}
