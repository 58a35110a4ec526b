"""The parallel spiking neuron, whose every step sees all steps.

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn.layer import Reach
from snnlab.nn.neurons.parallel import NumSteps, ParallelNeuron, over_time
from snnlab.nn.neurons.register import NEURONS
from snnlab.spec.declared import no_setting, setting


class PSNState(NamedTuple):
    """Steps that each sample has had, `[B]`, int64, in host memory; nothing else is carried."""

    step: Tensor


@NEURONS.register("psn")
class PSN(ParallelNeuron):
    """Parallel spiking neuron: a learned matrix between all steps, also from later to earlier ones.

    It needs whole recordings of num_steps steps; it cannot be streamed, split in time or given feedback.

    Args:
        num_steps: T, the steps of a recording; given by the data.

    Shape:
        x: `[T, B, ...]`; state: `PSNState(step [B])`; returns spikes in {0, 1}, `[T, B, ...]`, and the state. The
        parameters `weight [T, T]` and `bias [T, 1]` are SpikingJelly's.

    Source: Fang et al., Parallel spiking neurons with high efficiency and ability to learn long-term dependencies,
    NeurIPS 2023; SpikingJelly 2.0, neuron.PSN.
    """

    reach: Reach = no_setting("recording")
    whole_recording: bool = no_setting(True)
    equations: ClassVar[tuple[str, ...]] = (
        "u[t] = sum over all t' of weight[t, t'] * x[t'] + bias[t],   s[t] = H(u[t])     bias[t] = -1 at first",
    )

    num_steps: NumSteps = setting(default=None, kw_only=False)

    def prepare(self) -> None:
        super().prepare()
        self.make_weights("psn", self.num_steps)

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


def own_steps(x: Tensor, lengths: Tensor | None) -> Tensor | int:
    """Return the valid steps of each sample in x, in host memory."""
    return x.shape[0] if lengths is None else lengths.clamp(max=x.shape[0]).cpu()
