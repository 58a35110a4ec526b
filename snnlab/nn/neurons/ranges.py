"""Ends between which a quantity stays while it is learned, where a publication or a user names them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn

from snnlab.errors import ConfigError, did_you_mean
from snnlab.intervals import Interval, above
from snnlab.nn.neurons.time_constants import FACTOR, Leak

Init = Literal["value", "uniform"]
Ranges = Mapping[str, Sequence[float]]

# A place at an end itself is infinitely far, and one close to it learns nothing.
MARGIN = 1e-3


def as_ranges(ranges: Ranges, leaks: Collection[Leak], others: Collection[str]) -> dict[str, Interval]:
    """Return the ranges of time constants, in the unit in which each is given, and of other quantities.

    Raises:
        ConfigError: if a range is no pair of ends in order, of something else, or beyond what a decay can follow.
    """
    by_name = {leak.given: leak for leak in leaks}
    known = [*by_name, *others]
    for name, ends in ranges.items():
        if name not in known:
            raise ConfigError("ranges", f"'{name}' takes no range", did_you_mean(str(name), known), known)
        if not _are_ends(ends):
            raise ConfigError(f"ranges.{name}", f"needs [low, high], two numbers, low < high, got {ends!r}")
        if name in by_name:
            for end in ends:
                _require_legal(by_name[name], end)
    return {name: Interval(float(low), float(high)) for name, (low, high) in ranges.items()}


def within_ranges(
    legal: Mapping[str, tuple[float, Interval]], ranges: Mapping[str, Interval], init: Init
) -> dict[str, tuple[float, Interval]]:
    """Return what can be learned, with its start and its legal values, where some of it has a range of its own."""
    starts = {n: (r.low + r.high) / 2 if init == "uniform" else legal[n][0] for n, r in ranges.items()}
    return {**legal, **{name: (starts[name], ranges[name]) for name in ranges}}


def require_between(
    learned: Collection[str], legal: Mapping[str, tuple[float, Interval]], ranges: Mapping[str, Interval]
) -> None:
    """Raise a ConfigError for the first learned quantity that starts beyond its range, or at its end."""
    for name, (start, within) in legal.items():
        if name in learned and name in ranges and start not in within:
            raise ConfigError(
                name,
                f"is learned between {within.low:g} and {within.high:g}, and starts at {start:g}",
                f"start it between them, or set ranges: {{{name}: [low, high]}}",
            )


@torch.no_grad()
def scatter(parameter: nn.Parameter) -> None:
    """Draw what is stored for a quantity so that its values are uniform between its ends."""
    parameter.copy_(torch.logit(torch.rand_like(parameter), eps=MARGIN))


def _are_ends(ends: Any) -> bool:
    if not isinstance(ends, Sequence) or isinstance(ends, str) or len(ends) != 2:
        return False
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) and math.isfinite(end) for end in ends)
    return numbers and ends[0] < ends[1]


def _require_legal(leak: Leak, end: float) -> None:
    """Raise a ConfigError if a time constant, or a factor, could not have this value."""
    within = FACTOR if leak.tau is None else above(0)
    if end not in within:
        raise ConfigError(f"ranges.{leak.given}", f"must be {within}, got {end:g}")
    in_steps = isinstance(leak.tau, str)
    changed = {"factor": end} if leak.tau is None else {"tau": f"{float(end)} steps" if in_steps else end}
    leak._replace(**changed).per_step()
