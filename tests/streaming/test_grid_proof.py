"""Weights on a grid of powers of two: sums in any order have the same bits, or a layer is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from snnlab.nn.network import Network, build_network
from snnlab.nn.network_form import network_form
from snnlab.streaming.grid_proof import GridProof, grid_proofs
from snnlab.streaming.stream_layers import stream_layers

SHAPE = (2, 8, 8)
CONV: dict[str, Any] = {"type": "conv2d", "out_channels": 6, "kernel_size": 3, "padding": 1}
LIF: dict[str, Any] = {"type": "lif"}
AVG: dict[str, Any] = {"type": "avg_pool", "kernel_size": 2}
LAYERS: dict[str, dict[str, Any]] = {
    "conv": CONV,
    "lif": LIF,
    "pool": AVG,
    "conv2": CONV,
    "iaf": {"type": "iaf", "spikes": "several"},
    "block": {"type": "residual", "layers": {"conv": CONV, "lif": LIF}},
    "flatten": {"type": "flatten"},
    "out": {"type": "linear", "out_features": 5},
    "recurrent": {"type": "lif", "recurrent": {"type": "dense", "bias": False}},
}


def grid_network(layers: dict[str, dict[str, Any]] = LAYERS, bits: int = 8) -> Network:
    """Return a network with random weights of some bits."""
    torch.manual_seed(0)
    network = build_network(layers, in_shape=SHAPE, dt=1.0).network.eval()
    most = 2 ** (bits - 1)
    with torch.no_grad():
        for name, values in network.named_parameters():
            if name.endswith(("weight", "bias")):
                values.copy_(torch.randint(-most + 1, most, values.shape) / most)
    return network


def proofs(network: Network, **largest: float) -> dict[str, GridProof]:
    return {proof.layer: proof for proof in grid_proofs(stream_layers(network_form(network, SHAPE)), largest)}


def test_a_network_on_a_grid_is_proved() -> None:
    found = proofs(grid_network(), conv=3.0, out=2.0)
    assert list(found) == ["conv", "conv2", "block.conv", "out", "recurrent.feedback"]
    assert all(proof.is_proved for proof in found.values())
    # Events and several spikes a step are limited, single spikes are not.
    assert [name for name, proof in found.items() if proof.largest] == ["conv", "out"]
    assert 3 < found["conv"].most < 2**24


def test_sums_are_equal_in_any_order_up_to_the_limit_of_the_proof_and_not_beyond() -> None:
    random = np.random.default_rng(0)
    network = grid_network({"flatten": {"type": "flatten"}, "out": {"type": "linear", "out_features": 40}}, bits=12)
    (proof,) = proofs(network, out=1.0).values()
    weight, bias = (values.detach().numpy() for values in network.parameters())
    for count, is_equal in ((int(proof.most), True), (int(64 * proof.most) + 1, False)):
        products = np.concatenate([weight * np.float32(count), bias[:, None]], 1)
        sums = [np.add.accumulate(products[:, random.permutation(products.shape[1])], 1)[:, -1] for _ in range(50)]
        assert all(np.array_equal(one, sums[0]) for one in sums) == is_equal


@pytest.mark.parametrize("layer", ["conv", "block.conv", "out"])
def test_one_weight_off_the_grid_is_named(layer: str) -> None:
    network = grid_network()
    weight = network.get_submodule(layer).get_parameter("weight")
    place = tuple(size - 1 for size in weight.shape)
    with torch.no_grad():
        weight[place] = 0.1
    wrong = {name: proof.problem for name, proof in proofs(network, conv=3.0, out=2.0).items() if not proof.is_proved}
    assert list(wrong) == [layer]
    assert wrong[layer].startswith("1 of ")
    assert str(list(place)) in wrong[layer]


def test_sums_that_are_too_large_for_the_grid_are_no_proof() -> None:
    assert not proofs(grid_network(), conv=2.0**20)["conv"].is_proved
    assert not proofs(grid_network(bits=22))["conv2"].is_proved


def test_means_over_nine_outputs_are_on_no_grid() -> None:
    found = proofs(grid_network({**LAYERS, "pool": {**AVG, "kernel_size": 3}}))
    assert "mean" in found["conv2"].problem
    assert found["block.conv"].is_proved
