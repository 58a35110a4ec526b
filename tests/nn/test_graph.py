"""Layers connected by a list of edges."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from snnlab.errors import ConfigError
from snnlab.nn import build_network

from ..refusals import assert_raises

LIF = {"type": "lif", "tau_mem": "4 steps"}
FC = {"type": "linear", "out_features": 5}


def build(layers: dict[str, Any], edges: list[list[Any]]) -> Any:
    torch.manual_seed(0)
    return build_network({"g": {"type": "graph", "layers": layers, "edges": edges}}, in_shape=(5,), dt=1.0).network


def test_edges_in_a_row_are_a_sequence() -> None:
    network = build({"fc": FC, "lif": LIF}, [["lif", "output"], ["input", "fc"], ["fc", "lif"]])
    torch.manual_seed(0)
    plain = build_network({"fc": FC, "lif": LIF}, in_shape=(5,), dt=1.0).network
    x = torch.randn(20, 3, 5) * 3
    assert torch.equal(network(x)[0], plain(x)[0])


def test_outputs_that_meet_are_summed_and_delays_shift_them() -> None:
    edges = [["input", "a"], ["input", "output", 2], ["a", "output"]]
    network = build({"a": {"type": "identity"}}, edges)
    x = torch.arange(1.0, 5.0).reshape(4, 1, 1).expand(4, 1, 5)
    y, state = network(x)
    assert y[:, 0, 0].tolist() == [1, 2, 4, 6]
    assert network(x[:1], state)[0][0, 0, 0] == 4


def test_a_cycle_equals_the_loop_block() -> None:
    back = {"type": "linear", "out_features": 5}
    graph = build(
        {"lif": LIF, "back": back}, [["input", "lif"], ["lif", "back", 1], ["back", "lif"], ["lif", "output"]]
    )
    torch.manual_seed(0)
    feedback = {"from": "lif", "to": "lif", "layers": {"back": back}}
    loop: Any = build_network(
        {"l": {"type": "loop", "layers": {"lif": LIF}, "feedback": feedback}}, in_shape=(5,), dt=1.0
    )
    loop.network.l.lif_to_lif.back.load_state_dict(graph.g.back.state_dict())
    x, counts = torch.randn(30, 3, 5) * 2, {}
    y, _ = graph(x, counts=counts)
    assert torch.equal(y, loop.network(x)[0])
    assert torch.equal(counts["g.lif"], y.sum(0))


@pytest.mark.parametrize(
    ("edges", "place", "fact"),
    [
        ([["input", "fcc"], ["fc", "output"]], "edges.0", "fc"),
        ([["input", "fc"], ["fc", "lif"], ["lif", "fc"], ["lif", "output"]], "edges", "delay"),
        ([["input", "fc"], ["fc", "output"]], "edges", "lif"),
        ([["input", "fc"], ["fc", "lif"]], "edges", "output"),
        ([["input", "fc", -1]], "edges.0", "-1"),
        ([["input"]], "edges.0", "source"),
    ],
)
def test_edges_that_make_no_sense_are_refused(edges: list[list[Any]], place: str, fact: str) -> None:
    with assert_raises(ConfigError, f"model.layers.g.{place}", fact):
        build({"fc": FC, "lif": LIF}, edges)
