"""The leaky integrate-and-fire neuron with a current-based synapse."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.neurons.base import NEURONS
from snnlab.nn.neurons.dialect import Dialect, Remark
from snnlab.nn.neurons.membrane import (
    InputGain,
    MembraneCoefficients,
    Reset,
    SpikingMembrane,
    SurrogateSetting,
    TauMem,
    Threshold,
    require_words,
)
from snnlab.nn.neurons.time_constants import Constant, Decay, TimeConstant, decay_factor, time_constant

Synapse = Literal["jump_first", "decay_first"]

DEFAULT_TAU_SYN = 10.0


class CubaLIFState(NamedTuple):
    """Membrane potential v and synaptic current i, each `[B, ...]`."""

    v: Tensor
    i: Tensor


class CubaLIFCoefficients(NamedTuple):
    """The membrane's coefficients and b, the synapse's factor of one step."""

    membrane: MembraneCoefficients
    b: float


@NEURONS.register("cuba_lif")
class CubaLIF(SpikingMembrane):
    """Leaky integrate-and-fire neuron whose input jumps onto a decaying synaptic current.

        j[t] = b * i[t-1] + x[t]   (synapse "jump_first")   or   b * (i[t-1] + x[t])   ("decay_first"),   i[t] = j[t]
        u[t] = a * v[t-1] + g * j[t] + (1 - a) * v_leak,   s[t] = H(u[t] - v_threshold),   v[t] = u[t] reset by s[t]

    Args:
        dt: Length of a step, ms; None where steps have no length.
        tau_mem: Membrane time constant, ms, or `"2 steps"`; 20 ms where neither it nor `beta` is given.
        beta: The factor a itself, in place of `tau_mem`.
        tau_syn: Synaptic time constant, ms, or `"2 steps"`; 10 ms where neither it nor `alpha` is given.
        alpha: The factor b itself, in place of `tau_syn`.
        synapse: Whether a jump decays from the next step on (`jump_first`) or at once (`decay_first`).
        input_gain: g: `1-a`, which filters the current, or a number.
        v_leak: See `SpikingMembrane`, as all that follow.
        v_threshold: Firing threshold, dimensionless, > 0.
        v_reset: Potential after a spike where `reset` is `value`.
        decay: `exact` or `euler`, for both time constants.
        reset: `subtract`, `value` or `none`.
        reset_delay: Whether the reset acts one step after its spike.
        detach_reset: Whether the gradient leaves the reset out.
        threshold: `inclusive` or `strict`.
        surrogate: A `Surrogate`, or its YAML node.

    Shape:
        x: `[T, B, ...]`; state: `CubaLIFState(v, i)`, each `[B, ...]`; returns spikes in {0, 1}, `[T, B, ...]`, and
        the state.

    Raises:
        ValueError: if a value is out of its range.
    """

    def __init__(
        self,
        dt: float | None = None,
        *,
        tau_mem: TauMem = None,
        beta: float | None = None,
        tau_syn: Annotated[TimeConstant | None, "ms"] = None,
        alpha: float | None = None,
        synapse: Synapse = "jump_first",
        input_gain: InputGain = "1-a",
        v_leak: float = 0.0,
        v_threshold: float = 1.0,
        v_reset: float = 0.0,
        decay: Decay = "exact",
        reset: Reset = "subtract",
        reset_delay: bool = False,
        detach_reset: bool = True,
        threshold: Threshold = "inclusive",
        surrogate: SurrogateSetting | None = None,
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
        )
        require_words(synapse=(synapse, Synapse))
        if tau_syn is None and alpha is None:
            tau_syn = DEFAULT_TAU_SYN
        self.tau_syn, self.alpha, self.synapse = tau_syn, alpha, synapse
        self.coefficients()

    def coefficients(self) -> CubaLIFCoefficients:
        """Return the membrane's a, g and c, and the synapse's b."""
        b = decay_factor(self.tau_syn, self.alpha, self.dt, self.decay, ("tau_syn", "alpha"))
        return CubaLIFCoefficients(self.membrane_coefficients(), b)

    def constants(self) -> list[Constant]:
        """Return the time constants of membrane and synapse."""
        synapse = time_constant(self.tau_syn, self.alpha, self.dt, self.decay, ("tau_syn", "alpha"))
        return [*super().constants(), synapse]

    def dialect(self) -> Dialect:
        """Return gain, threshold, reset and synapse in words."""
        own = super().dialect()
        # An impulse stays on the synapse for tau_syn / dt steps: one power of the number of steps more.
        power = None if own.drive_power is None else own.drive_power + 1
        words = {**own.words, "synapse": self.synapse.replace("_", " ")}
        if self.synapse == "jump_first":
            return own._replace(words=words, drive_power=power)
        weaker = Remark("jumps decay before they act, the more the longer a step", "synapse: jump_first")
        return own._replace(words=words, drive_power=power, remarks=(*own.remarks, weaker))

    def initial_state(self, x: Tensor) -> CubaLIFState:
        """Return v = v_leak, i = 0."""
        return CubaLIFState(self.rest(x), torch.zeros_like(x))

    def step(self, x: Tensor, state: CubaLIFState, coefficients: CubaLIFCoefficients) -> tuple[Tensor, CubaLIFState]:
        """Return the spikes of one step and the state after it."""
        b = coefficients.b
        j = b * (state.i + x) if self.synapse == "decay_first" else b * state.i + x
        s, v = self.fire(state.v, j, coefficients.membrane)
        return s, CubaLIFState(v, j)
