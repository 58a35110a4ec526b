"""The presets named after Sinabs, compared with Sinabs 3.1."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from comparison import assert_agree, assert_agree_on_ties
from presets import Drive, Run, build, dyadic, library, noise, run, unrolled
from torch import Tensor

pytestmark = pytest.mark.peers

TAU_MEM = 20.0  # of the presets, steps; the parameter is its logarithm


@pytest.fixture(scope="module")
def layers() -> Any:
    return library("sinabs.layers")


def layer(layers: Any, kind: str, **settings: Any) -> Any:
    if kind == "LIF":
        settings["spike_fn"] = library("sinabs.activation").SingleSpike
    return getattr(layers, kind)(**settings)


def batch_first(layer: Any, drive: Drive) -> Run:
    """Run a layer of Sinabs, which has the samples before the steps; its time constants are parameters.

    It keeps its state from call to call, and is called for each step: its own loop over a whole recording indexes it,
    which makes its gradient slow.
    """
    layer.to(drive.x.dtype)
    layer.v_mem = drive.v

    def step(x: Tensor, _: Any) -> tuple[Tensor, Tensor]:
        return layer(x[:, None])[:, 0], layer.v_mem

    outputs, membranes = unrolled(step, drive.x, None)
    learned = tuple(p for p in layer.parameters() if p.requires_grad)
    return Run(torch.stack(outputs), torch.stack(membranes), learned=learned)


@pytest.mark.parametrize("norm_input", [True, False], ids=["defaults", "norm_input=False"])
def test_sinabs_lif_single(layers: Any, dtype: torch.dtype, norm_input: bool) -> None:
    drive = noise(dtype, 1.2, 2.0) if norm_input else noise(dtype, 0.05, 0.2)
    neuron = build("sinabs_lif_single", dtype, learn=["tau_mem"], input_gain="1-a" if norm_input else 1.0)
    theirs = batch_first(layer(layers, "LIF", tau_mem=TAU_MEM, norm_input=norm_input), drive)
    ours = run(neuron, drive, learned=(neuron.learned["tau_mem"],))
    assert_agree(f"sinabs_lif_single norm_input={norm_input}", ours, theirs, drive, factors=(TAU_MEM,))


@pytest.mark.parametrize("mean", [0.05, 0.6], ids=["few spikes", "several a step"])
def test_sinabs_iaf(layers: Any, dtype: torch.dtype, mean: float) -> None:
    drive = noise(dtype, mean, 4 * mean)
    theirs = batch_first(layer(layers, "IAF", min_v_mem=-1.0), drive)
    assert_agree(f"sinabs_iaf mean={mean}", run(build("sinabs_iaf", dtype), drive), theirs, drive)


@pytest.mark.parametrize("norm_input", [False, True], ids=["defaults", "norm_input=True"])
def test_sinabs_expleak(layers: Any, dtype: torch.dtype, norm_input: bool) -> None:
    drive = noise(dtype, 0.05, 0.2)
    neuron = build("sinabs_expleak", dtype, learn=["tau_mem"], input_gain="1-a" if norm_input else 1.0)
    theirs = batch_first(layer(layers, "ExpLeak", tau_mem=TAU_MEM, norm_input=norm_input), drive)
    ours = run(neuron, drive, learned=(neuron.learned["tau_mem"],))
    name = f"sinabs_expleak norm_input={norm_input}"
    assert_agree(name, ours, theirs, drive, factors=(TAU_MEM,), spiking=False)


def test_sinabs_lets_neurons_at_the_threshold_spike(layers: Any) -> None:
    drive = dyadic()
    theirs = layer(layers, "LIF", tau_mem=TAU_MEM, train_alphas=True)
    with torch.no_grad():
        theirs.alpha_mem.fill_(0.5)
    assert_agree_on_ties("sinabs_lif_single", batch_first(theirs, drive), drive, tau_mem=None, beta=0.5)
