"""The spike, with a surrogate in place of its derivative."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from snnlab.nn.surrogate.base import Surrogate
from snnlab.nn.surrogate.watching import tell


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, distance: Tensor, surrogate: Surrogate, v_threshold: float | Tensor, strict: bool) -> Tensor:
        if isinstance(v_threshold, Tensor):
            ctx.save_for_backward(distance, v_threshold)
        else:
            ctx.save_for_backward(distance)
            ctx.v_threshold = v_threshold
        ctx.surrogate = surrogate
        return (distance > 0 if strict else distance >= 0).to(distance.dtype)

    # Written in differentiable operations, so that a second derivative is that of the bell.
    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        distance, *learned = ctx.saved_tensors
        v_threshold = learned[0] if learned else ctx.v_threshold
        return grads[0] * ctx.surrogate.derivative(distance, v_threshold), None, None, None


def spike(distance: Tensor, surrogate: Surrogate, v_threshold: float | Tensor, *, strict: bool = False) -> Tensor:
    """Return H(distance), one where the membrane has reached the threshold, with the surrogate's gradient.

    Args:
        distance: u - v_threshold; through it a threshold that is learned gets its gradient.
        surrogate: The gradient's formula.
        v_threshold: The threshold, the unit of the surrogate's width; no gradient flows through that.
        strict: Whether a membrane exactly at the threshold stays silent.

    Shape:
        distance: any; v_threshold: a number, or a tensor that broadcasts to it; returns {0, 1} as distance.
    """
    tell(distance, surrogate, v_threshold)
    if isinstance(v_threshold, Tensor):
        v_threshold = v_threshold.detach()
    return _Spike.apply(distance, surrogate, v_threshold, strict)  # type: ignore[no-any-return]
