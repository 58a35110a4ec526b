"""The current-based neuron of Loihi 2 in its integers, which is lava-dl's CUBA and Lava's fixed-point LIF."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.kernels.whole_numbers import saturated, scaled, truncated, wrapped
from snnlab.nn.neurons.base import InputFactor, SurrogateNeuron
from snnlab.nn.neurons.info import AfterSpike, DtWarning, Firing, Gain, NeuronInfo
from snnlab.nn.neurons.learn import InShape, Number
from snnlab.nn.neurons.membrane import symbol_of
from snnlab.nn.neurons.nir_node import SYNAPTIC, InNIR, Lost, NIRNode, lost_of, membrane_values
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.neurons.time_constants import Constant, Decay, Factor, TauMem, TauSyn
from snnlab.nn.surrogate import SurrogateSetting, spike
from snnlab.spec.declared import Converted, setting
from snnlab.spec.interval import Count, Positive, between

# A decay is a whole number of 4096ths.
DECAY_BITS = 12
DECAY_SCALE = 1 << DECAY_BITS
# Weights, threshold and bias are shifted left by 6 bits; states have 24 bits with their sign, a threshold has 17.
SHIFT = 1 << 6
STATE_BITS = 24
MOST_THRESHOLD = (1 << 17) - 1


class Loihi2State(NamedTuple):
    """Membrane potential v after its reset and synaptic current i, which Loihi calls u, whole numbers `[B, ...]`."""

    v: Tensor
    i: Tensor


class Loihi2Coefficients(NamedTuple):
    """Coefficients of a step, whole numbers.

    Attributes:
        keep_v: What a step leaves of the membrane, in 4096ths.
        keep_i: What a step leaves of the current, in 4096ths.
        unit: What an input of 1 is in the states.
        v_threshold: The threshold in the states.
        bias: What is added to the membrane in each step.
    """

    keep_v: float
    keep_i: float
    unit: float
    v_threshold: float
    bias: Number


@NEURONS.register("loihi2")
class Loihi2LIF(SurrogateNeuron):
    """Loihi 2's current-based leaky integrate-and-fire neuron, in whole numbers.

    Of the current, 4096 - d_u - 1 of 4096 are left after a step, of the membrane 4096 - d_v, where 1 - alpha is d_u + 1
    and 1 - beta is d_v of 4096, rounded. Products and inputs are truncated towards zero. The current has 24 bits and
    begins anew at the other end of (-2^23, 2^23], the membrane stays at its ends, 2^23 - 1 and -(2^23 - 1). The
    threshold is truncated to a whole number of 1 / scale and strict. Gradients are those of the linear recurrence,
    without truncations and resets, as lava-dl's; a membrane at an end has none.

    All numbers are exact in single precision while the weighted sum of a step is, below 2^24 in units of 1 / scale.

    Args:
        tau_mem: Membrane time constant of a = exp(-1 / tau), `"2 steps"` or ms, in place of `beta`.
        beta: 1 - d_v / 4096, lava-dl's 1 - voltage_decay; 1 leaks nothing.
        tau_syn: Synaptic time constant, `"2 steps"` or ms, in place of `alpha`.
        alpha: 1 - (d_u + 1) / 4096, lava-dl's 1 - current_decay; at 0 the current is the input.
        v_threshold: Firing threshold, dimensionless, from 1 / scale to 131071 / scale.
        scale: Whole number that represents 1 in weights, threshold and bias; in the states it is 64 times this. 1 where
            the weights are Loihi's whole numbers.
        input_gain: Factor of the input.
        channel_bias: Whether each channel has a learned `bias`, which is added to the membrane in each step.
        surrogate: A `Surrogate`, or its YAML node; widths in units of u are in those of the states. lava-dl's gradient
            is scale_rho / (2 tau_rho) * exp(-|u - v_threshold| / tau_rho), tau_rho = 100 * tau_grad * v_threshold,
            scale_rho = scale_grad / 10: `{type: exponential, grad_width: 100 * tau_grad, grad_scale: scale_grad / 20}`;
            by default tau_grad = 1 and scale_grad = 1, as in lava-dl.

    Shape:
        x: `[T, B, ...]`; state: `Loihi2State(v, i)`, each `[B, ...]`; returns spikes in {0, 1}, `[T, B, ...]`, and the
        state.

    Source: lava-nc/lava, lava.proc.lif.models.PyLifModelBitAcc; lava-nc/lava-dl, lava.lib.dl.slayer.neuron.cuba;
    Shrestha and Orchard, SLAYER, NeurIPS 2018.
    """

    # 1: no leak, which Loihi's membrane may have and its current not.
    beta: Annotated[Converted[float | None, Any], between(0, 1)] = setting(default=0.8)
    tau_mem: TauMem = setting(default=None)
    tau_syn: TauSyn = setting(default=None)
    alpha: Factor = setting(default=0.5)
    v_threshold: Positive = 1.0
    scale: Count = 64
    input_gain: InputFactor = 1.0
    channel_bias: bool = False
    surrogate: SurrogateSetting = setting(default={"type": "exponential", "grad_width": 100.0, "grad_scale": 0.05})
    in_shape: InShape = None

    def prepare(self) -> None:
        super().prepare()
        mantissa = int(self.v_threshold * self.scale)
        if not 1 <= mantissa <= MOST_THRESHOLD:
            limits = f"1 / scale = {1 / self.scale:g} to {MOST_THRESHOLD} / scale = {MOST_THRESHOLD / self.scale:g}"
            raise ConfigError("v_threshold", f"must be {limits}, got {self.v_threshold}")
        self.v_threshold = mantissa / self.scale
        self.membrane_decay = Decay("tau_mem", "beta", self.tau_mem, self.beta, self.dt, "exact")
        self.synapse_decay = Decay("tau_syn", "alpha", self.tau_syn, self.alpha, self.dt, "exact")
        if self.channel_bias:
            if not self.in_shape:
                raise ConfigError("channel_bias", "needs in_shape, the shape of one sample at one step")
            self.bias = nn.Parameter(torch.zeros(self.in_shape[0], *[1] * (len(self.in_shape) - 1)))
        self.coefficients()

    def coefficients(self) -> Loihi2Coefficients:
        keep_v, keep_i = _kept(self.membrane_decay), _kept(self.synapse_decay)
        # One that v_threshold * unit would not be, as 0.7 * 64 * 10 is not.
        threshold = float(round(self.v_threshold * self.scale) * SHIFT)
        bias = truncated(self.bias.double() * self.scale) * SHIFT if self.channel_bias else 0.0
        return Loihi2Coefficients(keep_v, keep_i, self.input_gain * self.scale * SHIFT, threshold, bias)

    def definitions(self) -> dict[str, str]:
        def kept(name: str, decay: Decay) -> dict[str, str]:
            a = decay.definition("a" if decay is self.membrane_decay else "b")
            return {name: f"{name} = {DECAY_SCALE} - floor({DECAY_SCALE} * (1 - {symbol_of(a)}) + 0.5)"}

        found = kept("keep_v", self.membrane_decay) | kept("keep_i", self.synapse_decay)
        a = {"a": self.membrane_decay.definition("a"), "b": self.synapse_decay.definition("b")}
        gain = "scale" if self.input_gain == 1.0 else "input_gain * scale"
        numbers = {"unit": f"{SHIFT} * {gain}", "v_threshold": f"{SHIFT} * scale * v_threshold"}
        return found | a | numbers | {"bias": f"{SHIFT} * trunc(scale * bias)" if self.channel_bias else "0"}

    def initial_state(self, x: Tensor) -> Loihi2State:
        return Loihi2State(torch.zeros_like(x), torch.zeros_like(x))

    def step(self, x: Tensor, state: Loihi2State, coefficients: Loihi2Coefficients) -> tuple[Tensor, Loihi2State]:
        k = coefficients
        # Two numbers of 24 bits have a sum that single precision holds.
        arriving = wrapped(truncated(x * k.unit), STATE_BITS, without_least=True)
        i = wrapped(scaled(state.i, k.keep_i, DECAY_BITS) + arriving, STATE_BITS, without_least=True)
        u = saturated(scaled(state.v, k.keep_v, DECAY_BITS) + (i + k.bias), STATE_BITS, without_least=True)
        s = spike(u - k.v_threshold, self.surrogate, k.v_threshold, strict=True)
        return s, Loihi2State(u - (s * u).detach(), i)

    def constants(self) -> list[Constant]:
        """Return the time constants, rounded to 12 bits, of what decays."""
        k = self.coefficients()
        leak = [] if k.keep_v == DECAY_SCALE else [self.membrane_decay.constant(k.keep_v / DECAY_SCALE)]
        return [*leak, self.synapse_decay.constant(k.keep_i / DECAY_SCALE)]

    def learned_values(self) -> Iterator[tuple[str, str, Tensor]]:
        if self.channel_bias:
            yield "bias", "", self.bias.detach().double()

    def in_nir(self, dt: float) -> InNIR | None:
        k = self.coefficients()
        if k.keep_v == DECAY_SCALE:  # no node integrates a decaying current without a leak
            return None
        a, b = k.keep_v / DECAY_SCALE, k.keep_i / DECAY_SCALE
        node = NIRNode("CubaLIF", SYNAPTIC)
        v_leak = self.bias.detach().double() / (1.0 - a) if self.channel_bias else 0.0
        values = membrane_values(node, dt, a=a, b=b, g=self.input_gain, v_leak=v_leak)
        lost = [Lost("integer states (loihi2)", "type: cuba_lif", "real numbers"), *lost_of(self.info())]
        return InNIR(node.kind, values | {"v_threshold": self.v_threshold, "v_reset": 0.0}, lost)

    def info(self) -> NeuronInfo:
        k = self.coefficients()
        return NeuronInfo(
            Gain(self.input_gain, k.unit),
            Firing(k.v_threshold, strict=True),
            AfterSpike("value"),
            bits=STATE_BITS,
            warnings=(DtWarning("jump_drives_each_step"),),
        )

    def extra_repr(self) -> str:
        """Return the constants that `print(network)` shows."""
        tau = f"beta={self.beta}" if self.tau_mem is None else f"tau_mem={self.tau_mem}"
        return f"{tau}, dt={self.dt}"


def _kept(decay: Decay) -> float:
    """Return what a step leaves, in 4096ths; raise if a decay rounds to none."""
    factor = decay.per_step()
    lost = round(DECAY_SCALE * (1.0 - factor))
    if lost == 0 and factor != 1.0:
        value = decay.factor if decay.tau is None else decay.tau
        raise ConfigError(
            decay.setting,
            f"{value} decays by less than the resolution of 12 bits, 1/{DECAY_SCALE} per step",
            f"set {decay.tau_name}: {DECAY_SCALE} steps, or {decay.factor_name}: {1 - 1 / DECAY_SCALE:.6f}, or less",
        )
    return float(DECAY_SCALE - lost)
