"""The leaky integrate-and-fire neuron."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from torch import Tensor

from snnlab.nn.neurons.learn import Learn, Shape
from snnlab.nn.neurons.membrane import (
    Floor,
    InputGain,
    MembraneCoefficients,
    PerNeuron,
    Reset,
    SpikesPerStep,
    SpikingMembrane,
    SurrogateSetting,
    Threshold,
)
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.neurons.time_constants import DecayRule, Dt, Factor, TauMem
from snnlab.spec.interval import Finite, Positive


class LIFState(NamedTuple):
    """Membrane potential v, `[B, ...]`."""

    v: Tensor


@NEURONS.register("lif")
class LIF(SpikingMembrane):
    """Leaky integrate-and-fire neuron whose input is added to the membrane, with the conventions of any library.

    The arguments and the resets are those of `SpikingMembrane` and `LeakyMembrane`. It returns a pair of spikes and
    state, which `torch.nn.Sequential` does not support; use `snnlab.nn.Network`.

    Shape:
        x: `[T, B, ...]`; state: `LIFState(v [B, ...])`; returns spikes in {0, 1}, `[T, B, ...]`, and the state.

    Source: Gerstner et al., Neuronal Dynamics, 2014, section 1.3.
    """

    equations: ClassVar[tuple[str, ...]] = (
        "u[t] = a * v[t-1] + g * x[t] + (1 - a) * v_leak,   s[t] = H(u[t] - v_threshold),   v[t] = u[t] reset by s[t]",
    )

    def __init__(
        self,
        dt: Dt = None,
        *,
        tau_mem: TauMem = None,
        beta: Factor = None,
        v_leak: Finite = 0.0,
        v_threshold: Positive = 1.0,
        v_reset: Finite = 0.0,
        decay: DecayRule = "exact",
        input_gain: InputGain = 1.0,
        reset: Reset = "subtract",
        reset_delay: bool = False,
        detach_reset: bool = True,
        threshold: Threshold = "inclusive",
        spikes: SpikesPerStep = "one",
        floor: Floor = None,
        surrogate: SurrogateSetting | None = None,
        learn: Learn = (),
        per_neuron: PerNeuron = (),
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
            reset_delay=reset_delay,
            detach_reset=detach_reset,
            threshold=threshold,
            surrogate=surrogate,
            spikes=spikes,
            floor=floor,
        )
        self.create_parameters(learn, in_shape, per_neuron)

    def initial_state(self, x: Tensor) -> LIFState:
        return LIFState(self.rest(x))

    def step(self, x: Tensor, state: LIFState, coefficients: MembraneCoefficients) -> tuple[Tensor, LIFState]:
        s, v = self.fire(state.v, x, coefficients)
        return s, LIFState(v)
