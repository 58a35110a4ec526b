"""The leaky integrate-and-fire neuron with a learned slope."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.neurons.learn import Learn, Learnable, Number, learnable_quantity
from snnlab.nn.neurons.membrane import (
    MembraneCoefficients,
    SpikingMembrane,
)
from snnlab.nn.neurons.register import NEURONS
from snnlab.spec.declared import setting
from snnlab.spec.interval import FINITE, Interval, above


class KLIFState(NamedTuple):
    """Membrane potential v, `[B, ...]`."""

    v: Tensor


class KLIFCoefficients(NamedTuple):
    """Coefficients of the membrane, the slope k, and the threshold that a reset subtracts from the scaled membrane."""

    membrane: MembraneCoefficients
    k: Number
    scaled_threshold: Number


@NEURONS.register("klif")
class KLIF(SpikingMembrane):
    """Leaky integrate-and-fire neuron whose membrane is scaled by a learned k and cut off below 0 before it spikes.

    Args:
        k: Slope; learned by default.
        scale_reset: Whether the membrane is divided by k again before the reset.

    Shape:
        x: `[T, B, ...]`; state: `KLIFState(v [B, ...])`; returns spikes in {0, 1}, `[T, B, ...]`, and the state.

    Source: Jiang and Zhang, KLIF: an optimized spiking neuron unit for tuning surrogate gradient slope and membrane
    potential, 2023; SpikingJelly 2.0, neuron.KLIFNode.
    """

    k: Annotated[Learnable, above(0)] = setting(default=1.0, read_by=learnable_quantity)
    scale_reset: bool = False
    learn: Learn = ("k",)

    def learnable(self) -> dict[str, tuple[float, Interval]]:
        return {"k": (self.k, FINITE)} | super().learnable()

    def coefficients(self) -> KLIFCoefficients:  # pyright: ignore[reportIncompatibleMethodOverride]
        membrane, k = super().coefficients(), self.value("k")
        return KLIFCoefficients(membrane, k, membrane.r / k if self.scale_reset else membrane.r)

    def definitions(self) -> dict[str, str]:
        return super().definitions() | {"scaled_threshold": "r / k" if self.scale_reset else "r"}

    def initial_state(self, x: Tensor) -> KLIFState:
        return KLIFState(self.rest(x))

    def step(self, x: Tensor, state: KLIFState, coefficients: KLIFCoefficients) -> tuple[Tensor, KLIFState]:
        k = coefficients
        f = torch.relu(k.k * self.integrate(state.v, x, k.membrane))
        s = self._spike(f, k.membrane)
        scaled = f / k.k if self.scale_reset else f
        return s, KLIFState(self._reset(scaled, s, k.membrane._replace(r=k.scaled_threshold)))
