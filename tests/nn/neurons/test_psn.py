"""The parallel spiking neuron, against its sum by hand and SpikingJelly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn import NEURONS, build_network
from snnlab.nn.layer import OWN_SPIKES
from snnlab.nn.neurons.psn import PSN

from ...refusals import assert_raises
from .agreement import BOTH, assert_agrees, noise, preset


def test_each_step_sees_all_steps() -> None:
    neuron = PSN(num_steps=3)
    with torch.no_grad():
        neuron.weight.copy_(torch.tensor([[0.0, 0.0, 1.0], [0.5, 0.0, 0.0], [-1.0, 0.0, 0.0]]))
    y, state = neuron(torch.tensor([2.0, 0.0, 1.0]).reshape(3, 1, 1))
    assert y.flatten().tolist() == [1, 1, 0]  # 1 - 1, 1 - 1, -2 - 1, and H(0) = 1
    assert state.step.tolist() == [3]


def test_past_its_end_a_sample_gives_zeros_and_is_not_seen_by_earlier_steps() -> None:
    neuron, x = PSN(num_steps=6), torch.randn(6, 3, 4) * 5
    lengths, counts = torch.tensor([6, 2, 0]), {}
    y, state = neuron(x, lengths=lengths, counts=counts)
    other = x.clone()
    other[2:, 1], other[:, 2] = 99.0, -99.0
    assert torch.equal(neuron(other, lengths=lengths)[0], y)
    assert not y[2:, 1].any()
    assert not y[:, 2].any()
    assert torch.equal(counts[OWN_SPIKES], y.sum(0))
    assert state.step.tolist() == [6, 2, 0]


@pytest.mark.parametrize("kind", ["psn", "masked_psn", "sliding_psn"])
def test_channels_last_memory_is_kept_and_changes_no_output(kind: str) -> None:
    neuron, x = preset_for(kind, 5), torch.randn(5, 2, 4, 3, 6, dtype=torch.float64) * 3
    last = x.flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, (5, 2))
    y, _ = neuron(last)
    assert y.any()
    assert torch.equal(y, neuron(x)[0])
    assert y.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


def preset_for(kind: str, num_steps: int) -> Any:
    return NEURONS.build(kind, {}, kind, dt=1.0, in_shape=(4, 3, 6), num_steps=num_steps).double()


@pytest.mark.parametrize("kind", ["psn", "masked_psn", "sliding_psn"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_shapes_and_precision_are_those_of_the_input(kind: str, dtype: torch.dtype) -> None:
    y, state = preset_for(kind, 4)(torch.randn(4, 0, 4, 3, 6, dtype=dtype))
    assert (y.shape, y.dtype) == ((4, 0, 4, 3, 6), dtype)
    assert all(part.shape[0] == 0 for part in state)


def test_it_trains_in_a_network_and_its_rate_is_counted() -> None:
    layers = {"fc": {"type": "linear", "out_features": 5}, "psn": {"type": "psn"}}
    network = build_network(layers, in_shape=(7,), dt=1.0, num_steps=4).network
    counts: dict[str, Tensor] = {}
    y, _ = network(torch.randn(4, 2, 7) * 5, counts=counts)
    y.sum().backward()
    assert torch.equal(counts["psn"], y.sum(0))
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


def test_another_number_of_steps_is_refused() -> None:
    neuron = PSN(num_steps=4)
    with assert_raises(ConfigError, "", "psn", 4, 3):
        neuron(torch.zeros(3, 1, 1))
    _, state = neuron(torch.zeros(4, 1, 1))
    with assert_raises(ConfigError, "", "psn", 4):
        neuron(torch.zeros(4, 1, 1), state)


@pytest.mark.parametrize("kind", ["psn", "masked_psn"])
def test_an_unknown_number_of_steps_is_refused(kind: str) -> None:
    with assert_raises(ConfigError, "lif1.num_steps", kind):
        NEURONS.build(kind, {}, "lif1", dt=1.0)


@pytest.mark.parametrize("kind", ["psn", "masked_psn", "sliding_psn"])
def test_feedback_and_single_steps_are_refused(kind: str) -> None:
    with assert_raises(ConfigError, "lif1.recurrent"):
        NEURONS.build(kind, {"recurrent": True}, "lif1", dt=1.0, in_shape=(4,), num_steps=3)
    neuron = preset_for(kind, 3)
    with assert_raises(ConfigError, "", "step"):
        neuron.step(torch.zeros(1, 4), neuron.initial_state(torch.zeros(1, 4)), ())


@pytest.mark.peers
@BOTH
def test_it_is_spikingjellys_psn(dtype: torch.dtype, batch: int) -> None:
    library = pytest.importorskip("spikingjelly.activation_based.neuron")
    surrogate = pytest.importorskip("spikingjelly.activation_based.surrogate")
    theirs = library.PSN(200, surrogate.ATan()).to(dtype)
    ours = preset("psn", dtype)
    ours.load_state_dict(theirs.state_dict())
    pairs = [(ours.weight, theirs.weight), (ours.bias, theirs.bias)]
    assert_agrees(
        ours, lambda x: (theirs(x), ()), noise(dtype, batch, 0.0, 2.0), learned=pairs, state_fields=(), fused=False
    )
