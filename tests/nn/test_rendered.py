"""What `snnlab show --kernels` prints."""

from __future__ import annotations

from typing import Any

from snnlab.nn import build_network
from snnlab.nn.rendered import rendered


def test_each_neuron_shows_its_loops_or_why_it_has_none() -> None:
    layers: dict[str, Any] = {
        "fc": {"type": "linear", "out_features": 4},
        "lif": {"type": "lif", "recurrent": True},
        "own": {"type": "lif", "learn": {"tau_mem": "neuron"}},
        "whole": {"type": "lava_cuba"},
    }
    texts = dict(rendered(build_network(layers, in_shape=(3,), dt=1.0)))
    assert list(texts) == ["lif", "own", "whole"]
    for way in ("def forward(", "def backward("):
        assert way in texts["lif"]
    assert "k_a[n]" in texts["own"]
    assert "the plain loop, because of LavaCuba.forward, line" in texts["whole"]
