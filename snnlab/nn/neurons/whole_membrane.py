"""Canonical neurons in whole numbers: the same steps, with a decay that is rounded and states of stated widths.

    i[t] = fit(trunc(b * i[t-1] / 2^n) + x[t])
    u[t] = fit(trunc(a * v[t-1] / 2^n) + j[t] + c)

Spike and reset are those of the neuron. A readout returns its membrane times the unit.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.kernels.trace import Symbol, equals_constant, with_slope
from snnlab.kernels.whole_numbers import scaled
from snnlab.nn.integer_targets import IntegerTarget
from snnlab.nn.neurons.alif import ALIF, ALIFState
from snnlab.nn.neurons.cuba_li import CubaLI
from snnlab.nn.neurons.cuba_lif import CubaLIF
from snnlab.nn.neurons.iaf import IAF
from snnlab.nn.neurons.integrator import Integrator
from snnlab.nn.neurons.learn import Number
from snnlab.nn.neurons.li import LI
from snnlab.nn.neurons.lif import LIF
from snnlab.nn.neurons.membrane import (
    LeakyMembrane,
    MembraneCoefficients,
    SpikingMembrane,
    SynapticMembrane,
    spike_count,
)
from snnlab.nn.neurons.time_constants import Decay
from snnlab.nn.neurons.whole_neuron import WholeNeuron, slope_in_units, spike_in_units
from snnlab.nn.surrogate import Surrogate, notify_observers


class WholeCoefficients(NamedTuple):
    """`MembraneCoefficients` in whole numbers: decays in 2^-decay_bits, the others in units.

    Attributes:
        g: Gain of the input, which is part of the weights; no whole number.
        unit: The unit.
        floor: Lower bound of the membrane; -inf where it has none.
    """

    a: Number
    g: Number
    c: Number
    b: Number
    v_threshold: Number
    r: Number
    v_reset: Number
    unit: Number
    floor: Number


class WholeThreshold(NamedTuple):
    """Coefficients of an adaptive threshold in whole numbers.

    Attributes:
        membrane: Those of the membrane.
        rho: Factor of the adaptation, in 2^-decay_bits.
        adaptation: Rise of the threshold with a spike, in units.
    """

    membrane: WholeCoefficients
    rho: Number
    adaptation: Number


class WholeMembrane(WholeNeuron, LeakyMembrane):
    """A leaky membrane in whole numbers."""

    def real_gain(self) -> Number:
        return self.real_membrane().g

    def real_membrane(self) -> MembraneCoefficients:
        """Return the coefficients of the membrane of the real neuron."""
        return super().coefficients()

    def coefficients(self) -> Any:
        """Return coefficients in whole numbers, in double precision."""
        return self.whole_membrane()

    def whole_membrane(self) -> WholeCoefficients:
        """Return those of the membrane."""
        k, unit, whole_factor = self.real_membrane(), self.unit(), self.whole_factor
        in_units = partial(self.in_units, unit=unit)
        fires = isinstance(self, SpikingMembrane)
        floor = getattr(self, "floor", None)
        return WholeCoefficients(
            whole_factor(k.a),
            k.g,
            in_units(k.c),
            whole_factor(k.b),
            in_units(k.v_threshold) if fires else k.v_threshold,
            in_units(k.r) if fires else k.r,
            in_units(k.v_reset),
            unit,
            -torch.inf if floor is None else in_units(floor),
        )

    def stated_numbers(self) -> dict[str, Number]:
        k = self.whole_membrane()
        return {"v_leak": k.c} | ({"v_threshold": k.v_threshold, "v_reset": k.v_reset} if self.spiking else {})

    def decay_factors(self) -> list[tuple[Decay, Number]]:
        k = self.whole_membrane()
        return list(zip(self.decays(), (k.a, k.b), strict=False))

    def step(self, x: Tensor, state: Any, coefficients: Any) -> tuple[Tensor, Any]:
        y, after = super().step(self.fit(x, self.input_overflow), state, coefficients)
        return y if self.spiking else y * coefficients.unit, after

    @property
    def input_overflow(self) -> str:
        """What an input does that is too large."""
        return "saturate"

    def integrate(self, v: Tensor, j: Tensor, k: Any) -> Tensor:
        kept = v if equals_constant(k.a, 1.0) else scaled(v, k.a, self.target.decay_bits)
        drive = kept + j
        return self.fit(drive if equals_constant(k.c, 0.0) else drive + k.c, "saturate")

    def definitions(self) -> dict[str, str]:
        own, target = super().definitions(), self.target
        found = self.defined_in_units(*(("v_threshold", "v_reset", "floor") if self.spiking else ()))
        for name in {"a", "b"} & own.keys():
            formula = own[name].rpartition(" = ")[2]
            found[name] = (
                str(2**target.decay_bits)
                if formula == "1"
                else f"{name} = floor({2**target.decay_bits} * {formula} + 0.5)"
            )
        for name in {"c", "r"} & own.keys():
            formula = own[name].rpartition(" = ")[2]
            for factor in {"a", "b"} & own.keys():  # the real ones; those of the step are whole
                formula = re.sub(rf"\b{factor}\b", f"({own[factor].rpartition(' = ')[2]})", formula)
            found[name] = formula if formula == "0" else f"floor({formula} / unit + 0.5)"
        return found


class WholeSynapse(WholeMembrane, SynapticMembrane):
    """A membrane with a synapse, in whole numbers."""

    @property
    def input_overflow(self) -> str:
        return self.target.current_overflow

    def current(self, i: Tensor, x: Tensor, k: Any) -> Tensor:
        bits, overflow = self.target.decay_bits, self.target.current_overflow
        if self.synapse == "decay_first":
            return scaled(self.fit(i + x, overflow), k.b, bits)
        return self.fit(scaled(i, k.b, bits) + x, overflow)


class WholeSpiking(WholeMembrane, SpikingMembrane):
    """A membrane that spikes, in whole numbers; its surrogate gradient is that of the real membrane."""

    def _spike(self, u: Tensor, k: Any) -> Tensor:
        return self.spike_at(k.v_threshold, u, k)

    def spike_at(self, threshold: Tensor, u: Tensor, k: Any) -> Tensor:
        """Return the spikes of a membrane u at a threshold; the surrogate's unit is that of v_threshold."""
        return spike_in_units(self.surrogate, self.strict, u, threshold, k.v_threshold, k.unit)

    def _several_spikes(self, u: Tensor, k: Any) -> Tensor:
        threshold = k.v_threshold.detach()
        if not isinstance(u, Symbol):
            notify_observers((u - threshold) * k.unit, self.surrogate, threshold * k.unit)
        slope = partial(_slope_at, self.surrogate, threshold, k.unit.detach())
        return with_slope(partial(spike_count, threshold), u, slope)

    def _above_floor(self, v: Tensor, k: Any) -> Tensor:
        return torch.where(v < k.floor, k.floor, v)


