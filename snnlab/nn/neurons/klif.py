"""The leaky integrate-and-fire neuron with a learned slope."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.neurons.learn import Learn, Number, Shape, learnable_quantity
from snnlab.nn.neurons.membrane import (
    InputGain,
    MembraneCoefficients,
    Reset,
    SpikingMembrane,
    SurrogateSetting,
    Threshold,
)
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.neurons.time_constants import DecayRule, Dt, Factor, TauMem
from snnlab.spec.interval import FINITE, Finite, Interval, Positive


class KLIFState(NamedTuple):
    """Membrane potential v, `[B, ...]`."""

    v: Tensor


class KLIFCoefficients(NamedTuple):
    """Coefficients of the membrane, the slope k, and the threshold that a reset subtracts from the scaled membrane."""

    membrane: MembraneCoefficients
    k: Number
    scaled_threshold: Number

    @property
    def g(self) -> Number:
        """Gain of the membrane's drive, for `LeakyMembrane.info`."""
        return self.membrane.g


@NEURONS.register("klif")
class KLIF(SpikingMembrane):
    """Leaky integrate-and-fire neuron whose membrane is scaled by a learned k and cut off below 0 before it spikes.

    The other arguments and the resets are those of `SpikingMembrane` and `LeakyMembrane`.

    Args:
        k: Slope; learned by default.
        scale_reset: Whether the membrane is divided by k again before the reset.
        learn: Learned quantities; by default `[k]`.

    Shape:
        x: `[T, B, ...]`; state: `KLIFState(v [B, ...])`; returns spikes in {0, 1}, `[T, B, ...]`, and the state.

    Source: Jiang and Zhang, KLIF: an optimized spiking neuron unit for tuning surrogate gradient slope and membrane
    potential, 2023; SpikingJelly 2.0, neuron.KLIFNode.
    """

    equations: ClassVar[tuple[str, ...]] = (
        "u[t] = a * v[t-1] + g * x[t] + (1 - a) * v_leak,   f[t] = max(k * u[t], 0),   s[t] = H(f[t] - v_threshold)",
        "v[t] = f[t] reset by s[t],   or f[t] / k reset by s[t] with v_threshold / k   (scale_reset)",
    )

    k: Any = learnable_quantity("k")

    def __init__(
        self,
        dt: Dt = None,
        *,
        tau_mem: TauMem = None,
        beta: Factor = None,
        k: Positive = 1.0,
        scale_reset: bool = False,
        v_leak: Finite = 0.0,
        v_threshold: Positive = 1.0,
        v_reset: Finite = 0.0,
        decay: DecayRule = "exact",
        input_gain: InputGain = 1.0,
        reset: Reset = "subtract",
        detach_reset: bool = True,
        threshold: Threshold = "inclusive",
        surrogate: SurrogateSetting | None = None,
        learn: Learn = ("k",),
        in_shape: Shape | None = None,
    ) -> None:
        super().__init__(
            dt,
            tau_mem=tau_mem,
            beta=beta,
            v_leak=v_leak,
            v_threshold=v_threshold,
            v_reset=v_reset,
            decay=decay,
            input_gain=input_gain,
            reset=reset,
            detach_reset=detach_reset,
            threshold=threshold,
            surrogate=surrogate,
        )
        self.k, self.scale_reset = float(k), scale_reset
        self.create_parameters(learn, in_shape)

    def learnable(self) -> dict[str, tuple[float, Interval]]:
        return {"k": (self.k, FINITE)} | super().learnable()

    def coefficients(self) -> KLIFCoefficients:  # pyright: ignore[reportIncompatibleMethodOverride]
        membrane, k = super().coefficients(), self.value("k")
        return KLIFCoefficients(membrane, k, membrane.r / k if self.scale_reset else membrane.r)

    def initial_state(self, x: Tensor) -> KLIFState:
        return KLIFState(self.rest(x))

    def step(self, x: Tensor, state: KLIFState, coefficients: KLIFCoefficients) -> tuple[Tensor, KLIFState]:
        k = coefficients
        f = torch.relu(k.k * self.integrate(state.v, x, k.membrane))
        s = self._spike(f, k.membrane)
        scaled = f / k.k if self.scale_reset else f
        return s, KLIFState(self._reset(scaled, s, k.membrane._replace(r=k.scaled_threshold)))
