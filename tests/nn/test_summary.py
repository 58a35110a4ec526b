from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from snnlab.nn import LIF, Network, TemporalLayer, build_network, conv1d, linear
from snnlab.nn.layers.rnn import GRU, LSTM
from snnlab.nn.neurons.info import AfterSpike, Firing
from snnlab.nn.neurons.recurrent import ConvFeedback, DenseFeedback, Recurrent
from snnlab.nn.summary import Summary, probe_layers, summarize


def summary(layers: dict[str, Any], in_shape: tuple[int, ...] = (2, 34, 34)) -> Summary:
    return summarize(build_network(layers, in_shape=in_shape, dt=10.0), in_shape)


CONV_LIF: dict[str, dict[str, Any]] = {
    "conv1": {"type": "conv2d", "out_channels": 12, "kernel_size": 5},
    "norm1": {"type": "batch_norm"},
    "lif1": {"type": "cuba_lif", "input_gain": "1-a"},
    "pool1": {"type": "sum_pool", "kernel_size": 2},
    "flatten": {"type": "flatten"},
    "out": {"type": "linear", "out_features": 10},
    "readout": {"type": "li", "tau_mem": 30.0, "input_gain": 1.0},
}


def test_a_row_a_layer_with_name_type_family_shape_parameters_and_operations() -> None:
    found = summary(CONV_LIF)
    assert [row[:6] for row in found.layers] == [
        ("conv1", "conv2d", "weights", (12, 30, 30), 12 * 2 * 25 + 12, 12 * 30 * 30 * 2 * 25),
        ("norm1", "batch_norm", "norm", (12, 30, 30), 24, 0),
        ("lif1", "cuba_lif", "spiking", (12, 30, 30), 0, 0),
        ("pool1", "sum_pool", "pooling", (12, 15, 15), 0, 0),
        ("flatten", "flatten", "other", (2700,), 0, 0),
        ("out", "linear", "weights", (10,), 27010, 27000),
        ("readout", "li", "integrator", (10,), 0, 0),
    ]
    assert found.in_shape == (2, 34, 34)
    assert found.parameters == 612 + 24 + 27010
    assert found.operations == 540_000 + 27_000


