"""Quantities of a neuron that training may change, each within its interval."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError, did_you_mean
from snnlab.intervals import Interval

Number = float | Tensor
Shape = tuple[int, ...]
Per = Literal["layer", "channel", "neuron"]
Learn = Sequence[str] | Mapping[str, Per] | None


def quantity(name: str) -> Any:
    """Return a property for a setting that training may change: as it was given, or as it is now.

    What is learned is a number, or of channels and neurons a tensor, detached; a time constant in ms, and in steps
    where these have no length.

    Args:
        name: The setting; its class says by `present` what it is now.
    """

    def get(neuron: Any) -> Any:
        return neuron.present(name) if name in neuron.__dict__.get("learn_per", ()) else neuron.__dict__[name]

    def put(neuron: Any, given: Any) -> None:
        neuron.__dict__[name] = given

    return property(get, put)


def number_text(value: Any) -> str:
    """Return a quantity in words: `20`, `2 steps`; of several values their range."""
    if isinstance(value, Tensor):
        return f"{float(value.min()):.4g} to {float(value.max()):.4g}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def as_learn(learn: Learn) -> dict[str, Per]:
    """Return what is learned and for each what: `[tau_mem]` is `{tau_mem: layer}`, null is nothing.

    Raises:
        ConfigError: if it is neither a list of names nor a mapping from names to layer, channel or neuron.
    """
    if learn is None:
        return {}
    if isinstance(learn, str) or not isinstance(learn, Sequence | Mapping):
        raise ConfigError(
            "learn", f"expected a list such as [tau_mem], or a mapping such as {{tau_mem: channel}}, got {learn!r}"
        )
    wanted: dict[str, Any] = dict(learn) if isinstance(learn, Mapping) else dict.fromkeys(learn, "layer")
    for name, per in wanted.items():
        if per not in get_args(Per):
            raise ConfigError(f"learn.{name}", f"is learned per layer, channel or neuron, not per {per!r}")
    return wanted


def require_learnable(name: Any, learnable: Collection[str]) -> None:
    """Raise a ConfigError if `name` is not among the quantities that a neuron can learn."""
    if name not in learnable:
        instead = did_you_mean(str(name), learnable) if learnable else "this neuron learns nothing"
        raise ConfigError("learn", f"'{name}' cannot be learned", instead, learnable)


def parameter(name: str, value: float, within: Interval, per: Per, in_shape: Shape | None) -> nn.Parameter:
    """Return the parameter that is stored for a quantity, at `value` everywhere.

    Args:
        name: What the user calls the quantity.
        value: Where it starts.
        within: Its legal values.
        per: Whether one is shared by the layer, or each channel or each neuron has its own.
        in_shape: Shape of one sample at one step; needed for channels and neurons.

    Raises:
        ConfigError: if the shape is needed and not known.
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
