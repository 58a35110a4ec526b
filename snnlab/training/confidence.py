"""How sure a network is at each step of what it would answer if the recording ended there.

Axes: T steps, B samples, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snnlab.training.losses import Loss


def confidences(loss: Loss, y: Tensor, lengths: Tensor) -> Tensor:
    """Return the largest probability of the running readout at each step.

        c[t] = max_k softmax(readout(y[: t + 1]))[k],   by sums that are carried from step to step

    After a sample's last valid step it stays as it was.

    Args:
        loss: What reads the outputs out, as classes.
        y: The network's output.
        lengths: Valid steps of each sample.

    Shape:
        y: `[T, B, K]`; lengths: `[B]`; returns float32 `[T, B]`.
    """
    sure = loss.running(y).float().softmax(-1).amax(-1)
    at = torch.arange(len(y), device=y.device)[:, None].minimum(lengths - 1).clamp(min=0)
    return sure.gather(0, at)
