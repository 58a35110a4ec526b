"""KLIF, against values by hand and SpikingJelly."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from snnlab.nn.neurons.klif import KLIF

from .agreement import BOTH, assert_agrees, noise, preset


@pytest.mark.parametrize(("scale_reset", "expected"), [(False, (0.0, 1.0, 2.0)), (True, (0.0, 0.5, 1.0))])
def test_the_slope_scales_what_spikes_and_negative_membranes_are_cut_off(scale_reset: bool, expected: Any) -> None:
    neuron = KLIF(1.0, beta=0.0, k=2.0, scale_reset=scale_reset, v_threshold=1.5)
    y, state = neuron(torch.tensor([[-3.0, 0.5, 1.75]])[None])
    assert y.flatten().tolist() == [0, 0, 1]
    assert state.v.flatten().tolist() == pytest.approx(expected)


WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "defaults": ({}, {}),
    "scale_reset": ({"scale_reset": True}, {"scale_reset": True}),
    "v_reset=None": ({"reset": "subtract"}, {"v_reset": None}),
    "both": ({"reset": "subtract", "scale_reset": True}, {"v_reset": None, "scale_reset": True}),
    "decay_input=False": ({"input_gain": 1.0, "detach_reset": True}, {"decay_input": False, "detach_reset": True}),
}


@pytest.mark.peers
@BOTH
@pytest.mark.parametrize("way", WAYS)
def test_it_is_spikingjellys_klif_node(dtype: torch.dtype, batch: int, way: str) -> None:
    library = pytest.importorskip("spikingjelly.activation_based.neuron")
    changes, settings = WAYS[way]
    node = library.KLIFNode(step_mode="m", **settings).to(dtype)
    ours = preset("klif", dtype, k=1.25, **changes)
    with torch.no_grad():
        node.k.fill_(1.25)

    def theirs(x: torch.Tensor) -> Any:
        y = node(x)
        return y, (node.v,)

    assert_agrees(ours, theirs, noise(dtype, batch, 0.4, 0.8), learned=[(ours.learned["k"], node.k)])
