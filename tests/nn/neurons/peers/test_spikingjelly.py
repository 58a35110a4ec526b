"""The presets named after SpikingJelly, compared with SpikingJelly 2.0."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from comparison import assert_agree, assert_agree_on_ties
from presets import Drive, Run, build, dyadic, library, noise, run
from torch import Tensor

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def neurons() -> Any:
    return library("spikingjelly.activation_based.neuron")


def node(neuron: Any, drive: Drive, learned: tuple[Tensor, ...] = ()) -> Run:
    """Run a node of SpikingJelly, all steps at once."""
    neuron.train()
    neuron.reset()
    neuron.v = drive.v
    y = neuron(drive.x)
    return Run(y, torch.cat([neuron.v_seq[:-1].detach(), neuron.v[None]]), learned=learned)


WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "defaults": ({}, {}),
    "decay_input=False": ({"input_gain": 1.0}, {"decay_input": False}),
    "v_reset=None": ({"reset": "subtract"}, {"v_reset": None}),
    "v_reset=-0.2": ({"v_reset": -0.2, "v_leak": -0.2}, {"v_reset": -0.2}),
    "detach_reset=True": ({"detach_reset": True}, {"detach_reset": True}),
}


@pytest.mark.parametrize("way", WAYS)
def test_spikingjelly_lif(neurons: Any, dtype: torch.dtype, way: str) -> None:
    changes, settings = WAYS[way]
    drive = noise(dtype, 0.4, 0.8)
    theirs = node(neurons.LIFNode(step_mode="m", store_v_seq=True, **settings), drive)
    assert_agree(f"spikingjelly_lif {way}", run(build("spikingjelly_lif", dtype, **changes), drive), theirs, drive)


def test_spikingjelly_plif(neurons: Any, dtype: torch.dtype) -> None:
    drive = noise(dtype, 0.4, 0.8)
    ours = build("spikingjelly_plif", dtype)
    plif = neurons.ParametricLIFNode(step_mode="m", store_v_seq=True).to(dtype)
    theirs = node(plif, drive, (plif.w,))
    # We store log(tau - 1), SpikingJelly w = -log(tau - 1).
    assert_agree(
        "spikingjelly_plif", run(ours, drive, learned=(ours.learned["tau_mem"],)), theirs, drive, factors=(-1.0,)
    )


def test_spikingjelly_plif_stores_the_negative_of_w(neurons: Any) -> None:
    ours = build("spikingjelly_plif", torch.float32, tau_mem="3 steps").learned["tau_mem"]
    assert ours.item() == pytest.approx(-neurons.ParametricLIFNode(init_tau=3.0).w.item())


WAYS_WITHOUT_A_LEAK: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "defaults": ({}, {}),
    "v_reset=-0.5": ({"v_reset": -0.5}, {"v_reset": -0.5}),
    "v_reset=None": ({"reset": "subtract"}, {"v_reset": None}),
}


@pytest.mark.parametrize("way", WAYS_WITHOUT_A_LEAK)
def test_spikingjelly_if(neurons: Any, dtype: torch.dtype, way: str) -> None:
    changes, settings = WAYS_WITHOUT_A_LEAK[way]
    drive = noise(dtype, 0.05, 0.3)
    theirs = node(neurons.IFNode(step_mode="m", store_v_seq=True, **settings), drive)
    assert_agree(f"spikingjelly_if {way}", run(build("spikingjelly_if", dtype, **changes), drive), theirs, drive)


@pytest.mark.parametrize("way", WAYS_WITHOUT_A_LEAK)
@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_spikingjelly_if_begins_where_spikingjelly_does(neurons: Any, way: str, backend: str) -> None:
    changes, settings = WAYS_WITHOUT_A_LEAK[way]
    x = torch.randn(50, 3, 67) * 0.6 + 0.1
    weight, found = torch.randn_like(x), []
    for neuron in (neurons.IFNode(step_mode="m", v_threshold=1.1, **settings), None):
        own = x.clone().requires_grad_()
        if neuron is None:
            ours = build("spikingjelly_if", torch.float32, (67,), v_threshold=1.1, **changes)
            ours.backend = backend
            y = ours(own)[0]
        else:
            y = neuron(own)
        (y * weight).sum().backward()
        found.append((y, own.grad))
    assert torch.equal(found[0][0], found[1][0])
    largest = found[0][1].abs().max()
    torch.testing.assert_close(found[1][1] / largest, found[0][1] / largest, rtol=0, atol=1e-5)


def test_spikingjelly_lets_neurons_at_the_threshold_spike(neurons: Any) -> None:
    drive = dyadic()
    settings = {"step_mode": "m", "store_v_seq": True}
    assert_agree_on_ties("spikingjelly_lif", node(neurons.LIFNode(**settings), drive), drive)
    assert_agree_on_ties("spikingjelly_plif", node(neurons.ParametricLIFNode(**settings).double(), drive), drive)
    assert_agree_on_ties("spikingjelly_if", node(neurons.IFNode(**settings), drive), drive)
