"""The leaky membrane that the whole family shares, and its spike and reset in every library's dialect."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.neurons.base import Neuron
from snnlab.nn.neurons.dialect import Dialect, Remark
from snnlab.nn.neurons.time_constants import Constant, Decay, TimeConstant, decay_factor, time_constant
from snnlab.nn.surrogate import Atan, Surrogate, as_surrogate, spike
from snnlab.settings import type_problem

InputGain = float | Literal["1-a"]
TauMem = Annotated[TimeConstant | None, "ms"]
SurrogateSetting = Surrogate | Mapping[str, Any]
Reset = Literal["subtract", "value", "none"]
Threshold = Literal["inclusive", "strict"]

DEFAULT_TAU_MEM = 20.0


class MembraneCoefficients(NamedTuple):
    """u = a * v + g * j + c, with c = (1 - a) * v_leak."""

    a: float
    g: float
    c: float


class LeakyMembrane(Neuron):
    """A membrane that leaks towards v_leak and integrates its drive j.

        u[t] = a * v[t-1] + g * j[t] + (1 - a) * v_leak

    Args:
        dt: Length of a step, ms; None where steps have no length.
        tau_mem: Membrane time constant, ms, or `"2 steps"`; 20 ms where neither it nor `beta` is given.
        beta: The factor a itself, in place of `tau_mem`.
        v_leak: Resting potential, dimensionless.
        decay: `exact`: a = exp(-dt / tau_mem); `euler`: a = 1 - dt / tau_mem.
        input_gain: g: a number (1 for impulses: each spike or event is a jump), or `1-a` (for a filtered current).

    Raises:
        ValueError: if a value is out of its range.
    """

    def __init__(
        self,
        dt: float | None,
        tau_mem: TimeConstant | None,
        beta: float | None,
        v_leak: float,
        decay: Decay,
        input_gain: InputGain,
    ) -> None:
        super().__init__()
        if tau_mem is None and beta is None:
            tau_mem = DEFAULT_TAU_MEM
        require_words(decay=(decay, Decay), input_gain=(input_gain, InputGain))
        self.dt, self.tau_mem, self.beta = dt, tau_mem, beta
        self.decay: Decay = decay
        self.v_leak, self.input_gain = v_leak, input_gain
        _require_finite(v_leak=v_leak, input_gain=1.0 if input_gain == "1-a" else input_gain)
        self.membrane_coefficients()

    def membrane_coefficients(self) -> MembraneCoefficients:
        """Return a, g and c in double precision."""
        a = decay_factor(self.tau_mem, self.beta, self.dt, self.decay, ("tau_mem", "beta"))
        g = 1.0 - a if self.input_gain == "1-a" else float(self.input_gain)
        return MembraneCoefficients(a, g, (1.0 - a) * self.v_leak)

    def integrate(self, v: Tensor, j: Tensor, k: MembraneCoefficients) -> Tensor:
        """Return u = a * v + (g * j + c), the membrane before any reset."""
        drive = j if k.g == 1.0 else k.g * j
        return k.a * v + (drive if k.c == 0.0 else drive + k.c)

    def constants(self) -> list[Constant]:
        """Return the membrane's time constant."""
        return [time_constant(self.tau_mem, self.beta, self.dt, self.decay, ("tau_mem", "beta"))]

    def dialect(self) -> Dialect:
        """Return the gain in words; `1-a` treats the input as a level, a number treats it as impulses."""
        filters = self.input_gain == "1-a"
        gain = f"{'1-a = ' if filters else ''}{self.membrane_coefficients().g:.4g}"
        return Dialect({"gain": gain}, drive_power=-1 if filters else 0, filters=filters)

    def extra_repr(self) -> str:
        """Return the constants that `print(network)` shows."""
        tau = f"beta={self.beta}" if self.tau_mem is None else f"tau_mem={self.tau_mem}"
        return f"{tau}, dt={self.dt}"


