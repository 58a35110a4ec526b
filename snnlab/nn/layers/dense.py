"""Layers over features: linear, flatten, activations, voting."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from snnlab.errors import ConfigError, join_names
from snnlab.nn.delays import DelaySetting
from snnlab.nn.layer import LAYERS, Dt, InShape, last_axis, near_divisors
from snnlab.nn.layers.delayed import DelayedLinear
from snnlab.spec.declared import Declared, setting
from snnlab.spec.interval import Count


class _ChannelsLast(nn.Module):
    """Keeps a weight of four axes channels-last; torch's weight norm does not."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight.contiguous(memory_format=torch.channels_last)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return self(weight)


def apply_weight_norm(module: nn.Module, dim: int) -> nn.Module:
    """Train a module's weight as length and direction; its value does not change.

        weight[k] = g[k] * v[k] / |v[k]|

    Args:
        module: Module with a `weight`; changed in place.
        dim: Axis of k, the outputs, in the weight.

    Source: Salimans and Kingma, Weight normalization, NeurIPS 2016.
    """
    weight = module.get_parameter("weight")
    parametrizations.weight_norm(module, dim=dim)
    if weight.dim() == 4:
        parametrize.register_parametrization(module, "weight", _ChannelsLast())
    return module


@LAYERS.register("linear")
def linear(
    in_shape: InShape,
    dt: Dt = None,
    *,
    out_features: Count,
    bias: bool = True,
    weight_norm: bool = False,
    delay: DelaySetting = None,
    every: Count = 1,
) -> nn.Module:
    """Return y = W x + b over the last axis.

    Args:
        out_features: Size of the last axis of the output.
        bias: Whether there is a bias b.
        weight_norm: Whether each row of W is trained as length and direction.
        delay: Delays of the connections, `{max: 25, learn: true}`, max in ms; `snnlab list layers delay`
            names all settings.
        every: Steps from one output to the next, with zeros between them: a causal convolution with this stride. It
            needs delays, such as `{max: 15 steps, count: 16, initial: even}` for a kernel of 16 steps.

    Shape:
        `[N, ..., F]` to `[N, ..., out_features]`.
    """
    module = nn.Linear(last_axis("linear", in_shape), out_features, bias)
    if every > 1 and delay is None:
        raise ConfigError("every", f"{every} needs delays, else most inputs have no effect", "set delay")
    module = module if delay is None else DelayedLinear(module, delay, dt, every)
    return apply_weight_norm(module, dim=0) if weight_norm else module


@LAYERS.register("flatten")
def flatten(in_shape: InShape = (), *, start_axis: int = 0, end_axis: int = -1) -> nn.Flatten:
    """Flatten the axes of a sample to one, by default all of them.

    Args:
        start_axis: First flattened axis of the sample, from 0; negative: from the end.
        end_axis: Last flattened axis.

    Shape:
        `[N, ...]` to `[N, F]`, or with the axes before and after the flattened ones.
    """
    dims = len(in_shape)
    start, end = (axis + dims if axis < 0 else axis for axis in (start_axis, end_axis))
    if dims and not 0 <= start <= end < dims:
        raise ConfigError("start_axis", f"axes {start_axis} to {end_axis} are not those of {list(in_shape)}")
    return nn.Flatten(start + 1, -1 if end == dims - 1 else end + 1)


@LAYERS.register("relu")
def relu() -> nn.ReLU:
    """Return max(0, x)."""
    return nn.ReLU()


@LAYERS.register("leaky_relu")
def leaky_relu(*, negative_slope: float = 0.01) -> nn.LeakyReLU:
    """Return max(0, x) + negative_slope * min(0, x).

    Args:
        negative_slope: Slope below 0.
    """
    return nn.LeakyReLU(negative_slope)


@LAYERS.register("sigmoid")
def sigmoid() -> nn.Sigmoid:
    """Return 1 / (1 + exp(-x))."""
    return nn.Sigmoid()


@LAYERS.register("tanh")
def tanh() -> nn.Tanh:
    """Return the hyperbolic tangent of x."""
    return nn.Tanh()


@LAYERS.register("gelu")
def gelu(*, approximate: Literal["none", "tanh"] = "none") -> nn.GELU:
    """Return x * Phi(x), Phi the distribution function of the normal distribution, exact or approximated by a tanh.

    Args:
        approximate: `none`: exact; `tanh`: approximated by a tanh.
    """
    return nn.GELU(approximate)


@LAYERS.register("identity")
def identity() -> nn.Identity:
    """Return x, in place of a layer that an experiment removes."""
    return nn.Identity()


@LAYERS.register("voting")
class Voting(Declared, nn.Module):
    """The mean of each group of consecutive features of the last axis; for spikes, the fraction that votes.

        y[k] = mean(x[k * group_size], ..., x[(k + 1) * group_size - 1])

    Args:
        group_size: Features that vote for one output, a divisor of the last axis.

    Shape:
        `[N, ..., K * group_size]` to `[N, ..., K]`.

    Source: Fang et al., Incorporating learnable membrane time constant, ICCV 2021.
    """

    in_shape: InShape = setting(kw_only=False)
    group_size: Count = setting()

    def prepare(self) -> None:
        features, size = last_axis("voting", self.in_shape), self.group_size
        if features % size:
            near = join_names(map(str, near_divisors(features, size)))
            problem = f"must divide the input's last axis ({features}), got {size}"
            raise ConfigError("group_size", problem, f"near: {near}")

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.group_size)).mean(-1)

    def extra_repr(self) -> str:
        """Return the setting that `print(network)` shows."""
        return f"group_size={self.group_size}"
