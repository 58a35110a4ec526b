"""The contract of a neuron: coefficients once a forward, then one step after another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from snnlab.nn.kernels.reference import unroll
from snnlab.nn.layers.registry import LAYERS
from snnlab.nn.neurons.dialect import Dialect
from snnlab.nn.neurons.time_constants import Constant
from snnlab.nn.temporal import OWN, Counts, TemporalLayer
from snnlab.registry import Registry

NEURONS = Registry("neuron", within=LAYERS)


class Neuron(TemporalLayer, ABC):
    """A population with a state and an update; subclasses say which.

    A new neuron is one file with a NamedTuple of its state and these three methods, registered in `NEURONS`;
    it then trains through the plain loop. A fused kernel is an addition, never a condition.

    Shape:
        x: `[T, B, ...]`; state: a NamedTuple of `[B, ...]`; returns `[T, B, ...]` and the state.
    """

    spiking: ClassVar[bool] = True

    @abstractmethod
    def coefficients(self) -> Any:
        """Return the numbers of the update, computed once a forward in double precision."""

    @abstractmethod
    def initial_state(self, x: Tensor) -> Any:
        """Return the state at rest for one step of input `[B, ...]`."""

    @abstractmethod
    def step(self, x: Tensor, state: Any, coefficients: Any) -> tuple[Tensor, Any]:
        """Return the output of one step and the state after it."""

    def constants(self) -> list[Constant]:
        """Return the time constants, for `snnlab show`."""
        return []

    def dialect(self) -> Dialect:
        """Return the dialect in words, for `snnlab show`."""
        return Dialect()

    def forward(
        self, x: Tensor, state: Any = None, *, lengths: Tensor | None = None, counts: Counts | None = None
    ) -> tuple[Tensor, Any]:
        """Run all steps; see `TemporalLayer`."""
        if state is None:
            state = self.initial_state(x[0])
        y, state = unroll(self.step, x, state, self.coefficients(), lengths)
        if self.spiking and counts is not None:
            counts[OWN] = y.sum(0)
        return y, state
