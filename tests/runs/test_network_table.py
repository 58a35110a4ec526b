from __future__ import annotations

from snnlab.nn import build_network
from snnlab.nn.summary import summarize
from snnlab.runs.console_tables import layer_table

FC = {"type": "linear", "out_features": 4, "bias": False}
LAYERS = {
    "fc": FC,
    "block": {"type": "residual", "layers": {"fc": FC, "lif": {"type": "lif"}}, "shortcut": {"fc": FC}},
}


def test_layers_within_a_block_are_indented_and_each_number_is_shown_once() -> None:
    table = layer_table(summarize(build_network(LAYERS, in_shape=(3,), dt=1.0), (3,)))
    assert list(table.rows) == [
        ("input", "", "3", "", ""),
        ("fc", "linear", "4", "12", "12"),
        ("block", "residual, add", "4", "", ""),
        ("  fc", "linear", "4", "16", "16"),
        ("  lif", "lif", "4", "", ""),
        ("  shortcut", "shortcut", "4", "", ""),
        ("    fc", "linear", "4", "16", "16"),
        ("total", "", "", "44", "44"),
    ]
