"""TS-LIF, against its authors' equations written as a loop."""

from __future__ import annotations

import math
from typing import Any

import torch

from snnlab.nn.layer import OWN_SPIKES
from snnlab.nn.neurons.ts_lif import TSLIFCoefficients

from .agreement import BOTH, assert_agrees, noise, preset


def atan(gap: torch.Tensor) -> torch.Tensor:
    slope = 1.0 / (1.0 + (math.pi * gap.detach()) ** 2)  # snnTorch's atan(alpha=2)
    return (gap.detach() > 0).to(gap.dtype) + slope * (gap - gap.detach())


@BOTH
def test_outputs_states_and_gradients_are_those_of_the_authors_equations(dtype: torch.dtype, batch: int) -> None:
    torch.manual_seed(2)
    neuron = preset("ts_lif", dtype)
    own = {name: part.detach().clone().requires_grad_() for name, part in neuron.learned.items()}

    def authors(x: torch.Tensor) -> Any:
        k = TSLIFCoefficients(**own)
        v1 = v2 = torch.zeros_like(x[0])
        outputs = []
        for x_t in x:
            v1 = k.dendrite_decay * v1 + k.dendrite_gain * x_t - k.to_dendrite * v2
            v2 = k.soma_decay * v2 + k.soma_gain * x_t - k.to_soma * v1
            s_s, s_l = atan(v2 - 1.0), atan(v1 - 1.0)
            outputs.append(k.soma_weight * s_s + k.dendrite_weight * s_l)
            v1, v2 = v1 - s_l * 0.5, v2 - s_s * 1.0
        return torch.stack(outputs), (v1, v2)

    pairs = [(neuron.learned[name], own[name]) for name in own]
    assert_agrees(neuron, authors, noise(dtype, batch, 0.8, 2.0), learned=pairs)


def test_its_output_is_no_spike_and_is_not_counted() -> None:
    counts: dict[str, torch.Tensor] = {}
    y, _ = preset("ts_lif", torch.float32, (5,))(torch.randn(20, 2, 5) * 4, counts=counts)
    assert y.any()
    assert OWN_SPIKES not in counts
