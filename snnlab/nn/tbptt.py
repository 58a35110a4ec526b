"""Truncated backpropagation through time: the gradient of a step reaches back to the beginning of its window.

The state passes from window to window, its gradient does not. The backward pass recomputes each window, so that memory
holds one window and the outputs; a training step takes 1.5 times as long.

Axes: T steps, B samples, K outputs.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from snnlab.kernels.reference import detached
from snnlab.nn.checkpointing import RestoreBuffers
from snnlab.nn.layer import Counts, add_counts
from snnlab.nn.network import Network


def run_windows(
    network: Network, x: Tensor, steps: int, *, lengths: Tensor | None = None, counts: Counts | None = None
) -> Tensor:
    """Run a network from rest with truncated backpropagation, and return its output at every step.

    Args:
        network: The network.
        x: Its input.
        steps: Steps of a window; T or more give plain backpropagation.
        lengths: Valid steps of each sample, `[B]`.
        counts: A dict to fill with spike counts, or None.

    Shape:
        x: `[T, B, ...]`; returns `[T, B, K]`.
    """
    if steps >= len(x) or not torch.is_grad_enabled():
        return network(x, lengths=lengths, counts=counts)[0]
    outputs: list[Tensor] = []
    state: Any = None
    for number, window in enumerate(x.split(steps)):
        left = None if lengths is None else (lengths - number * steps).clamp(0, len(window))
        y, state, own = checkpoint(
            _run_chunk,
            network,
            window,
            detached(state),
            left,
            counts is not None,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), RestoreBuffers([network])),
        )
        outputs.append(y)
        add_counts(counts, own)
    return torch.cat(outputs)


def _run_chunk(
    network: Network, x: Tensor, state: Any, lengths: Tensor | None, with_counts: bool
) -> tuple[Tensor, Any, Counts]:
    """Run some steps; return output, state and counts."""
    counts = Counts()
    y, after = network(x, state, lengths=lengths, counts=counts if with_counts else None)
    return y, after, counts
