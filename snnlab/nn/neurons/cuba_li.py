"""The leaky integrator with a current-based synapse, a readout neuron that never spikes."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.neurons.learn import Learn, Shape
from snnlab.nn.neurons.membrane import InputGain, MembraneCoefficients, PerNeuron, Synapse, SynapticMembrane
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.neurons.time_constants import DecayRule, Dt, Factor, TauMem, TauSyn
from snnlab.spec.interval import Finite


class CubaLIState(NamedTuple):
    """Membrane potential v and synaptic current i, each `[B, ...]`."""

    v: Tensor
    i: Tensor


@NEURONS.register("cuba_li")
class CubaLI(SynapticMembrane):
    """Leaky integrator whose input is added to a decaying synaptic current; its output is its membrane.

    The arguments are those of `SynapticMembrane` and `LeakyMembrane`.

    Shape:
        x: `[T, B, ...]`; state: `CubaLIState(v, i)`, each `[B, ...]`; returns the membrane, `[T, B, ...]`, and the
        state.
    """

    equations: ClassVar[tuple[str, ...]] = (
        'j[t] = b * i[t-1] + x[t]   (synapse "jump_first")   or   b * (i[t-1] + x[t])   ("decay_first"),   i[t] = j[t]',
        'j[t] = i[t-1],   i[t] = b * i[t-1] + x[t]   ("next_step")',
        "v[t] = a * v[t-1] + g * j[t] + (1 - a) * v_leak",
    )

    spiking: ClassVar[bool] = False

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
        decay: DecayRule = "exact",
        learn: Learn = (),
        per_neuron: PerNeuron = (),
        in_shape: Shape | None = None,
    ) -> None:
        super().__init__(dt, tau_mem, beta, v_leak, decay, input_gain)
        self.set_synapse(tau_syn, alpha, synapse)
        self.create_parameters(learn, in_shape, per_neuron)

    def initial_state(self, x: Tensor) -> CubaLIState:
        return CubaLIState(self.rest(x), torch.zeros_like(x))

    def step(self, x: Tensor, state: CubaLIState, coefficients: MembraneCoefficients) -> tuple[Tensor, CubaLIState]:
        """Return the membrane after one step, and the state."""
        i = self.current(state.i, x, coefficients)
        v = self.integrate(state.v, self.read(state.i, i), coefficients)
        return v, CubaLIState(v, i)
