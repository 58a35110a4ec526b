"""What membranes cost that leave a band, counted beside a layer's spikes while the network runs.

No kernel gives a membrane's whole way, so a layer that is asked for it goes once more through its input by the plain
loop, whose gradient is autograd's own.

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from snnlab.kernels.reference import unroll
from snnlab.nn.neurons.base import Neuron, exact, rounded
from snnlab.nn.surrogate import Surrogate
from snnlab.nn.surrogate.spike import watching
from snnlab.nn.temporal import ASIDE, Counts


class MembraneCost:
    """A forward hook of a neuron: counts, for each, the squares of what its membrane is outside a band.

        n = sum over valid steps of max(0, lower - m[t])^2 + max(0, m[t] - upper)^2

    with m = 1 + (u - threshold) / v_threshold, and u the membrane on which the spike is decided, before the reset.

    Args:
        lower: In units of the threshold; None for no bound.
        upper: In units of the threshold; None for no bound.
    """

    def __init__(self, lower: float | None, upper: float | None) -> None:
        self.lower, self.upper = lower, upper
        # A layer counts it under this key, each band for itself; the network around it puts the layer's name before it.
        self.key = f"{ASIDE}membrane {lower} {upper}".replace(".", ",")  # a dot would be a layer's within a network

    def __call__(self, neuron: Neuron, given: tuple[Any, ...], named: Mapping[str, Any], output: Any) -> None:
        """Count it, where somebody counts."""
        said = dict(zip(("x", "state"), given, strict=False)) | dict(named)
        counts: Counts | None = said.get("counts")
        if counts is not None:
            counts[self.key] = self.sum(neuron, said["x"], said.get("state"), said.get("lengths"))

    def sum(self, neuron: Neuron, x: Tensor, state: Any, lengths: Tensor | None) -> Tensor:
        """Return n.

        Shape:
            x: `[T, B, ...]`; state: see `Neuron`; lengths: `[B]`; returns `[B, ...]`.
        """

        def step(x: Tensor, state: Any, k: Any) -> tuple[Tensor, Any]:
            held, after = membrane_of_step(neuron, x, state, k)
            assert held is not None
            return self._outside(held), after

        x = exact(x)
        state = neuron.initial_state(x[0]) if state is None else state
        return unroll(step, x, state, rounded(neuron.coefficients(), x), lengths)[0].sum(0)

    def _outside(self, held: Tensor) -> Tensor:
        cost = torch.zeros_like(held)
        if self.lower is not None:
            cost = cost + (self.lower - held).relu().square()
        return cost if self.upper is None else cost + (held - self.upper).relu().square()


def membrane_of_step(neuron: Neuron, x: Tensor, state: Any, k: Any) -> tuple[Tensor | None, Any]:
    """Return the membrane of one step in units of the threshold, and the state after it.

    Shape:
        x: `[B, ...]`; returns the same, or None for a neuron that decides by itself, without `spike`.
    """
    looks: list[Tensor] = []

    def look(distance: Tensor, surrogate: Surrogate, v_threshold: float | Tensor) -> None:
        looks.append(1.0 + distance / v_threshold)

    with watching(look):
        _, after = neuron.step(x, state, k)
    return (looks[-1] if looks else None), after  # with a delayed reset the step's own spike is the later one


def shows_membrane(neuron: Neuron, shape: tuple[int, ...]) -> bool:
    """Return whether a neuron of so many, `[...]`, says how far its membrane is from its threshold."""
    first = next(neuron.parameters(), None)
    x = torch.zeros(1, *shape, device=None if first is None else first.device)
    with torch.no_grad():
        k = rounded(neuron.coefficients(), x)
        return membrane_of_step(neuron, x, neuron.initial_state(x), k)[0] is not None