def test_neurons_have_constants_and_info() -> None:
    lif, readout = summary(CONV_LIF).neurons
    assert [(c.name, c.ms, c.steps) for c in lif.constants] == [("tau_mem", 20.0, 2.0), ("tau_syn", 10.0, 1.0)]
    assert lif.info.firing == Firing(1.0)
    assert lif.info.reset == AfterSpike("subtract", 1.0)
    assert lif.info.synapse == "jump_first"
    assert [(c.name, c.ms) for c in readout.constants] == [("tau_mem", 30.0)]
    assert readout.info.gain == (1.0, 1.0)
    assert readout.info.firing is None


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
        (Recurrent(LIF(1.0), DenseFeedback((7,))), (7,), 49),
        (Recurrent(LIF(1.0), ConvFeedback((3, 5, 5))), (3, 5, 5), 75 * 3 * 9),
        (weight_norm(nn.Linear(7, 3, bias=False)), (7,), 21),
        (GRU(7, 3, 2), (7,), 3 * (3 * 7 + 3 * 3) + 3 * (3 * 3 + 3 * 3)),
        (LSTM(7, 3), (7,), 4 * (3 * 7 + 3 * 3)),
        (nn.Sequential(nn.Linear(4, 5), nn.PReLU()), (4,), None),
        (linear((7,), 1.0, out_features=3, delay={"max": 4, "count": 2}), (2, 7), 2 * 7 * 3 * 2),
        (conv1d((4, 9), 1.0, out_channels=6, kernel_size=3, groups=2, delay={"max": 4}), (4, 9), 6 * 7 * (4 // 2) * 3),
        (Recurrent(LIF(1.0), DenseFeedback((7,), dt=1.0, delay={"max": 4})), (7,), 49),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_dense_operations_are_those_counted_by_hand(
    layer: nn.Module, in_shape: tuple[int, ...], operations: int | None
) -> None:
    for num_steps in (1, 3):
        assert probe_layers(Network({"layer": layer}), in_shape, num_steps)["layer"].operations == operations


def test_a_layer_of_unknown_use_leaves_the_others_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.factor

    from snnlab.nn import LAYERS

    monkeypatch.setitem(LAYERS._entries, "gain", Gain)
    found = summary({"a": {"type": "linear", "out_features": 3}, "g": {"type": "gain"}}, (4,))
    assert [row.operations for row in found.layers] == [12, None]
    assert found.operations == 12
    assert found.parameters == 15 + 3


def test_the_summary_does_not_change_the_network() -> None:
    built = build_network({**CONV_LIF, "drop": {"type": "dropout"}}, in_shape=(2, 34, 34), dt=10.0)
    before = {name: value.clone() for name, value in built.network.state_dict().items()}
    state = torch.get_rng_state()
    summarize(built, (2, 34, 34))
    assert torch.equal(torch.get_rng_state(), state)
    assert built.network.training
    assert all(torch.equal(value, before[name]) for name, value in built.network.state_dict().items())
    assert not any(module._forward_hooks for module in built.network.modules())


FC: dict[str, Any] = {"type": "linear", "out_features": 4, "bias": False}


def test_a_block_has_sums_and_its_layers_have_rows() -> None:
    found = summary(
        {
            "twice": {"type": "repeat", "times": 2, "layers": {"fc": FC}},
            "block": {"type": "residual", "connect": "iand", "layers": {"fc": FC}, "shortcut": {"fc": FC}},
            "ways": {"type": "parallel", "branches": {"a": {"fc": FC}, "b": {"fc": FC}}},
            "loop": {
                "type": "loop",
                "layers": {"fc": FC, "lif": {"type": "lif"}},
                "feedback": {"from": "lif", "to": "lif", "layers": {"fb": FC}},
            },
        },
        (3,),
    )
    assert [row[:8] for row in found.layers] == [
        ("twice", "repeat", "block", (4,), 28, 28, True, ""),
        ("twice.copy1", "copy", "block", (4,), 12, 12, True, ""),
        ("twice.copy1.fc", "linear", "weights", (4,), 12, 12, True, ""),
        ("twice.copy2", "copy", "block", (4,), 16, 16, True, ""),
        ("twice.copy2.fc", "linear", "weights", (4,), 16, 16, True, ""),
        ("block", "residual", "block", (4,), 32, 32, True, "iand"),
        ("block.fc", "linear", "weights", (4,), 16, 16, True, ""),
        ("block.shortcut", "shortcut", "block", (4,), 16, 16, False, ""),
        ("block.shortcut.fc", "linear", "weights", (4,), 16, 16, True, ""),
        ("ways", "parallel", "block", (8,), 32, 32, True, "concat"),
        ("ways.a", "branch", "block", (4,), 16, 16, False, ""),
        ("ways.a.fc", "linear", "weights", (4,), 16, 16, True, ""),
        ("ways.b", "branch", "block", (4,), 16, 16, False, ""),
        ("ways.b.fc", "linear", "weights", (4,), 16, 16, True, ""),
        ("loop", "loop", "block", (4,), 48, 48, True, "lif → lif"),
        ("loop.fc", "linear", "weights", (4,), 32, 32, True, ""),
        ("loop.lif", "lif", "spiking", (4,), 0, 0, True, ""),
        ("loop.lif_to_lif", "feedback", "block", (4,), 16, 16, False, ""),
        ("loop.lif_to_lif.fb", "linear", "weights", (4,), 16, 16, True, ""),
    ]
    assert {row.name: row.feedback for row in found.layers if row.feedback} == {"loop": (("lif", "lif"),)}
    assert found.parameters == found.operations == 28 + 32 + 32 + 48
    assert [row.name for row in found.neurons] == ["loop.lif"]


def test_a_layer_with_a_fixed_number_of_steps_is_probed_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class PerStep(TemporalLayer):
        def __init__(self, num_steps: int | None) -> None:
            super().__init__()
            self.num_steps = num_steps

        def forward(
            self, x: Tensor, state: Any = None, *, lengths: Tensor | None = None, counts: Any = None
        ) -> tuple[Tensor, None]:
            if x.shape[0] != self.num_steps:
                raise ValueError(f"made for {self.num_steps} steps, got {x.shape[0]}")
            return x, None

    from snnlab.nn import LAYERS

    monkeypatch.setitem(LAYERS._entries, "per_step", PerStep)
    layers = {"fc": FC, "norm": {"type": "per_step"}}
    for nodes in (layers, {"block": {"type": "sequential", "layers": layers}}):
        built = build_network(nodes, in_shape=(3,), dt=1.0, num_steps=5)
        assert [row.operations for row in summarize(built, (3,)).layers][-2:] == [12, 0]


def test_a_graph_with_a_delayed_edge_has_a_row_for_each_layer_and_none_for_the_edge() -> None:
    layers = {"fc": {"type": "linear", "out_features": 3}, "lif": {"type": "lif"}}
    edges = [["input", "fc"], ["fc", "lif"], ["lif", "fc", 1], ["lif", "output"]]
    built = build_network({"g": {"type": "graph", "layers": layers, "edges": edges}}, in_shape=(3,), dt=1.0)
    assert [row.name for row in summarize(built, (3,)).layers] == ["g", "g.fc", "g.lif"]
