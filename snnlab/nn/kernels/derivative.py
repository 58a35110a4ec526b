"""A backward pass written by hand has no derivative of its own."""

from __future__ import annotations

import torch

from snnlab.errors import SnnlabError


def refuse_second_derivative() -> None:
    """Raise an error in a backward pass that shall be differentiated again.

    PyTorch's `once_differentiable` raises when it is, and only where the gradient that arrives has a graph: after a
    loss that is linear in the spikes, a second derivative would silently miss this neuron's part.

    Raises:
        SnnlabError: if the pass runs with `create_graph`.
    """
    if torch.is_grad_enabled():
        raise SnnlabError(
            "this neuron's backward pass is written by hand and cannot be differentiated again (create_graph); "
            "set backend: reference for second derivatives"
        )
