"""Learned quantities of a neuron, and their ranges."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError, did_you_mean
from snnlab.nn.neurons.time_constants import FACTOR, Decay
from snnlab.spec.declared import Converted
from snnlab.spec.field import Help, NamesReadBy
from snnlab.spec.interval import Interval, above

Number = float | Tensor
# A number that can be learned, which is then read as a tensor.
Learnable = Converted[float, Any]
Shape = tuple[int, ...]
InShape = Annotated[Shape | None, Help("Shape of one sample at one step; needed for values per channel or neuron.")]
Per = Literal["layer", "channel", "neuron"]
Learn = Annotated[Sequence[str] | Mapping[str, Per] | None, NamesReadBy("learnable_quantity", "cannot be learned")]


class StoredQuantity(NamedTuple):
    """Where the values of a quantity are stored.

    Attributes:
        key: Entry of the neuron's state dict.
        values: What is stored.
        legal: Its legal values.
        as_logarithm: Whether `legal.stored` of a value is stored, and not the value.
    """

    key: str
    values: Tensor
    legal: Interval
    as_logarithm: bool


def learnable_quantity(name: str) -> Any:
    """Return a property for a setting that can be learned: its value is the setting, or the current learned value.

    A learned value is a number, or a detached tensor with a value per channel or neuron; a time constant is in ms, or
    in steps where these have no length.

    Args:
        name: The setting; the method `current_value` of its class returns the learned value.
    """

    def get(neuron: Any) -> Any:
        several = name in neuron.__dict__.get("learn_per", ()) or values_key(name) in neuron.__dict__["_buffers"]
        return neuron.current_value(name) if several else neuron.__dict__[name]

    def put(neuron: Any, value: Any) -> None:
        neuron.__dict__[name] = value

    return property(get, put)


def values_key(name: str) -> str:
    """Return the name of the buffer of a quantity with a value for each neuron."""
    return f"{name}_values"


def number_text(value: Any) -> str:
    """Return a quantity as text: `20`, `2 steps`; for several values their range."""
    if isinstance(value, Tensor):
        return f"{float(value.min()):.4g} to {float(value.max()):.4g}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def as_learn(learn: Learn) -> dict[str, Per]:
    """Return the learned quantities and per what each is learned: `[tau_mem]` is `{tau_mem: layer}`, null: nothing."""
    if learn is None:
        return {}
    if isinstance(learn, str) or not isinstance(learn, Sequence | Mapping):
        raise ConfigError(
            "learn", f"expected a list such as [tau_mem], or a mapping such as {{tau_mem: channel}}, got {learn!r}"
        )
    wanted: dict[str, Any] = dict(learn) if isinstance(learn, Mapping) else dict.fromkeys(learn, "layer")
    for name, per in wanted.items():
        if per not in get_args(Per):
            raise ConfigError(f"learn.{name}", f"must be layer, channel or neuron, got {per!r}")
    return wanted


def require_learnable(name: Any, learnable: Collection[str], place: str = "learn") -> None:
    """Raise a ConfigError if `name` is not among the quantities that can be learned, or have a value per neuron."""
    if name not in learnable:
        instead = did_you_mean(str(name), learnable) if learnable else "this neuron has no learnable quantities"
        what = "be learned" if place == "learn" else "have a value per neuron"
        raise ConfigError(place, f"'{name}' cannot {what}", instead, learnable)


def learned_parameter(name: str, value: float, within: Interval, per: Per, in_shape: Shape | None) -> nn.Parameter:
    """Return the parameter of a learned quantity, initialized to `value`.

    Args:
        name: Name of the setting.
        value: Initial value.
        within: Its legal values.
        per: Whether there is one value per layer, channel or neuron.
        in_shape: Shape of one sample at one step; needed for channels and neurons.
    """
    if value not in within:
        raise ConfigError(name, f"must be {within} to be learned, got {value:g}")
    if per == "layer":
        shape: Shape = ()
    elif not in_shape:
        raise ConfigError(f"learn.{name}", f"per {per} needs in_shape, the shape of one sample at one step")
    else:
        shape = in_shape if per == "neuron" else (in_shape[0], *[1] * (len(in_shape) - 1))
    return nn.Parameter(torch.full(shape, within.stored(value)))


Init = Literal["value", "uniform"]
Ranges = Mapping[str, Sequence[float]]
# The logit of a bound is infinite, and close to it the gradient vanishes.
MARGIN = 1e-3


def as_ranges(ranges: Ranges, decays: Collection[Decay], others: Collection[str]) -> dict[str, Interval]:
    """Return the ranges of time constants, each in the unit of its setting, and of other quantities."""
    by_name = {decay.setting: decay for decay in decays}
    known = [*by_name, *others]
    for name, ends in ranges.items():
        if name not in known:
            raise ConfigError("ranges", f"'{name}' takes no range", did_you_mean(str(name), known), known)
        if not _are_bounds(ends):
            raise ConfigError(f"ranges.{name}", f"needs [low, high], two numbers, low < high, got {ends!r}")
        if name in by_name:
            for end in ends:
                _require_legal(by_name[name], end)
    return {name: Interval(float(low), float(high)) for name, (low, high) in ranges.items()}


def apply_ranges(
    legal: Mapping[str, tuple[float, Interval]], ranges: Mapping[str, Interval], init: Init
) -> dict[str, tuple[float, Interval]]:
    """Return initial and legal values of the learnable quantities, replaced by those of `ranges`."""
    starts = {n: (r.low + r.high) / 2 if init == "uniform" else legal[n][0] for n, r in ranges.items()}
    return {**legal, **{name: (starts[name], ranges[name]) for name in ranges}}


def require_start_in_range(
    learned: Collection[str], legal: Mapping[str, tuple[float, Interval]], ranges: Mapping[str, Interval]
) -> None:
    """Raise a ConfigError for the first learned quantity that starts outside its range, or at a bound."""
    for name, (start, within) in legal.items():
        if name in learned and name in ranges and start not in within:
            raise ConfigError(
                name,
                f"is learned between {within.low:g} and {within.high:g}, but starts at {start:g}",
                f"start it between them, or set ranges: {{{name}: [low, high]}}",
            )


@torch.no_grad()
def init_uniform_(learned_parameter: nn.Parameter) -> None:
    """Draw the parameter of a quantity so that its values are uniform between its bounds."""
    learned_parameter.copy_(torch.logit(torch.rand_like(learned_parameter), eps=MARGIN))


def _are_bounds(ends: Any) -> bool:
    if not isinstance(ends, Sequence) or isinstance(ends, str) or len(ends) != 2:
        return False
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) and math.isfinite(end) for end in ends)
    return numbers and ends[0] < ends[1]


def _require_legal(decay: Decay, end: float) -> None:
    """Raise a ConfigError if a value is illegal for a time constant or a factor."""
    within = FACTOR if decay.tau is None else above(0)
    if end not in within:
        raise ConfigError(f"ranges.{decay.setting}", f"must be {within}, got {end:g}")
    in_steps = isinstance(decay.tau, str)
    changed = {"factor": end} if decay.tau is None else {"tau": f"{float(end)} steps" if in_steps else end}
    decay._replace(**changed).per_step()