class WholeLIF(WholeSpiking, LIF):
    """`lif` in whole numbers."""


class WholeIAF(WholeSpiking, IAF):
    """`iaf` in whole numbers."""


class WholeCubaLIF(WholeSynapse, WholeSpiking, CubaLIF):
    """`cuba_lif` in whole numbers."""


class WholeALIF(WholeSpiking, ALIF):
    """`alif` in whole numbers; its adaptation is in units of the threshold, which it raises."""

    def begin(self, target: IntegerTarget, channels: int, axes: int, weight_shift: int) -> None:
        if self.adapted_reset and self.input_gain == "average":
            problem = "has no rule for whole numbers with input_gain: average"
            raise ConfigError("adapted_reset", problem, "set adapted_reset: false")
        if self.reset_delay:
            raise ConfigError("reset_delay", "has no rule for whole numbers in alif", "set reset_delay: false")
        super().begin(target, channels, axes, weight_shift)

    def real_membrane(self) -> MembraneCoefficients:
        return ALIF.coefficients(self).membrane

    def coefficients(self) -> Any:
        k, membrane = ALIF.coefficients(self), self.whole_membrane()
        return WholeThreshold(membrane, self.whole_factor(k.rho), self.in_units(k.adaptation, self.unit()))

    def stated_numbers(self) -> dict[str, Number]:
        return super().stated_numbers() | {"adaptation": self.coefficients().adaptation}

    def decay_factors(self) -> list[tuple[Decay, Number]]:
        k = self.coefficients()
        return [(self.membrane_decay, k.membrane.a), (self.adaptation_decay, k.rho)]

    def definitions(self) -> dict[str, str]:
        real_rho = self.adaptation_decay.definition("rho").rpartition(" = ")[2]
        rise = f"adaptation * (1 - {real_rho})" if self.adaptation_gain == "1-rho" else "adaptation"
        return super().definitions() | {
            "rho": f"rho = floor({2**self.target.decay_bits} * {real_rho} + 0.5)",
            "adaptation": f"floor({rise} / unit + 0.5)",
        }

    def step(self, x: Tensor, state: ALIFState, coefficients: Any) -> tuple[Tensor, ALIFState]:
        k = coefficients
        u = self.integrate(state.v, self.fit(x, self.input_overflow), k.membrane)
        threshold = state.w + k.membrane.v_threshold
        s = self.spike_at(threshold, u, k.membrane)
        v = self._reset(u, s, k.membrane._replace(r=threshold) if self.adapted_reset else k.membrane)
        kept = scaled(state.w, k.rho, self.target.decay_bits)
        return s, ALIFState(v, self.fit(kept + k.adaptation * s, "saturate"))


class WholeLI(WholeMembrane, LI):
    """`li` in whole numbers."""


class WholeCubaLI(WholeSynapse, CubaLI):
    """`cuba_li` in whole numbers."""


class WholeIntegrator(WholeMembrane, Integrator):
    """`integrator` in whole numbers."""


def _slope_at(surrogate: Surrogate, v_threshold: Tensor, unit: Tensor, u: Tensor) -> Tensor:
    return slope_in_units(surrogate, v_threshold, unit, u - v_threshold)
