"""The resonate-and-fire neuron: its response by hand, and SpikingJelly."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from snnlab.nn.neurons.resonate_and_fire import ResonateAndFire

from .agreement import BOTH, assert_agrees, noise, preset


def test_an_impulse_gives_a_damped_sine() -> None:
    neuron = ResonateAndFire(2.0, tau_mem=20.0, period=40.0, v_threshold=2.0).double()
    x, state, v = torch.zeros(30, 1, 1, dtype=torch.float64), None, []
    x[0] = 1.0
    for x_t in x.split(1):
        _, state = neuron(x_t, state)
        v.append(state.v.item())
    expected = [math.exp(-t / 10.0) * math.sin(2 * math.pi * t / 20.0) for t in range(30)]
    assert v == pytest.approx(expected, abs=1e-14)


WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "defaults": ({}, {}),
    "v_reset=None": ({"reset": "subtract"}, {"v_reset": None}),
    "detach_reset, v_reset=-0.3": ({"detach_reset": True, "v_reset": -0.3}, {"detach_reset": True, "v_reset": -0.3}),
}


@pytest.mark.peers
@BOTH
@pytest.mark.parametrize("way", WAYS)
def test_it_is_spikingjellys_raf_node(dtype: torch.dtype, batch: int, way: str) -> None:
    library = pytest.importorskip("spikingjelly.activation_based.neuron")
    changes, settings = WAYS[way]
    node = library.RAFNode(step_mode="m", **settings)

    def theirs(x: torch.Tensor) -> Any:
        node.reset()
        node.v = 0.0  # a reset neuron of SpikingJelly starts at v_reset
        y = node(x)
        return y, (node.u, node.v)

    assert_agrees(preset("resonate_and_fire", dtype, **changes), theirs, noise(dtype, batch, 0.0, 0.8))
