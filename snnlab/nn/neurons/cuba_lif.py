"""The leaky integrate-and-fire neuron with a current-based synapse."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
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
    Synapse,
    SynapticMembrane,
    Threshold,
)
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.neurons.time_constants import DecayRule, Dt, Factor, TauMem, TauSyn
from snnlab.spec.interval import Finite, Positive


class CubaLIFState(NamedTuple):
    """Membrane potential v and synaptic current i, each `[B, ...]`."""

    v: Tensor
    i: Tensor


@NEURONS.register("cuba_lif")
class CubaLIF(SynapticMembrane, SpikingMembrane):
    """Leaky integrate-and-fire neuron whose input is added to a decaying synaptic current.

    The arguments are those of `SynapticMembrane`, `SpikingMembrane` and `LeakyMembrane`.

    Shape:
        x: `[T, B, ...]`; state: `CubaLIFState(v, i)`, each `[B, ...]`; returns spikes in {0, 1}, `[T, B, ...]`, and
        the state.
    """

    equations: ClassVar[tuple[str, ...]] = (
        'j[t] = b * i[t-1] + x[t]   (synapse "jump_first")   or   b * (i[t-1] + x[t])   ("decay_first"),   i[t] = j[t]',
        'j[t] = i[t-1],   i[t] = b * i[t-1] + x[t]   ("next_step")',
        "u[t] = a * v[t-1] + g * j[t] + (1 - a) * v_leak,   s[t] = H(u[t] - v_threshold),   v[t] = u[t] reset by s[t]",
    )

    def __init__(
        self,
        dt: Dt = None,
        *,
        tau_mem: TauMem = None,
        beta: Factor = None,
        tau_syn: TauSyn = None,
        alpha: Factor = None,
        synapse: Synapse = "jump_first",
        input_gain: InputGain = "average",
        v_leak: Finite = 0.0,
        v_threshold: Positive = 1.0,
        v_reset: Finite = 0.0,
        decay: DecayRule = "exact",
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
        self.set_synapse(tau_syn, alpha, synapse)
        self.create_parameters(learn, in_shape, per_neuron)

    def initial_state(self, x: Tensor) -> CubaLIFState:
        return CubaLIFState(self.rest(x), torch.zeros_like(x))

    def step(self, x: Tensor, state: CubaLIFState, coefficients: MembraneCoefficients) -> tuple[Tensor, CubaLIFState]:
        i = self.current(state.i, x, coefficients)
        s, v = self.fire(state.v, self.read(state.i, i), coefficients)
        return s, CubaLIFState(v, i)
