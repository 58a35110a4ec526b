"""Dropout, with one mask for all steps of a sample or a new mask at each step."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.layer import LAYERS, Counts, TemporalLayer, valid_steps
from snnlab.spec.interval import UnitInterval


class DropoutState(NamedTuple):
    """Mask of the values that are kept, bool `[B, ...]`."""

    keep: Tensor


@LAYERS.register("dropout")
class Dropout(TemporalLayer):
    """Dropout in training: each value is zero with probability p, else divided by 1 - p.

    Args:
        p: Probability of a zero.
        mask: `shared`: one mask for all steps, also in later calls with the state; `per_step`: a new mask at each step.

    Shape:
        x: `[T, B, ...]`; state: `DropoutState(keep [B, ...])` where the mask is shared, None in evaluation;
        returns the same shape, with zeros after a sample's length, and the state.

    Raises:
        ConfigError: if p is not within 0..1, or `mask` has another value.

    Source: Gal and Ghahramani, Dropout in recurrent neural networks, NeurIPS 2016.
    """

    def __init__(self, p: UnitInterval = 0.5, *, mask: Literal["shared", "per_step"] = "shared") -> None:
        super().__init__()
        self.p, self.mask = p, mask

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
