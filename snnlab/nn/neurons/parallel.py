"""Base class of neurons that compute all steps at once, by a matrix product over time.

Axes: T steps, B samples, then the layer's own; k taps, the steps of input that one step sees.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.kernels.function import KernelOutput
from snnlab.kernels.reference import valid_steps
from snnlab.nn.layer import OWN_SPIKES, Counts
from snnlab.nn.neurons.base import SurrogateNeuron, to_full_precision, without_autocast
from snnlab.nn.neurons.info import AfterSpike, DtWarning, Firing, NeuronInfo
from snnlab.nn.surrogate import SurrogateSetting, spike
from snnlab.spec.declared import Converted, no_setting, setting
from snnlab.spec.field import Help
from snnlab.spec.interval import at_least

Order = Annotated[int, at_least(1), Help("k, the steps that one step sees.")]
NumSteps = Annotated[Converted[int | None, int], at_least(1)]


class ParallelNeuron(SurrogateNeuron):
    """Base class of parallel spiking neurons: there is no reset, so that no step waits for another.

        s = H(W x + bias)

    The bias is the negative threshold. The product is one matrix product, which is fast for few steps; whole recordings
    and pieces of them agree up to its rounding.

    Shape:
        x: `[T, B, ...]`; returns spikes in {0, 1}, `[T, B, ...]`, and the state.
    """

    parallel: ClassVar[bool] = True
    weight: Tensor = no_setting()
    bias: Tensor = no_setting()

    surrogate: SurrogateSetting = setting(default={"type": "atan", "alpha": 2.0})

    def make_weights(self, kind: str, num_steps: int | None) -> int:
        """Make a weight from each step to each and a bias for each, and return the number of steps."""
        steps = require_num_steps(kind, num_steps)
        self.weight = nn.Parameter(init_over_time_(torch.empty(steps, steps)))
        self.bias = nn.Parameter(torch.full((steps, 1), -1.0))
        return steps

    @abstractmethod
    def drive(self, x: Tensor, state: Any, lengths: Tensor | None) -> tuple[Tensor, Any]:
        """Return W x + bias of all steps, and the state after them; x is 0 past a sample's length."""

    def coefficients(self) -> tuple[()]:
        """Return nothing: the weights are used as they are."""
        return ()

    def step(self, x: Tensor, state: Any, coefficients: Any) -> tuple[Tensor, Any]:
        """Reject a single step."""
        raise ConfigError("", f"{type(self).__name__} computes all steps at once and has no single step to run")

    def run(self, x: Tensor, state: Any, lengths: Tensor | None, counts: Counts | None, **how: Any) -> KernelOutput:
        x = to_full_precision(x)
        valid = valid_steps(lengths, x.shape[0], x)
        with without_autocast(x.device.type):
            h, state = self.drive(x if valid is None else torch.where(valid, x, 0), state, lengths)
        y = spike(h, self.surrogate, 1.0)
        y = y if valid is None else torch.where(valid, y, 0)
        if counts is not None:
            counts[OWN_SPIKES] = y.sum(0)
        return KernelOutput(y, state, None if counts is None else counts[OWN_SPIKES])

    def info(self) -> NeuronInfo:
        level = -float(self.bias.detach().mean())
        found = DtWarning("no_reset", advice="train again where dt changes")
        firing = Firing(level, variable="u - bias")
        return NeuronInfo(firing=firing, reset=AfterSpike("none"), warnings=(found,))


def require_num_steps(kind: str, num_steps: int | None) -> int:
    """Return the number of steps, or raise a ConfigError if it is not known."""
    if num_steps is None:
        raise ConfigError("num_steps", f"{kind} has a weight for each step, and their number is not known", "give it")
    return num_steps


def init_over_time_(weight: Tensor) -> Tensor:
    """Draw weights over time as torch's linear layers do, uniform between -1/sqrt(T) and 1/sqrt(T)."""
    return nn.init.kaiming_uniform_(weight, a=math.sqrt(5.0))


def over_time(weight: Tensor, x: Tensor, bias: Tensor) -> Tensor:
    """Return weight x + bias, the product over time, in the memory format of x.

    Shape:
        weight: `[T, K]`; x: `[K, B, ...]`; bias: `[T, 1]` or `[]`; returns `[T, B, ...]`.
    """
    axes = sorted(range(1, x.dim()), key=x.stride, reverse=True)
    ordered = x.permute(0, *axes)
    h = torch.addmm(bias.to(x.dtype), weight.to(x.dtype), ordered.flatten(1)).unflatten(1, ordered.shape[1:])
    return h.permute(0, *(1 + axes.index(axis) for axis in range(1, x.dim())))
