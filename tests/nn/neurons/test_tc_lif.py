"""The two-compartment neuron, against values by hand and its authors' equations written as a loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from snnlab.nn.neurons.tc_lif import TCLIF, TCLIFState

from .agreement import BOTH, assert_agrees, noise, preset


def test_the_dendrite_drives_the_soma_whose_spike_inhibits_both() -> None:
    start = TCLIFState(torch.tensor([[1.0]]), torch.tensor([[0.5]]))
    y, state = TCLIF(1.0, gamma=0.25)(torch.tensor([[[0.5]]]), start)  # both gains are 1/2
    assert y.item() == 1  # dendrite 1 - 0.25 + 0.5, soma 0.5 + 0.625
    assert state.dendrite.item() == pytest.approx(1.0)
    assert state.v.item() == pytest.approx(0.125)


def triangle(gap: torch.Tensor) -> torch.Tensor:
    slope = (1.0 - gap.detach().abs()).clamp(min=0.0)
    return (gap.detach() >= 0).to(gap.dtype) + slope * (gap - gap.detach())


@BOTH
@pytest.mark.parametrize("detach", [False, True])
def test_spikes_states_and_gradients_are_those_of_the_authors_equations(
    dtype: torch.dtype, batch: int, detach: bool
) -> None:
    betas = [torch.tensor(value, dtype=dtype, requires_grad=True) for value in (1.5, -0.5)]

    def authors(x: torch.Tensor) -> Any:
        v1 = v2 = torch.zeros_like(x[0])
        outputs = []
        for x_t in x:
            v1 = v1 - torch.sigmoid(betas[0]) * v2 + x_t
            v2 = v2 + torch.sigmoid(betas[1]) * v1
            s = triangle(v2 - 1.0)
            felt = s.detach() if detach else s
            v1, v2 = v1 - 0.5 * felt, v2 - 1.0 * felt
            outputs.append(s)
        return torch.stack(outputs), (v1, v2)

    neuron = preset("tc_lif", dtype, beta1=1.5, beta2=-0.5, detach_reset=detach)
    pairs = list(zip((neuron.learned["beta1"], neuron.learned["beta2"]), betas, strict=True))
    assert_agrees(neuron, authors, noise(dtype, batch, 0.3, 0.5), learned=pairs)
