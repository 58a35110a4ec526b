"""lava-dl's CUBA: the current-based neuron of Loihi, in integer arithmetic."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn.neurons.base import SurrogateNeuron
from snnlab.nn.neurons.info import AfterSpike, DtWarning, Firing, Gain, NeuronInfo
from snnlab.nn.neurons.nir_node import SYNAPTIC, InNIR, Lost, NIRNode, lost_of, membrane_values
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.neurons.time_constants import Constant, Decay, Factor, TauMem, TauSyn
from snnlab.nn.surrogate import SurrogateSetting, spike
from snnlab.spec.declared import setting
from snnlab.spec.interval import Count, Positive

# The decays have 12 bits: a factor is a whole number of 4096ths.
DECAY_SCALE = 1 << 12
# The states have 6 more fractional bits than threshold and weights.
STATE_BITS = 1 << 6


class LavaCubaState(NamedTuple):
    """Membrane potential v after its reset and synaptic current i, `[B, ...]` each."""

    v: Tensor
    i: Tensor


class LavaCoefficients(NamedTuple):
    """Decay factors of membrane and current in one step, in 4096ths."""

    v: int
    i: int


@NEURONS.register("lava_cuba")
class LavaCuba(SurrogateNeuron):
    """lava-dl's CUBA neuron, with decays of 12 bits and states that are whole numbers of 1 / (64 * scale).

    d = round(4096 * (1 - a)) / 4096 with a = beta or alpha; v_threshold is truncated to a whole number of 1 / scale.
    Each product and each input is truncated towards zero, and H is strict: lava-dl writes
    u >= v_threshold + 0.01 / (64 * scale), the same in its integers. Gradients are those of the linear recurrence,
    without truncations and resets. In single precision the integers are exact for |v| < 2^24 / (64 * scale), 4096 at a
    scale of 64.

    Args:
        tau_mem: Membrane time constant of a = exp(-1 / tau), `"2 steps"` or ms, in place of `beta`.
        beta: 1 - voltage_decay.
        tau_syn: Synaptic time constant, `"2 steps"` or ms, in place of `alpha`.
        alpha: 1 - current_decay.
        v_threshold: Firing threshold, dimensionless, at least 1 / scale.
        scale: Integer that represents 1 in threshold and weights; in the states it is 64 times this.
        surrogate: A `Surrogate`, or its YAML node. lava-dl's gradient is scale_rho / (2 tau_rho) *
            exp(-|u - v_threshold| / tau_rho), tau_rho = 100 * tau_grad * v_threshold, scale_rho = scale_grad / 10:
            `{type: exponential, grad_width: 100 * tau_grad, grad_scale: scale_grad / 20}`; by default tau_grad = 1
            and scale_grad = 1, as in lava-dl.

    Shape:
        x: `[T, B, ...]`; state: `LavaCubaState(v, i)`, each `[B, ...]`; returns spikes in {0, 1}, `[T, B, ...]`, and
        the state.

    Source: lava-nc/lava-dl, lava.lib.dl.slayer.neuron.cuba and dynamics.leaky_integrator; Shrestha and Orchard,
    SLAYER, NeurIPS 2018.
    """

    equations: ClassVar[tuple[str, ...]] = (
        "i[t] = (1 - d_i) * i[t-1] + x[t],   u[t] = (1 - d_v) * v[t-1] + i[t]",
        "s[t] = H(u[t] - v_threshold),       v[t] = (1 - s[t]) * u[t]",
    )

    tau_mem: TauMem = setting(default=None)
    beta: Factor = setting(default=0.8)
    tau_syn: TauSyn = setting(default=None)
    alpha: Factor = setting(default=0.5)
    v_threshold: Positive = 1.0
    scale: Count = 64
    surrogate: SurrogateSetting = setting(default={"type": "exponential", "grad_width": 100.0, "grad_scale": 0.05})

    def prepare(self) -> None:
        super().prepare()
        if self.v_threshold * self.scale < 1:
            raise ConfigError("v_threshold", f"must be at least 1 / scale = {1 / self.scale:g}, got {self.v_threshold}")
        self.v_threshold = int(self.v_threshold * self.scale) / self.scale
        self.membrane_decay = Decay("tau_mem", "beta", self.tau_mem, self.beta, self.dt, "exact")
        self.synapse_decay = Decay("tau_syn", "alpha", self.tau_syn, self.alpha, self.dt, "exact")
        self.coefficients()

    def coefficients(self) -> LavaCoefficients:
        """Return the factors of one step in 4096ths."""
        return LavaCoefficients(_factor_in_4096ths(self.membrane_decay), _factor_in_4096ths(self.synapse_decay))

    def initial_state(self, x: Tensor) -> LavaCubaState:
        return LavaCubaState(torch.zeros_like(x), torch.zeros_like(x))

    def step(self, x: Tensor, state: LavaCubaState, coefficients: LavaCoefficients) -> tuple[Tensor, LavaCubaState]:
        scale = self.scale * STATE_BITS
        i = integrate(state.i, x, coefficients.i, scale)
        u = integrate(state.v, i, coefficients.v, scale)
        s = spike(u - self.v_threshold, self.surrogate, self.v_threshold, strict=True)
        return s, LavaCubaState(u - (s * u).detach(), i)

    def constants(self) -> list[Constant]:
        """Return the time constants of membrane and synapse, rounded to 12 bits."""
        kept = self.coefficients()
        return [
            self.membrane_decay.constant(kept.v / DECAY_SCALE),
            self.synapse_decay.constant(kept.i / DECAY_SCALE),
        ]

    def in_nir(self, dt: float) -> InNIR:
        kept, node = self.coefficients(), NIRNode("CubaLIF", SYNAPTIC)
        values = membrane_values(node, dt, a=kept.v / DECAY_SCALE, b=kept.i / DECAY_SCALE)
        lost = [Lost("integer states (lava_cuba)", "type: cuba_lif", "real numbers"), *lost_of(self.info())]
        return InNIR(node.kind, values | {"v_threshold": self.v_threshold, "v_reset": 0.0}, lost)

    def info(self) -> NeuronInfo:
        return NeuronInfo(
            Gain(1.0, 1.0),
            Firing(self.v_threshold, strict=True),
            AfterSpike("value"),
            resolution=self.scale * STATE_BITS,
            warnings=(DtWarning("jump_drives_each_step"),),
        )

    def extra_repr(self) -> str:
        """Return the constants that `print(network)` shows."""
        tau = f"beta={self.beta}" if self.tau_mem is None else f"tau_mem={self.tau_mem}"
        return f"{tau}, dt={self.dt}"


def _factor_in_4096ths(decay: Decay) -> int:
    """Return the decay factor of one step in 4096ths; raise if the decay rounds to zero."""
    lost = round(DECAY_SCALE * (1.0 - decay.per_step()))
    if lost == 0:
        value = decay.factor if decay.tau is None else decay.tau
        raise ConfigError(
            decay.setting,
            f"{value} decays by less than the resolution of 12 bits, 1/{DECAY_SCALE} per step",
            f"set {decay.tau_name}: {DECAY_SCALE} steps, or {decay.factor_name}: {1 - 1 / DECAY_SCALE:.6f}, or less",
        )
    return DECAY_SCALE - lost


class _Integrate(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(y: Tensor, x: Tensor, kept: int, scale: int) -> Tensor:
        # Doubles represent these products exactly, so truncation equals lava-dl's shift of 64-bit integers.
        left = torch.trunc(torch.round(y.double() * scale) * (kept / DECAY_SCALE))
        return ((left + torch.trunc(x * scale)) / scale).to(x.dtype)

    # Separate from `forward`, as torch.func requires.
    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.factor = inputs[2] / DECAY_SCALE

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        return grads[0] * ctx.factor, grads[0], None, None


# A separate class, since torch.compile does not support functions with `jvp`.
class _IntegrateForward(_Integrate):
    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        return tangents[0] * ctx.factor + tangents[1]


def integrate(y: Tensor, x: Tensor, kept: int, scale: int) -> Tensor:
    """Return kept / 4096 * y + x in whole numbers of 1 / scale, both terms truncated towards zero.

    The gradient is that of the sum without truncation.

    Shape:
        y, x: `[B, ...]`; returns the same.
    """
    function = _Integrate if torch.compiler.is_compiling() else _IntegrateForward
    return function.apply(y, x, kept, scale)  # type: ignore[no-any-return]
