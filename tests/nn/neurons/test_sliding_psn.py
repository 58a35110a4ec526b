"""The sliding parallel spiking neuron, in pieces, and against SpikingJelly."""

from __future__ import annotations

import pytest
import torch

from snnlab.nn.neurons.sliding_psn import SlidingPSN

from .agreement import BOTH, assert_agrees, noise, preset


def test_an_impulse_gives_the_filter() -> None:
    neuron = SlidingPSN(order=3).double()
    x = torch.zeros(5, 1, 1, dtype=torch.float64)
    x[1] = 3.0
    h, _ = neuron.drive(x, None, None)
    assert h.flatten().tolist() == [-1.0, 2.0, 0.5, -0.25, -1.0]
    assert neuron(x)[0].flatten().tolist() == [0, 1, 1, 0, 0]


@pytest.mark.parametrize("order", [1, 3, 9])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_pieces_equal_the_whole(order: int, size: int) -> None:
    torch.manual_seed(0)
    neuron, x = SlidingPSN(order=order).double(), torch.randn(7, 3, 4, 5).double() * 5
    whole, last = neuron(x)
    outputs, state = [], neuron.initial_state(x[0])
    for chunk in x.split(size):
        y, state = neuron(chunk, state)
        outputs.append(y)
    assert whole.any()
    assert torch.equal(torch.cat(outputs), whole)
    assert torch.equal(state.x, last.x)


def test_past_its_end_a_sample_gives_zeros_and_keeps_its_last_inputs() -> None:
    neuron, x = SlidingPSN(order=3).double(), torch.randn(7, 2, 4).double() * 3
    y, state = neuron(x, lengths=torch.tensor([7, 3]))
    short, last = neuron(x[:3, 1:])
    assert torch.equal(y[:3, 1:], short)
    assert not y[3:, 1].any()
    assert torch.equal(state.x[1:], last.x)


@pytest.mark.peers
@BOTH
@pytest.mark.parametrize("init", ["powers", "uniform"])
def test_it_is_spikingjellys_sliding_psn(dtype: torch.dtype, batch: int, init: str) -> None:
    library = pytest.importorskip("spikingjelly.activation_based.neuron")
    surrogate = pytest.importorskip("spikingjelly.activation_based.surrogate")
    torch.manual_seed(5)
    theirs = library.SlidingPSN(8, init == "powers", surrogate.ATan(), step_mode="m").to(dtype)
    torch.manual_seed(5)
    ours = preset("sliding_psn", dtype, init=init)
    assert torch.equal(ours.weight, theirs.weight)
    pairs = [(ours.weight, theirs.weight), (ours.bias, theirs.bias)]
    assert_agrees(
        ours, lambda x: (theirs(x), ()), noise(dtype, batch, 0.0, 2.0), learned=pairs, state_fields=(), fused=False
    )
