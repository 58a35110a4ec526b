"""The spike and the reset of the canonical family, in every library's dialect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.intervals import Interval, above, below
from snnlab.nn.neurons.info import AfterSpike, Cause, DtWarning, Firing, NeuronInfo
from snnlab.nn.neurons.learn import quantity
from snnlab.nn.neurons.membrane import (
    Coefficients,
    InputGain,
    LeakyMembrane,
    average_left,
    is_number,
)
from snnlab.nn.neurons.time_constants import Decay, TimeConstant
from snnlab.nn.surrogate import Atan, Surrogate, as_surrogate, spike

SurrogateSetting = Surrogate | Mapping[str, Any]
Reset = Literal["subtract", "value", "none"]
Threshold = Literal["inclusive", "strict"]


class SpikingMembrane(LeakyMembrane):
    """A membrane that spikes at its threshold and is reset.

        s[t] = H(u[t] - v_threshold)
        v[t] = u - s * r                     reset "subtract", r = v_threshold
             | (1 - s) * u + s * v_reset     reset "value"
             | u                             reset "none"

    With `input_gain: average` the reset is averaged as the input is, r = v_threshold * (1 - a) * tau_mem / dt: it came
    at any moment of its step too. With `reset_delay` the reset of step t-1 enters u[t] instead, and v[t] = u[t]:

        subtract: u[t] = a * v[t-1] + g * j[t] + (1 - a) * v_leak - r * s[t-1]
        value:    u[t] = a * ((1 - s[t-1]) * v[t-1] + s[t-1] * v_reset) + g * j[t] + (1 - a) * v_leak

    Args:
        v_threshold: Firing threshold, dimensionless.
        v_reset: Potential after a spike where `reset` is `value`.
        reset: `subtract`, `value` or `none`.
        reset_delay: Whether the reset acts one step after its spike.
        detach_reset: Whether the gradient leaves the reset out.
        threshold: `inclusive`: a spike at u >= v_threshold; `strict`: at u > v_threshold.
        surrogate: A `Surrogate`, or in a YAML `{type: atan, width: 0.5}`; `snnlab list surrogates` has them.

    Raises:
        ConfigError: if a value is out of its range or cannot be learned, or a delay needs a reset.
    """

    v_threshold: Any = quantity("v_threshold")
    v_reset: Any = quantity("v_reset")

    def __init__(
        self,
        dt: float | None,
        *,
        tau_mem: TimeConstant | None,
        beta: float | None,
        v_leak: float,
        v_threshold: float,
        v_reset: float,
        decay: Decay,
        input_gain: InputGain,
        reset: Reset,
        reset_delay: bool,
        detach_reset: bool,
        threshold: Threshold,
        surrogate: SurrogateSetting | None,
    ) -> None:
        super().__init__(dt, tau_mem, beta, v_leak, decay, input_gain)
        if v_threshold <= v_leak:
            raise ConfigError("v_threshold", f"must be above v_leak ({v_leak}), got {v_threshold}")
        if reset == "value" and v_reset >= v_threshold:
            raise ConfigError("v_reset", f"must be below v_threshold ({v_threshold}), got {v_reset}")
        if reset == "none" and reset_delay:
            raise ConfigError("reset_delay", "needs a reset", "set reset: subtract or value, or reset_delay: false")
        self.v_threshold, self.v_reset = float(v_threshold), float(v_reset)
        self.reset: Reset = reset
        self.reset_delay, self.detach_reset = reset_delay, detach_reset
        self.threshold: Threshold = threshold
        self.strict = threshold == "strict"
        self.surrogate = Atan() if surrogate is None else as_surrogate(surrogate)

    def learnable(self) -> dict[str, tuple[float, Interval]]:
        """Return what can be learned; threshold above and leak and reset below a line between them stay legal."""
        resets = self.reset == "value"
        under = max(self.v_leak, self.v_reset) if resets else self.v_leak
        line = max(0.0, (under + self.v_threshold) / 2)
        levels: dict[str, tuple[float, Interval]] = {"v_threshold": (self.v_threshold, above(line))}
        own = super().learnable()
        if "v_leak" in own:
            levels["v_leak"] = (self.v_leak, below(line))
        if resets:
            levels["v_reset"] = (self.v_reset, below(line))
        return own | levels

    def coefficients(self) -> Coefficients:
        own, v_threshold = super().coefficients(), self.value("v_threshold")
        r = average_left(own.a, self.decay) * v_threshold if self.input_gain == "average" else v_threshold
        return own._replace(v_threshold=v_threshold, r=r, v_reset=self.value("v_reset"))

    def fire(self, v: Tensor, j: Tensor, k: Coefficients) -> tuple[Tensor, Tensor]:
        """Return the spikes of one step and the membrane after it."""
        if not self.reset_delay:
            u = self.integrate(v, j, k)
            s = self._spike(u, k)
            return s, self._reset(u, s, k)
        s_before = self._spike(v, k)
        if self.reset == "value":
            u = self.integrate(self._reset(v, s_before, k), j, k)
        else:
            u = self._reset(self.integrate(v, j, k), s_before, k)
        return self._spike(u, k), u

    def info(self) -> NeuronInfo:
        found: list[DtWarning] = []
        if self.reset != "subtract":
            cause: Cause = "no_reset" if self.reset == "none" else "reset_to_a_value"
            found.append(DtWarning(cause, fix=(("reset", "subtract"),)))
        if self.reset_delay:
            found.append(DtWarning("late_reset", fix=(("reset_delay", False),)))
        level = self.v_reset if self.reset == "value" else self.v_threshold
        own = super().info()
        return replace(
            own,
            firing=Firing(self.v_threshold, strict=self.strict),
            reset=AfterSpike(self.reset, level, delayed=self.reset_delay),
            warnings=(*own.warnings, *found),
        )

    def _spike(self, u: Tensor, k: Coefficients) -> Tensor:
        return spike(u - k.v_threshold, self.surrogate, k.v_threshold, strict=self.strict)

    def _reset(self, u: Tensor, s: Tensor, k: Coefficients) -> Tensor:
        if self.reset == "none":
            return u
        s = s.detach() if self.detach_reset else s
        if self.reset == "subtract":
            return u - s * k.r
        kept = (1.0 - s) * u
        return kept if is_number(k.v_reset, 0.0) else kept + s * k.v_reset
