"""The conductance-based leaky integrate-and-fire neuron."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn.neurons.base import DetachReset, SurrogateNeuron
from snnlab.nn.neurons.info import AfterSpike, DtWarning, Firing, NeuronInfo
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.neurons.time_constants import Constant, Decay, Tau
from snnlab.nn.surrogate import spike
from snnlab.spec.interval import Finite, Positive, above


class CobaLIFState(NamedTuple):
    """Membrane potential v, excitatory and inhibitory conductance, each `[B, ...]`."""

    v: Tensor
    g_exc: Tensor
    g_inh: Tensor


class CobaLIFCoefficients(NamedTuple):
    """Factors of the two conductances in one step, and time_step / c_m."""

    exc: float
    inh: float
    h: float


@NEURONS.register("coba_lif")
class CobaLIF(SurrogateNeuron):
    """Leaky integrate-and-fire neuron whose positive input excites by a conductance and whose negative inhibits.

    The conductances jump and decay before they act. The Euler step needs time_step / c_m times the sum of the
    conductances to be well below 1; strong inhibition in a long step makes it spike. Norse's recurrent step ignores its
    input; this neuron has the equations of its feed-forward step.

    Args:
        time_step: Length of the Euler step of the membrane, in the unit of c_m / g_leak; null: dt.
        tau_exc: Time constant of the excitatory conductance, ms, or `"2 steps"`.
        tau_inh: Time constant of the inhibitory conductance, ms, or `"2 steps"`.
        c_m: Capacitance of the membrane.
        g_leak: Conductance of the leak.
        v_exc: Reversal potential of excitation, mV.
        v_inh: Reversal potential of inhibition, mV.
        v_leak: Resting potential, mV, where it starts.
        v_reset: Potential after a spike, mV.
        v_threshold: Firing threshold, mV, above v_leak and v_reset.
        surrogate: A `Surrogate`, or its YAML node; relative widths are in units of v_threshold - v_leak.

    Shape:
        x: `[T, B, ...]`; state: `CobaLIFState(v, g_exc, g_inh)`, each `[B, ...]`; returns spikes in {0, 1},
        `[T, B, ...]`, and the state.

    Source: Destexhe et al., The high-conductance state of neocortical neurons, Nature Reviews Neuroscience 4, 2003;
    Norse 1.1.0, coba_lif_feed_forward_step.
    """

    time_step: Annotated[float | None, above(0)] = 0.001
    tau_exc: Tau = "5000 steps"
    tau_inh: Tau = "5000 steps"
    c_m: Positive = 0.2
    g_leak: Positive = 0.25
    v_exc: Annotated[float, "mV"] = 60.0
    v_inh: Annotated[float, "mV"] = -100.0
    v_leak: Annotated[float, "mV"] = -20.0
    v_reset: Annotated[float, "mV"] = -70.0
    v_threshold: Annotated[Finite, "mV"] = -10.0
    detach_reset: DetachReset = True

    def prepare(self) -> None:
        if self.v_threshold <= max(self.v_leak, self.v_reset):
            levels = f"v_leak {self.v_leak:g} and v_reset {self.v_reset:g}"
            raise ConfigError("v_threshold", f"must be above {levels}, got {self.v_threshold:g}")
        self._decays = (
            Decay("tau_exc", "alpha", self.tau_exc, None, self.dt, "euler"),
            Decay("tau_inh", "alpha", self.tau_inh, None, self.dt, "euler"),
        )
        self.coefficients()
        super().prepare()

    def coefficients(self) -> CobaLIFCoefficients:
        step = (1.0 if self.dt is None else self.dt) if self.time_step is None else float(self.time_step)
        exc, inh = (decay.per_step() for decay in self._decays)
        return CobaLIFCoefficients(exc, inh, step / self.c_m)

    def definitions(self) -> dict[str, str]:
        h = "dt" if self.time_step is None else "time_step"
        exc, inh = (decay.definition(f"a_{name}") for name, decay in zip(("exc", "inh"), self._decays, strict=True))
        return {"exc": exc, "inh": inh, "h": f"h = {h} / c_m"}

    def initial_state(self, x: Tensor) -> CobaLIFState:
        return CobaLIFState(torch.full_like(x, self.v_leak), torch.zeros_like(x), torch.zeros_like(x))

    def step(self, x: Tensor, state: CobaLIFState, coefficients: CobaLIFCoefficients) -> tuple[Tensor, CobaLIFState]:
        k, v = coefficients, state.v
        g_exc, g_inh = k.exc * (state.g_exc + torch.relu(x)), k.inh * (state.g_inh + torch.relu(-x))
        current = self.g_leak * (self.v_leak - v) + g_exc * (self.v_exc - v) + g_inh * (self.v_inh - v)
        u = v + k.h * current
        s = spike(u - self.v_threshold, self.surrogate, self.v_threshold - self.v_leak, strict=True)
        r = s.detach() if self.detach_reset else s
        return s, CobaLIFState((1.0 - r) * u + r * self.v_reset, g_exc, g_inh)

    def constants(self) -> list[Constant]:
        return [decay.constant() for decay in self._decays]

    def info(self) -> NeuronInfo:
        firing, reset = Firing(self.v_threshold, strict=True), AfterSpike("value", self.v_reset)
        return NeuronInfo(firing=firing, reset=reset, warnings=(DtWarning("reset_to_a_value"),))
