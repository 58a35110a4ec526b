"""snnTorch's Alpha: a membrane that is the difference of two currents, so that it rises and falls with delay."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn.neurons.base import FiringThreshold, SurrogateNeuron
from snnlab.nn.neurons.info import AfterSpike, DtWarning, Firing, Gain, NeuronInfo
from snnlab.nn.neurons.membrane import Reset
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.neurons.time_constants import Constant, Decay, Factor, TauMem, TauSyn
from snnlab.nn.surrogate import SurrogateSetting, spike
from snnlab.spec.declared import setting


class SnntorchAlphaState(NamedTuple):
    """Membrane potential v, excitatory and inhibitory current, `[B, ...]` each."""

    v: Tensor
    i_exc: Tensor
    i_inh: Tensor


class AlphaCoefficients(NamedTuple):
    """Factors of the two currents in one step, and tau, the gain from their sum to the membrane."""

    alpha: float
    beta: float
    tau: float


@NEURONS.register("snntorch_alpha")
class SnntorchAlpha(SurrogateNeuron):
    """snnTorch's Alpha, whose input is added to two opposite currents that decay at different rates.

    H is strict, and the reset acts one step after its spike:

        value:    e, h and v are 0 where r is 1                                     snnTorch's "zero", its default
        subtract: e[t] - v_threshold * r,   (1 - r) * h[t],   v[t] + h[t-1] * r
        none

    An impulse does not change v in its own step, then by tau * (alpha^t - beta^t). The reset has no gradient.

    Args:
        alpha: Factor of the excitatory current in one step, above beta.
        tau_syn: Time constant of alpha = exp(-1 / tau_syn), `"20 steps"` or ms, in its place.
        beta: Factor of the inhibitory current in one step.
        tau_mem: Time constant of beta, `"10 steps"` or ms, in its place.
        reset: `value` (to 0), `subtract` or `none`.

    Shape:
        x: `[T, B, ...]`; state: `SnntorchAlphaState(v, i_exc, i_inh)`, each `[B, ...]`; returns spikes in {0, 1},
        `[T, B, ...]`, and the state.

    Source: Eshraghian et al., Training spiking neural networks using lessons from deep learning, 2023; snnTorch 1.0.0.
    """

    alpha: Factor = setting(default=0.95)
    tau_syn: TauSyn = setting(default=None)
    beta: Factor = setting(default=0.9)
    tau_mem: TauMem = setting(default=None)
    v_threshold: FiringThreshold = 1.0
    reset: Reset = "value"
    surrogate: SurrogateSetting = setting(default={"type": "atan", "alpha": 2.0})

    def prepare(self) -> None:
        super().prepare()
        self._decays = (
            Decay("tau_syn", "alpha", self.tau_syn, self.alpha, self.dt, "exact"),
            Decay("tau_mem", "beta", self.tau_mem, self.beta, self.dt, "exact"),
        )
        above, below = (decay.per_step() for decay in self.decays())
        if above <= below:
            raise ConfigError("alpha", f"must be above beta, got alpha {above:g} and beta {below:g}")

    def coefficients(self) -> AlphaCoefficients:
        alpha, beta = (decay.per_step() for decay in self.decays())
        # For beta = 0, tau is its limit.
        tau = math.log(alpha) / (math.log(beta) - math.log(alpha)) + 1.0 if beta > 0 else 1.0
        return AlphaCoefficients(alpha, beta, tau)

    def definitions(self) -> dict[str, str]:
        alpha, beta = (decay.definition(name) for name, decay in zip(("alpha", "beta"), self._decays, strict=True))
        tau = "tau = ln(alpha) / (ln(beta) - ln(alpha)) + 1"
        return {"alpha": alpha, "beta": beta, "tau": tau if self.coefficients().beta > 0 else "1"}

    def initial_state(self, x: Tensor) -> SnntorchAlphaState:
        return SnntorchAlphaState(*(torch.zeros_like(x) for _ in range(3)))

    def step(
        self, x: Tensor, state: SnntorchAlphaState, coefficients: AlphaCoefficients
    ) -> tuple[Tensor, SnntorchAlphaState]:
        k = coefficients
        e, h = k.alpha * state.i_exc + x, k.beta * state.i_inh - x
        integrated = SnntorchAlphaState(k.tau * (e + h), e, h)
        after = self._reset(integrated, state)
        s = spike(after.v - self.v_threshold, self.surrogate, self.v_threshold, strict=True)
        return s, after

    def decays(self) -> list[Decay]:
        return list(self._decays)

    def constants(self) -> list[Constant]:
        return [decay.constant() for decay in self.decays()]

    def info(self) -> NeuronInfo:
        resets = self.reset != "none"
        tau = self.coefficients().tau
        level = self.v_threshold if self.reset == "subtract" else 0.0
        warning = DtWarning("late_reset") if resets else DtWarning("no_reset", fix=(("reset", "value"),))
        return NeuronInfo(
            Gain(tau, tau),
            Firing(self.v_threshold, strict=True, variable="v"),
            AfterSpike(self.reset, level, of="i_exc", delayed=resets),
            drive_power=0,
            warnings=(warning,),
        )

    def extra_repr(self) -> str:
        """Return the factors that `print(network)` shows."""
        factors = self.coefficients()
        return f"alpha={factors.alpha:g}, beta={factors.beta:g}, dt={self.dt}"

    def _reset(self, now: SnntorchAlphaState, before: SnntorchAlphaState) -> SnntorchAlphaState:
        """Return the state after the reset by the spikes of the state `before`."""
        if self.reset == "none":
            return now
        r = (before.v > self.v_threshold).to(now.v.dtype)
        kept = 1.0 - r
        if self.reset == "value":
            return SnntorchAlphaState(kept * now.v, kept * now.i_exc, kept * now.i_inh)
        return SnntorchAlphaState(now.v + before.i_inh * r, now.i_exc - self.v_threshold * r, kept * now.i_inh)
