"""From a time constant to the factor by which a variable decays in one step."""

from __future__ import annotations

import math
import re
from typing import Literal, NamedTuple

Decay = Literal["exact", "euler"]
TimeConstant = float | str

# A time constant in ms below this part of a step leaves less than e^-20 after it: a slip of the unit.
FORGOTTEN = 0.05

_STEPS = re.compile(r"\s*([+-]?\d*\.?\d+(?:[eE][+-]?\d+)?)\s*steps?\s*")


class Constant(NamedTuple):
    """A time constant in every unit, for whoever reads it.

    Attributes:
        name: What the user calls it, for instance `tau_mem`.
        given: The unit in which the user gave it.
        ms: Its length, ms; None where steps have no length.
        steps: Its length in steps.
        factor: What is left after one step.
        decay: How the factor follows from the length.
    """

    name: str
    given: Literal["ms", "steps", "factor"]
    ms: float | None
    steps: float
    factor: float
    decay: Decay


def time_constant(
    tau: TimeConstant | None, factor: float | None, dt: float | None, decay: Decay, names: tuple[str, str]
) -> Constant:
    """Return a time constant in ms, in steps and as a factor; the arguments are those of `decay_factor`."""
    a = decay_factor(tau, factor, dt, decay, names)
    if tau is not None:
        steps = _in_steps(tau, dt, names[0])
    elif decay == "euler":
        steps = 1.0 / (1.0 - a)
    else:
        steps = -1.0 / math.log(a) if a > 0 else 0.0
    given = "factor" if tau is None else "steps" if isinstance(tau, str) else "ms"
    return Constant(names[0], given, None if dt is None else steps * dt, steps, a, decay)


def decay_factor(
    tau: TimeConstant | None, factor: float | None, dt: float | None, decay: Decay, names: tuple[str, str]
) -> float:
    """Return a, the factor of one step, in double precision.

        exact: a = exp(-dt / tau)        euler: a = 1 - dt / tau

    Args:
        tau: A number in ms, or `"2 steps"`; None where `factor` is given.
        factor: The factor itself, 0 <= a < 1; None where `tau` is given.
        dt: Length of a step, ms; None where steps have no length.
        decay: The rule above.
        names: What the user calls `tau` and `factor`.

    Raises:
        ValueError: if not exactly one of the two is given, or it is out of its range.
    """
    tau_name, factor_name = names
    if (tau is None) == (factor is None):
        raise ValueError(f"give exactly one of {tau_name} (ms, or 'N steps') and {factor_name} (factor per step)")
    if factor is not None:
        if not 0 <= factor < 1:
            raise ValueError(f"{factor_name} is a factor per step, 0 <= {factor_name} < 1, got {factor}")
        return float(factor)
    assert tau is not None
    steps = _in_steps(tau, dt, tau_name)
    if decay == "exact":
        return math.exp(-1.0 / steps)
    if steps <= 1:
        raise ValueError(
            f"{tau_name} of {tau} is not longer than one step ({dt or 1} {'ms' if dt else 'step'}), which decay: euler"
            " cannot follow; use decay: exact, a longer time constant or a shorter dt"
        )
    return 1.0 - 1.0 / steps


def _in_steps(tau: TimeConstant, dt: float | None, name: str) -> float:
    if isinstance(tau, str):
        match = _STEPS.fullmatch(tau)
        if not match:
            raise ValueError(f"{name} is a number in ms or 'N steps' such as '2 steps', got '{tau}'")
        steps = float(match[1])
    else:
        if not tau > 0:
            raise ValueError(f"{name} must be > 0 ms, got {tau}")
        if dt is None:
            raise ValueError(f"{name} is in ms, but these steps have no length in ms; write '{name}: N steps'")
        if not dt > 0:
            raise ValueError(f"dt must be > 0 ms, got {dt}")
        steps = tau / dt
        if steps < FORGOTTEN:
            raise ValueError(
                f"{name} of {tau} ms is far shorter than a step ({dt:g} ms), so that nothing is remembered; if it is"
                f" in seconds, write {1000 * tau:g}"
            )
    if not (steps > 0 and math.isfinite(steps)):
        raise ValueError(f"{name} must be > 0, got {tau}")
    return steps
