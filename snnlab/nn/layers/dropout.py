"""Dropout, with one mask for all steps of a sample or a new mask at each step."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.layer import LAYERS, Counts, TemporalLayer, valid_steps
from snnlab.spec.declared import Declared, setting
from snnlab.spec.interval import UnitInterval


class DropoutState(NamedTuple):
    """Mask of the values that are kept, bool `[B, ...]`."""

    keep: Tensor


@LAYERS.register("dropout")
class Dropout(Declared, TemporalLayer):
    """Dropout in training: each value is zero with probability p, else divided by 1 - p.

    Args:
        p: Probability of a zero.
        mask: `shared`: one for all steps, also in later calls with the state; `per_step`: a new one at each step.

    Shape:
        x: `[T, B, ...]`; state: `DropoutState(keep [B, ...])` where the mask is shared, None in evaluation;
        returns the same shape, with zeros after a sample's length, and the state.

    Source: Gal and Ghahramani, Dropout in recurrent neural networks, NeurIPS 2016.
    """

    p: UnitInterval = setting(default=0.5, kw_only=False)
    mask: Literal["shared", "per_step"] = "shared"

    def forward(
        self,
        x: Tensor,
        state: DropoutState | None = None,
        *,
        lengths: Tensor | None = None,
        counts: Counts | None = None,
    ) -> tuple[Tensor, DropoutState | None]:
        after = None
        if self.training and self.mask == "shared":
            after = DropoutState(self._draw(x[0])) if state is None else state
            x = self._drop(x, after.keep)
        elif self.training:
            x = self._drop(x, self._draw(x))
        valid = valid_steps(lengths, x.shape[0], x)
        return (x if valid is None else torch.where(valid, x, 0)), after

    def _draw(self, like: Tensor) -> Tensor:
        return torch.empty_like(like, dtype=torch.bool).bernoulli_(1.0 - self.p)

    def _drop(self, x: Tensor, keep: Tensor) -> Tensor:
        # A boolean mask and a separate factor, because half precision would round 1 / (1 - p).
        return torch.where(keep, x if self.p == 1 else x * (1.0 / (1.0 - self.p)), 0)

    def extra_repr(self) -> str:
        """Return the settings that `print(network)` shows."""
        return f"p={self.p}, mask={self.mask}"
