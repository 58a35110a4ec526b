from __future__ import annotations

import torch

from snnlab.nn import Integrator


def test_it_sums_its_input_times_the_gain() -> None:
    y, state = Integrator(input_gain=0.5)(torch.tensor([2.0, -1.0, 4.0]).reshape(3, 1, 1))
    assert y.flatten().tolist() == [1.0, 0.5, 2.5]
    assert state.v.item() == 2.5


def test_it_has_a_gain_for_each_neuron() -> None:
    neuron = Integrator(per_neuron=["input_gain"], in_shape=(2,))
    neuron.get_buffer("input_gain_values").copy_(torch.tensor([1.0, 3.0]))
    assert neuron(torch.ones(2, 1, 2))[0].tolist() == [[[1.0, 3.0]], [[2.0, 6.0]]]
