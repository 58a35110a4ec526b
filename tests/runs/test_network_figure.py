from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from matplotlib.patches import FancyBboxPatch

from snnlab.nn import build_network
from snnlab.nn.summary import Summary, summarize
from snnlab.runs.diagram import chains_of
from snnlab.runs.plots.network_figure import draw, network_figure

from ..refusals import assert_text_has

LIF, FC = {"type": "lif"}, {"type": "linear", "out_features": 4}


def summary(layers: dict[str, Any]) -> Summary:
    return summarize(build_network(layers, in_shape=(4,), dt=1.0), (4,))


def arrows(layers: dict[str, Any]) -> Counter[str]:
    (axes,) = network_figure("net", "", chains_of(summary(layers))).axes
    return Counter(str(gid) for text in axes.texts if (gid := text.get_gid()))


@pytest.mark.parametrize(("layers", "rows"), [(1, 1), (5, 1), (6, 2), (24, 5)])
def test_boxes_are_in_rows(layers: int, rows: int) -> None:
    network = summary({f"lif{k}": {"type": "cuba_lif", "tau_mem": 5.0 + k} for k in range(layers)})
    for neuron in range(layers):  # otherwise equal ones, of which one is drawn
        network.layers[neuron] = network.layers[neuron]._replace(parameters=neuron)
    figure = network_figure("net", "", chains_of(network))
    boxes = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    assert (len(boxes), len({box.get_y() for box in boxes})) == (layers + 1, rows)
    assert figure.get_figwidth() < 13


def test_any_name_can_be_drawn_and_time_constants_are_formulas(tmp_path: Path) -> None:
    draw(str(tmp_path / "net.svg"), "costs $5 and $6_{", summary({"lif": {"type": "cuba_lif"}}), "3 steps of 1 ms")
    text = (tmp_path / "net.svg").read_text()
    assert "costs $5 and $6_{" in text
    assert r"$\tau_{\mathrm{mem}}$ 20 ms" in text
    assert r"$\tau_{\mathrm{syn}}$ 10 ms" in text


def test_layers_without_weights_join_the_weights_before_them_and_equal_boxes_are_one() -> None:
    layers = {f"{name}{k}": node for k in range(3) for name, node in (("fc", FC), ("lif", LIF))}
    (chain,) = chains_of(summary({**layers, "out": {**FC, "out_features": 2}}))
    assert [box.layers for box in chain.boxes] == [("frames",), ("fc0", "lif0"), ("out",)]
    assert chain.boxes[1].lines[-1] == "→ 4, 3 times"
    assert chain.boxes[1].family == "spiking"


def test_a_residual_block_has_a_shortcut_and_a_sum() -> None:
    block = {"type": "residual", "layers": {"inner": LIF}, "shortcut": {"way": LIF}}
    first, second, third = chains_of(summary({"block": block, "last": LIF}))
    assert [box.layers for box in first.boxes] == [("frames",), ("block",), ("last",)]
    assert_text_has(second.title, "block", "residual", "add")
    assert [box.lines[0] for box in second.boxes] == ["", "inner: lif", "+"]
    assert second.connections == [(0, 2, "shortcut")]
    assert_text_has(third.title, "block.shortcut: shortcut")
    assert arrows({"block": block, "last": LIF}) == {"follows": 4, "around": 1}


def test_branches_are_connections_from_the_input_to_their_join() -> None:
    chain = chains_of(summary({"both": {"type": "parallel", "branches": {"a": {"lif": LIF}, "b": {"fc": FC}}}}))[1]
    assert chain.connections == [(0, 1, "a"), (0, 1, "b")]
    assert chain.boxes[1].lines == ("||",)


def test_feedback_and_recurrence_have_arrows_back() -> None:
    loop = {"type": "loop", "layers": {"fc1": FC, "lif1": LIF, "lif2": LIF}, "feedback": {"from": "lif2", "to": "lif1"}}
    chain = chains_of(summary({"loop": loop}))[1]
    assert [box.layers for box in chain.boxes] == [("fc1",), ("lif1",), ("lif2",)]
    assert chain.connections == [(2, 1, "lif2_to_lif1")]
    assert arrows({"loop": loop})["back"] == 1
    recurrent = {"fc": FC, "lif": {**LIF, "recurrent": True, "learn": ["tau_mem"]}}
    assert arrows(recurrent)["recurrent"] == 1
    assert arrows({"fc": FC, "lif": LIF})["recurrent"] == 0
    lines = chains_of(summary(recurrent))[0].boxes[1].lines
    assert_text_has("\n".join(lines), r"$\tau_{\mathrm{mem}}$ 20 ms, learned")
    assert "37 parameters" in lines  # 20 of fc, 16 of the feedback, one time constant
