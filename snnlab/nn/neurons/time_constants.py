"""Time constants, and the factors by which variables decay in one step."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal, NamedTuple

import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.spec.declared import Converted
from snnlab.spec.field import Excludes, Form, Help
from snnlab.spec.interval import Interval, above, between

DecayRule = Literal["exact", "euler"]
TimeConstant = float | str
# Factor of a variable in one step.
FACTOR = between(0, 1, with_high=False)

# Where they are learned, they are read as a tensor.
Factor = Annotated[Converted[float | None, Any], FACTOR]
LENGTH = Form(r"\s*([+-]?\d*\.?\d+(?:[eE][+-]?\d+)?)\s*steps?\s*", "a number in ms or 'N steps' such as '2 steps'")
_Tau = Annotated[Converted[TimeConstant | None, Any], "ms", above(0), LENGTH]
TauMem = Annotated[_Tau, Excludes("beta")]
TauSyn = Annotated[_Tau, Excludes("alpha")]
Alpha = Annotated[Factor, Help("The factor b, in place of `tau_syn`.")]
TauAdapt = Annotated[_Tau, Excludes("rho")]
# A time constant that no factor can replace, and that is not learned.
Tau = Annotated[TimeConstant, "ms", above(0), LENGTH]

# A time constant in ms below this fraction of a step leaves less than e^-20: probably a wrong unit.
MIN_STEPS = 0.05


class Constant(NamedTuple):
    """A time constant in all units, for output.

    Attributes:
        name: Name of its setting, for instance `tau_mem`.
        unit: Unit of the setting.
        ms: Its length, ms; None where steps have no length.
        steps: Its length in steps.
        factor: Factor of the variable in one step.
        decay: Rule from the length to the factor.
        min_max: Minimum and maximum over channels or neurons that learn their own, ms, or steps where these have no
            length; the other fields are then means. None for a single value.
    """

    name: str
    unit: Literal["ms", "steps", "factor"]
    ms: float | None
    steps: float
    factor: float
    decay: DecayRule
    min_max: tuple[float, float] | None = None


class Decay(NamedTuple):
    """Decay of a variable, by a time constant or by a factor.

        exact: a = exp(-dt / tau)        euler: a = 1 - dt / tau

    Attributes:
        tau_name: Name of the setting of the time constant.
        factor_name: Name of the setting of the factor.
        tau: A number in ms, or `"2 steps"`; None where `factor` is given.
        factor: The factor a, 0 <= a < 1; None where `tau` is given.
        dt: Length of a step, ms; None where steps have no length.
        decay: The rule above.
    """

    tau_name: str
    factor_name: str
    tau: TimeConstant | None
    factor: float | None
    dt: float | None
    decay: DecayRule

    @property
    def setting(self) -> str:
        """Name of the setting that was given; this one can be learned."""
        return self.factor_name if self.tau is None else self.tau_name

    def per_step(self) -> float:
        """Return a, the factor of one step, in double precision."""
        if (self.tau is None) == (self.factor is None):
            raise ConfigError(
                "", f"give exactly one of {self.tau_name} (ms, or 'N steps') and {self.factor_name} (factor per step)"
            )
        if self.factor is not None:
            return float(self.factor)
        steps = self._steps()
        if self.decay == "exact":
            return math.exp(-1.0 / steps)
        if steps <= 1:
            raise ConfigError(
                self.tau_name,
                f"{self.tau} is not longer than one step ({self.dt or 1} {'ms' if self.dt else 'step'}), which decay:"
                " euler does not support",
                "use decay: exact, a longer time constant or a shorter dt",
            )
        return 1.0 - 1.0 / steps

    def definition(self, symbol: str) -> str:
        """Return the factor of one step as a formula, `a = exp(-dt / tau_mem)`, or as the setting that it is."""
        if self.tau is None:
            return self.factor_name
        ratio = f"dt / {self.tau_name}"
        return f"{symbol} = exp(-{ratio})" if self.decay == "exact" else f"{symbol} = 1 - {ratio}"

    def learned_factor(self, value: Tensor) -> Tensor:
        """Return a for a learned `value` of the given setting."""
        if self.tau is None:
            return value
        return torch.exp(-self._unit / value) if self.decay == "exact" else 1.0 - self._unit / value

    def scaled(self, value: Tensor, factor: Tensor) -> Tensor:
        """Return the given setting where the time constant is `factor` times as long; by Euler above one step."""
        if self.tau is not None:
            lowest = 1.001 * self._unit if self.decay == "euler" else 0.0
            return (value * factor).clamp(min=lowest)
        return value ** (1.0 / factor) if self.decay == "exact" else (1.0 - (1.0 - value) / factor).clamp(min=0.0)

    def legal_values(self) -> Interval:
        """Return the legal values of the given setting; those of a time constant depend on `decay`."""
        if self.tau is None:
            return Interval(0.0, 1.0)
        return above(self._unit if self.decay == "euler" else 0.0)

    def initial_value(self) -> float:
        """Return the given setting as a number: ms, steps or a factor."""
        return self.per_step() if self.tau is None else self._steps() * self._unit

    def length(self, value: Tensor) -> Tensor:
        """Return the time constant for a learned `value`, ms, or steps where these have no length."""
        if self.tau is not None:
            return value if self.dt is None or not isinstance(self.tau, str) else value * self.dt
        steps = 1.0 / (1.0 - value) if self.decay == "euler" else -1.0 / value.log()
        return steps if self.dt is None else steps * self.dt

    def learned_constant(self, value: Tensor) -> Constant:
        """Return a learned `value` of the given setting in all units; the mean of several values."""
        lengths, factors = self.length(value), self.learned_factor(value)
        mean, unit = float(lengths.mean()), self.dt or 1.0
        min_max = (float(lengths.min()), float(lengths.max())) if lengths.numel() > 1 else None
        ms = None if self.dt is None else mean
        return Constant(self.tau_name, self._setting_unit, ms, mean / unit, float(factors.mean()), self.decay, min_max)

    def constant(self, factor: float | None = None) -> Constant:
        """Return the time constant in all units; `factor` replaces the factor of the setting."""
        a = self.per_step() if factor is None else factor
        if factor is None and self.tau is not None:
            steps = self._steps()
        elif self.decay == "euler":
            steps = 1.0 / (1.0 - a)
        else:
            steps = -1.0 / math.log(a) if a > 0 else 0.0
        ms = None if self.dt is None else steps * self.dt
        return Constant(self.tau_name, self._setting_unit, ms, steps, a, self.decay)

    @property
    def _setting_unit(self) -> Literal["ms", "steps", "factor"]:
        return "factor" if self.tau is None else "steps" if isinstance(self.tau, str) else "ms"

    @property
    def _unit(self) -> float:
        """One step in the unit of the time constant: ms, or steps."""
        if isinstance(self.tau, str):
            return 1.0
        assert self.dt is not None
        return self.dt

    def _steps(self) -> float:
        tau, name = self.tau, self.tau_name
        if isinstance(tau, str):
            match = re.fullmatch(LENGTH.pattern, tau)
            if match is None:  # of one that was set after it was made
                raise ConfigError(name, LENGTH.problem(tau))
            steps = float(match[1])
        else:
            assert tau is not None
            if self.dt is None:
                raise ConfigError(
                    name, "is in ms, but steps have no length in ms", f"give dt (ms), or {name} as 'N steps'"
                )
            steps = tau / self.dt
            if steps < MIN_STEPS:
                raise ConfigError(
                    name,
                    f"{tau} ms is far shorter than a step ({self.dt:g} ms), so that all is forgotten in a step",
                    f"if it is in seconds, write {1000 * tau:g}",
                )
        if not (steps > 0 and math.isfinite(steps)):
            raise ConfigError(name, f"must be > 0, got {tau}")
        return steps
