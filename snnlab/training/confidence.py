"""How sure a network is at each step of what it would answer if the recording ended there.

Axes: T steps, B samples, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snnlab.training.losses import Loss


def confidences(loss: Loss, y: Tensor, lengths: Tensor) -> Tensor:
    """Return the largest probability of the running readout at each step.

        c[t] = max_k softmax(readout(y[: t + 1]))[k]

    After a sample's last valid step it stays as it was.

    Args:
        loss: What reads the outputs out, as classes.
        y: The network's output.
        lengths: Valid steps of each sample.

    Shape:
        y: `[T, B, K]`; lengths: `[B]`; returns float32 `[T, B]`.
    """
    so_far = [loss.readout(y[:t], lengths.clamp(max=t)) for t in range(1, len(y) + 1)]
    return torch.stack(so_far).float().softmax(-1).amax(-1)