class SpikingMembrane(LeakyMembrane):
    """A leaky membrane that spikes at its threshold and is reset.

        s[t] = H(u[t] - v_threshold)
        v[t] = u - s * v_threshold           reset "subtract"
             | (1 - s) * u + s * v_reset     reset "value"
             | u                             reset "none"

    With `reset_delay` the reset of step t-1 enters u[t] instead, and v[t] = u[t]:

        subtract: u[t] = a * v[t-1] + g * j[t] + (1 - a) * v_leak - v_threshold * s[t-1]
        value:    u[t] = a * ((1 - s[t-1]) * v[t-1] + s[t-1] * v_reset) + g * j[t] + (1 - a) * v_leak

    Args:
        dt: See `LeakyMembrane`, as `tau_mem`, `beta`, `v_leak`, `decay` and `input_gain`.
        tau_mem: Membrane time constant, ms, or `"2 steps"`.
        beta: The factor a itself, in place of `tau_mem`.
        v_leak: Resting potential, dimensionless.
        v_threshold: Firing threshold, dimensionless, > 0.
        v_reset: Potential after a spike where `reset` is `value`.
        decay: `exact` or `euler`.
        input_gain: A number or `1-a`.
        reset: `subtract`, `value` or `none`.
        reset_delay: Whether the reset acts one step after its spike.
        detach_reset: Whether the gradient leaves the reset out.
        threshold: `inclusive`: spike at u >= v_threshold; `strict`: at u > v_threshold.
        surrogate: A `Surrogate`, or its YAML node.

    Raises:
        ValueError: if a value is out of its range, or a delay is asked for where nothing is reset.
    """

    def __init__(
        self,
        dt: float | None = None,
        *,
        tau_mem: TauMem = None,
        beta: float | None = None,
        v_leak: float = 0.0,
        v_threshold: float = 1.0,
        v_reset: float = 0.0,
        decay: Decay = "exact",
        input_gain: InputGain = 1.0,
        reset: Reset = "subtract",
        reset_delay: bool = False,
        detach_reset: bool = True,
        threshold: Threshold = "inclusive",
        surrogate: SurrogateSetting | None = None,
    ) -> None:
        super().__init__(dt, tau_mem, beta, v_leak, decay, input_gain)
        require_words(reset=(reset, Reset), threshold=(threshold, Threshold))
        _require_finite(v_threshold=v_threshold, v_reset=v_reset)
        if v_threshold <= max(v_leak, 0.0):
            raise ValueError(f"v_threshold must be > 0 and above v_leak ({v_leak}), got {v_threshold}")
        if reset == "value" and v_reset >= v_threshold:
            raise ValueError(f"v_reset must be below v_threshold ({v_threshold}), got {v_reset}")
        if reset == "none" and reset_delay:
            raise ValueError("reset_delay needs a reset; set reset: subtract or value, or reset_delay: false")
        self.v_threshold, self.v_reset = float(v_threshold), float(v_reset)
        self.reset, self.reset_delay, self.detach_reset = reset, reset_delay, detach_reset
        self.threshold = threshold
        self.surrogate = Atan() if surrogate is None else as_surrogate(surrogate)

    def fire(self, v: Tensor, j: Tensor, k: MembraneCoefficients) -> tuple[Tensor, Tensor]:
        """Return the spikes of one step and the membrane after it."""
        if not self.reset_delay:
            u = self.integrate(v, j, k)
            s = self._spike(u)
            return s, self._reset(u, s)
        s_before = self._spike(v)
        if self.reset == "value":
            u = self.integrate(self._reset(v, s_before), j, k)
        else:
            u = self._reset(self.integrate(v, j, k), s_before)
        return self._spike(u), u

    def dialect(self) -> Dialect:
        """Return gain, threshold and reset in words."""
        own = super().dialect()
        resets = {
            "subtract": f"subtract {self.v_threshold:g}",
            "value": f"to {self.v_reset:g}",
            "none": "none",
        }
        words = {
            **own.words,
            "threshold": f"{'u >' if self.threshold == 'strict' else 'u ≥'} {self.v_threshold:g}",
            "reset": resets[self.reset] + (", a step later" if self.reset_delay else ""),
        }
        remarks = []
        if self.reset == "none":
            remarks.append(
                Remark("spikes at each step above its threshold: twice the bins, twice the spikes", "reset: subtract")
            )
        if self.reset_delay:
            remarks.append(Remark("the reset waits for the next step, however long that is", "reset_delay: false"))
        return own._replace(words=words, remarks=tuple(remarks))

    def _spike(self, u: Tensor) -> Tensor:
        return spike(u - self.v_threshold, self.surrogate, self.v_threshold, strict=self.threshold == "strict")

    def _reset(self, u: Tensor, s: Tensor) -> Tensor:
        if self.reset == "none":
            return u
        s = s.detach() if self.detach_reset else s
        if self.reset == "subtract":
            return u - s * self.v_threshold
        kept = (1.0 - s) * u
        return kept if self.v_reset == 0.0 else kept + s * self.v_reset

    def rest(self, x: Tensor) -> Tensor:
        """Return the membrane at rest, v = v_leak, for one step of input."""
        return torch.full_like(x, self.v_leak)


def require_words(**values: tuple[Any, Any]) -> None:
    """Raise a ValueError for the first `(value, annotation)` that does not fit, for callers without a registry."""
    for name, (value, annotation) in values.items():
        if problem := type_problem(value, annotation):
            raise ValueError(f"{name}: {problem}")


def _require_finite(**values: float) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            raise ValueError(f"{name} must be a finite number, got {value}")
