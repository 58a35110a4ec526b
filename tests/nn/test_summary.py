from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnlab.nn import LI, LIF, Network, build_network
from snnlab.nn.summary import Summary, dense_operations, family, shape_text, summarize


def summary(layers: dict[str, Any], in_shape: tuple[int, ...] = (2, 34, 34)) -> Summary:
    return summarize(build_network(layers, in_shape=in_shape, dt=10.0), in_shape)


CONV_LIF: dict[str, dict[str, Any]] = {
    "conv1": {"type": "conv2d", "out_channels": 12, "kernel_size": 5},
    "norm1": {"type": "batch_norm"},
    "lif1": {"type": "cuba_lif"},
    "pool1": {"type": "sum_pool", "kernel_size": 2},
    "flatten": {"type": "flatten"},
    "out": {"type": "linear", "out_features": 10},
    "readout": {"type": "li", "tau_mem": 30.0},
}


def test_a_row_a_layer_with_name_type_family_shape_parameters_and_operations() -> None:
    told = summary(CONV_LIF)
    assert [tuple(row) for row in told.layers] == [
        ("conv1", "conv2d", "weights", (12, 30, 30), 12 * 2 * 25 + 12, 12 * 30 * 30 * 2 * 25),
        ("norm1", "batch_norm", "norm", (12, 30, 30), 24, 0),
        ("lif1", "cuba_lif", "spiking", (12, 30, 30), 0, 0),
        ("pool1", "sum_pool", "pooling", (12, 15, 15), 0, 0),
        ("flatten", "flatten", "other", (2700,), 0, 0),
        ("out", "linear", "weights", (10,), 27010, 27000),
        ("readout", "li", "integrator", (10,), 0, 0),
    ]
    assert told.in_shape == (2, 34, 34)
    assert told.parameters == 612 + 24 + 27010
    assert told.operations == 540_000 + 27_000


def test_the_neurons_tell_their_constants_and_dialect() -> None:
    lif, readout = summary(CONV_LIF).neurons
    assert [(c.name, c.ms, c.steps) for c in lif.constants] == [("tau_mem", 20.0, 2.0), ("tau_syn", 10.0, 1.0)]
    assert lif.words == {"gain": "1-a = 0.3935", "threshold": "u ≥ 1", "reset": "subtract 1", "synapse": "jump first"}
    assert [(c.name, c.ms) for c in readout.constants] == [("tau_mem", 30.0)]
    assert readout.words == {"gain": "1"}


@pytest.mark.parametrize(
    ("layer", "in_shape", "operations"),
    [
        (nn.Conv2d(4, 6, (3, 5), padding=1, groups=2, stride=2), (4, 9, 9), 6 * 5 * 4 * (4 // 2) * 15),
        (nn.Conv1d(3, 2, 4), (3, 10), 2 * 7 * 3 * 4),
        (nn.Conv3d(1, 2, 2), (1, 3, 3, 3), 2 * 8 * 8),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (4, 5, 5), 4 * 25 * (6 // 2) * 9),
        (nn.Linear(7, 3), (7,), 21),
        (nn.Linear(7, 3, bias=False), (2, 5, 7), 10 * 21),
        (nn.MaxPool2d(2), (1, 4, 4), 0),
        (nn.GroupNorm(1, 4), (4, 3), 0),
        (nn.PReLU(), (4,), None),
        (Network({"a": nn.Linear(4, 5), "lif": LIF(1.0), "b": nn.Linear(5, 2)}), (4,), 30),
        (nn.Sequential(nn.Linear(4, 5), nn.PReLU()), (4,), None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_dense_operations_are_those_counted_by_hand(
    layer: nn.Module, in_shape: tuple[int, ...], operations: int | None
) -> None:
    assert dense_operations(Network({"layer": layer}), in_shape) == {"layer": operations}


def test_a_layer_of_unknown_use_leaves_the_others_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.factor

    from snnlab.nn import LAYERS

    monkeypatch.setitem(LAYERS._entries, "gain", Gain)
    told = summary({"a": {"type": "linear", "out_features": 3}, "g": {"type": "gain"}}, (4,))
    assert [row.operations for row in told.layers] == [12, None]
    assert told.operations == 12
    assert told.parameters == 15 + 3


def test_looking_leaves_the_network_as_it_was() -> None:
    built = build_network({**CONV_LIF, "drop": {"type": "dropout"}}, in_shape=(2, 34, 34), dt=10.0)
    before = {name: value.clone() for name, value in built.network.state_dict().items()}
    state = torch.get_rng_state()
    summarize(built, (2, 34, 34))
    assert torch.equal(torch.get_rng_state(), state)
    assert built.network.training
    assert all(torch.equal(value, before[name]) for name, value in built.network.state_dict().items())
    assert not any(module._forward_hooks for module in built.network.modules())


def test_neurons_within_a_block_are_told_with_its_name() -> None:
    network = Network({"block": Network({"fc": nn.Linear(2, 2), "lif": LIF(1.0)}), "li": LI(1.0)})
    built = build_network({}, in_shape=(2,), dt=1.0)
    built = built._replace(network=network, kinds={"block": "mine", "li": "li"}, shapes={"block": (2,), "li": (2,)})
    told = summarize(built, (2,))
    assert [row.name for row in told.neurons] == ["block.lif", "li"]
    assert [row.family for row in told.layers] == ["weights", "integrator"]


def test_families_and_shapes_in_words() -> None:
    assert family(nn.AdaptiveAvgPool2d(1)) == "pooling"
    assert family(nn.ReLU()) == "other"
    assert shape_text((12, 30, 30)) == "12 × 30 × 30"
