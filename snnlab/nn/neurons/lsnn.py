"""Norse's neuron of long short-term memory spiking networks."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.neurons.info import DtWarning, Firing, NeuronInfo
from snnlab.nn.neurons.learn import Learn, Shape
from snnlab.nn.neurons.membrane import (
    AdaptiveThreshold,
    InputGain,
    Reset,
    SurrogateSetting,
    SynapticMembrane,
    Threshold,
    ThresholdCoefficients,
)
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.neurons.time_constants import DecayRule, Dt, Factor, TauAdapt, TauMem, TauSyn
from snnlab.spec.interval import Finite, Positive, at_least


class LSNNState(NamedTuple):
    """Membrane potential v, synaptic current i and the adapted threshold b, each `[B, ...]`."""

    v: Tensor
    i: Tensor
    b: Tensor


@NEURONS.register("lsnn")
class LSNN(AdaptiveThreshold, SynapticMembrane):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Leaky integrate-and-fire neuron with an adaptive threshold, with the order of operations of Norse's LSNN.

    With `neuron=norse_lsnn` it is Norse's LSNN and LSNNCell, and with `recurrent: {autapses: false, init: norse}` and
    `detach_reset: true` Norse's LSNNRecurrent. Norse's times are in seconds, so its tau_adapt_inv of 1/800 with
    dt = 0.001 is 800,000 steps: in a trial of a second the threshold hardly relaxes. In Norse's docstring the spike
    depends on v - v_th + b, in its code, as here, on v - b.

    The other arguments and the resets are those of `SpikingMembrane` and `LeakyMembrane`.

    Args:
        tau_syn: Synaptic time constant, ms, or `"2 steps"`; 10 ms where neither it nor `alpha` is given.
        alpha: The factor of the synapse in one step, in place of `tau_syn`.
        tau_adapt: Time constant of the threshold, ms, or `"2 steps"`; 200 ms where neither it nor `rho` is given.
        rho: The factor of the threshold in one step, in place of `tau_adapt`.
        adaptation: Rise of the threshold with a spike, dimensionless like v_threshold; Norse's beta.
        input_gain: g: `average`, (1 - a) * (1 - alpha) * tau_syn / dt; `1-a`, which filters the current; or a number.
        decay: `exact` or `euler`, for all three time constants.
        detach_reset: Whether the effects of a spike on its own neuron, reset and threshold, have no gradient.

    Shape:
        x: `[T, B, ...]`; state: `LSNNState(v, i, b)`, each `[B, ...]`; returns spikes in {0, 1}, `[T, B, ...]`, and the
        state.

    Source: Bellec et al., Long short-term memory and learning-to-learn in networks of spiking neurons, NeurIPS 2018;
    Norse 1.1.0.
    """

    equations: ClassVar[tuple[str, ...]] = (
        "u[t] = a * v[t-1] + g * i[t-1] + (1 - a) * v_leak       the current of the step before",
        "A[t] = b[t-1] + (1 - rho) * (v_threshold - b[t-1]),     s[t] = H(u[t] - A[t])",
        "v[t] = u[t] reset by s[t],   i[t] = alpha * i[t-1] + x[t],   b[t] = A[t] + adaptation * s[t]",
    )

    def __init__(
        self,
        dt: Dt = None,
        *,
        tau_mem: TauMem = None,
        beta: Factor = None,
        tau_syn: TauSyn = None,
        alpha: Factor = None,
        tau_adapt: TauAdapt = None,
        rho: Factor = None,
        adaptation: Annotated[float, at_least(0)] = 0.1,
        input_gain: InputGain = "average",
        v_leak: Finite = 0.0,
        v_threshold: Positive = 1.0,
        v_reset: Finite = 0.0,
        decay: DecayRule = "exact",
        reset: Reset = "value",
        detach_reset: bool = False,
        threshold: Threshold = "strict",
        surrogate: SurrogateSetting | None = None,
        learn: Learn = (),
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
        self.set_synapse(tau_syn, alpha, "jump_first")
        self.set_threshold(tau_adapt, rho, adaptation, learn)
        self.create_parameters(learn, in_shape)

    def initial_state(self, x: Tensor) -> LSNNState:
        b = self.value("v_threshold")
        at_rest = b.to(x.dtype).expand_as(x) if isinstance(b, Tensor) else torch.full_like(x, b)
        return LSNNState(self.rest(x), torch.zeros_like(x), at_rest)

    def step(self, x: Tensor, state: LSNNState, coefficients: ThresholdCoefficients) -> tuple[Tensor, LSNNState]:
        k = coefficients
        u = self.integrate(state.v, state.i, k.membrane)
        b = state.b + k.relaxation * (k.membrane.v_threshold - state.b)
        s = self.spike_at(b, u, k.membrane)
        v = self._reset(u, s, k.membrane)
        risen = b + k.adaptation * (s.detach() if self.detach_reset else s)
        return s, LSNNState(v, self.current(state.i, x, k.membrane), risen)

    def info(self) -> NeuronInfo:
        own = super().info()
        warning = DtWarning("late_current", fix=(("type", "alif"),))
        rising = Firing(self.v_threshold, strict=self.strict, rise=self.adaptation)
        return replace(own, firing=rising, synapse="next_step", warnings=(*own.warnings, warning))
