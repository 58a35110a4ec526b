"""The parallel spiking neuron, whose every step sees all steps.

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.nn.layer import Reach
from snnlab.nn.neurons.membrane import SurrogateSetting
from snnlab.nn.neurons.parallel import ParallelNeuron, init_over_time_, over_time
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.neurons.time_constants import Dt
from snnlab.spec.interval import at_least

NumSteps = Annotated[int | None, at_least(1)]


class PSNState(NamedTuple):
    """Steps that each sample has had, `[B]`, int64, in host memory; nothing else is carried."""

    step: Tensor


@NEURONS.register("psn")
class PSN(ParallelNeuron):
    """Parallel spiking neuron: a learned matrix between all steps, also from later to earlier ones.

    It needs whole recordings of num_steps steps; it cannot be streamed, split in time or given feedback.

    Args:
        dt: Length of a step, ms; not used, since the weights are per step.
        num_steps: T, the steps of a recording; given by the data.
        surrogate: A `Surrogate`, or its YAML node; by default SpikingJelly's `{type: atan, alpha: 2.0}`.

    Shape:
        x: `[T, B, ...]`; state: `PSNState(step [B])`; returns spikes in {0, 1}, `[T, B, ...]`, and the state. The
        parameters `weight [T, T]` and `bias [T, 1]` are SpikingJelly's.

    Raises:
        ConfigError: if the number of steps is not known, or the input has another.

    Source: Fang et al., Parallel spiking neurons with high efficiency and ability to learn long-term dependencies,
    NeurIPS 2023; SpikingJelly 2.0, neuron.PSN.
    """

    reach: Reach = "recording"
    whole_recording: bool = True
    equations: ClassVar[tuple[str, ...]] = (
        "u[t] = sum over all t' of weight[t, t'] * x[t'] + bias[t],   s[t] = H(u[t])     bias[t] = -1 at first",
    )

    def __init__(self, dt: Dt = None, num_steps: NumSteps = None, *, surrogate: SurrogateSetting | None = None) -> None:
        super().__init__(dt, surrogate)
        self.num_steps = require_num_steps("psn", num_steps)
        self.weight = nn.Parameter(init_over_time_(torch.empty(self.num_steps, self.num_steps)))
        self.bias = nn.Parameter(torch.full((self.num_steps, 1), -1.0))

    def initial_state(self, x: Tensor) -> PSNState:
        return PSNState(torch.zeros(x.shape[0], dtype=torch.int64, device="cpu"))

    def drive(self, x: Tensor, state: PSNState | None, lengths: Tensor | None) -> tuple[Tensor, PSNState]:
        before = (self.initial_state(x[0]) if state is None else state).step.cpu()
        if x.shape[0] != self.num_steps or (state is not None and bool(before.any())):
            raise ConfigError("", f"psn needs all {self.num_steps} steps of a recording in one call, got {x.shape[0]}")
        return over_time(self.weight, x, self.bias), PSNState(before + own_steps(x, lengths))

    def extra_repr(self) -> str:
        """Return the number of steps that `print(network)` shows."""
        return f"num_steps={self.num_steps}"


def require_num_steps(kind: str, num_steps: int | None) -> int:
    """Return the number of steps, or raise a ConfigError if it is not known."""
    if num_steps is None:
        raise ConfigError("num_steps", f"{kind} has a weight for each step, and their number is not known", "give it")
    return num_steps


def own_steps(x: Tensor, lengths: Tensor | None) -> Tensor | int:
    """Return the valid steps of each sample in x, in host memory."""
    return x.shape[0] if lengths is None else lengths.clamp(max=x.shape[0]).cpu()
