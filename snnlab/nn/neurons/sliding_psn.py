"""The sliding parallel spiking neuron, a filter over the k last steps.

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.nn.layers.elementwise import last_steps
from snnlab.nn.neurons.parallel import Order, ParallelNeuron, init_over_time_, over_time
from snnlab.nn.neurons.register import NEURONS


class SlidingPSNState(NamedTuple):
    """The last k - 1 inputs, the oldest first, `[B, k - 1, ...]`."""

    x: Tensor


@NEURONS.register("sliding_psn")
class SlidingPSN(ParallelNeuron):
    """Parallel spiking neuron with one filter of k steps for all steps, so that recordings may have any length.

    Args:
        init: `powers`: 1, 1/2, 1/4, ... into the past; `uniform`: as a linear layer of k inputs.

    Shape:
        x: `[T, B, ...]`; state: `SlidingPSNState(x [B, k - 1, ...])`; returns spikes in {0, 1}, `[T, B, ...]`, and the
        state. The parameters `weight [k]`, the oldest step first, and `bias []` are SpikingJelly's.

    Source: Fang et al., Parallel spiking neurons, NeurIPS 2023; SpikingJelly 2.0, neuron.SlidingPSN.
    """

    equations: ClassVar[tuple[str, ...]] = (
        "u[t] = weight[k-1] * x[t] + weight[k-2] * x[t-1] + ... + weight[0] * x[t-k+1] + bias,   s[t] = H(u[t])",
    )

    order: Order = 8
    init: Literal["powers", "uniform"] = "powers"

    def prepare(self) -> None:
        super().prepare()
        powers = 0.5 ** torch.arange(self.order - 1, -1, -1, dtype=torch.float32)
        self.weight = nn.Parameter(powers if self.init == "powers" else init_over_time_(torch.empty(1, self.order))[0])
        self.bias = nn.Parameter(torch.tensor(-1.0))

    def initial_state(self, x: Tensor) -> SlidingPSNState:
        return SlidingPSNState(x.new_zeros(x.shape[0], self.order - 1, *x.shape[1:]))

    def drive(self, x: Tensor, state: SlidingPSNState | None, lengths: Tensor | None) -> tuple[Tensor, SlidingPSNState]:
        before = (self.initial_state(x[0]) if state is None else state).x.transpose(0, 1)
        x_all = torch.cat([before, x])
        after = SlidingPSNState(last_steps(x_all, self.order - 1, lengths).transpose(0, 1))
        if state is None:
            return over_time(self._matrix(x.shape[0])[:, self.order - 1 :], x, self.bias), after
        return over_time(self._matrix(x.shape[0]), x_all, self.bias), after

    def _matrix(self, num_steps: int) -> Tensor:
        """Return the filter as a matrix, `[T, k - 1 + T]`."""
        device = self.weight.device
        steps, taps = torch.arange(num_steps, device=device)[:, None], torch.arange(self.order, device=device)
        zeros = self.weight.new_zeros(num_steps, self.order - 1 + num_steps)
        return zeros.index_put((steps, steps + taps), self.weight.expand(num_steps, -1))

    def extra_repr(self) -> str:
        """Return the order that `print(network)` shows."""
        return f"order={self.order}"
