"""The presets named after snnTorch, compared with snnTorch 1.0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import presets
import pytest
import torch
from comparison import assert_agree, assert_agree_on_ties
from presets import Drive, Run, build, dyadic, library, noise, run, unrolled
from torch import Tensor

pytestmark = pytest.mark.peers

IMMEDIATE = {"reset": "value", "v_reset": 0.0, "reset_delay": False, "detach_reset": False}


@pytest.fixture(scope="module")
def snntorch() -> Any:
    return library("snntorch")


def spike_grad(snntorch: Any) -> Callable[[Tensor], Tensor]:
    """Return the library's default; its spikes are in single precision, which its linear layers do not accept."""
    atan = snntorch.surrogate.atan()
    return lambda distance: atan(distance).to(distance.dtype)


def leaky(snntorch: Any, drive: Drive, beta: float = 0.9, **settings: Any) -> Run:
    neuron = snntorch.Leaky(torch.tensor(beta, dtype=drive.x.dtype), spike_grad=spike_grad(snntorch), **settings)
    outputs, membranes = unrolled(neuron, drive.x, drive.v)
    learned = (neuron.beta, neuron.threshold) if settings.get("learn_beta") else ()
    return Run(torch.stack(outputs), torch.stack(membranes), learned=learned)


def synaptic(snntorch: Any, drive: Drive, alpha: float = 0.8, beta: float = 0.9, **settings: Any) -> Run:
    factors = (torch.tensor(factor, dtype=drive.x.dtype) for factor in (alpha, beta))
    neuron = snntorch.Synaptic(*factors, spike_grad=spike_grad(snntorch), **settings)

    def step(x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        spikes, *after = neuron(x, *state)
        return spikes, tuple(after)

    outputs, states = unrolled(step, drive.x, (drive.i, drive.v))
    currents, membranes = map(torch.stack, zip(*states, strict=True))
    learned = (neuron.alpha, neuron.beta, neuron.threshold) if settings.get("learn_beta") else ()
    return Run(torch.stack(outputs), membranes, currents, learned)


def learned(neuron: Any, *names: str) -> tuple[Tensor, ...]:
    return tuple(neuron.learned[name] for name in names)


# The parameter of a factor is its logit; that of the threshold the logarithm of its distance from 1/2.
BETA, ALPHA, V_THRESHOLD = 0.9 * 0.1, 0.8 * 0.2, 0.5


def test_snntorch_leaky(snntorch: Any, dtype: torch.dtype) -> None:
    drive = noise(dtype, 0.1, 0.4)
    names = ("beta", "v_threshold")
    neuron = build("snntorch_leaky", dtype, learn=list(names))
    theirs = leaky(snntorch, drive, learn_beta=True, learn_threshold=True)
    ours = run(neuron, drive, learned=learned(neuron, *names))
    assert_agree("snntorch_leaky", ours, theirs, drive, factors=(BETA, V_THRESHOLD))


def test_snntorch_leaky_with_reset_to_zero(snntorch: Any, dtype: torch.dtype) -> None:
    drive = noise(dtype, 0.1, 0.4)
    theirs = leaky(snntorch, drive, reset_mechanism="zero")
    assert_agree("snntorch_leaky zero", run(build("snntorch_leaky", dtype, reset="value"), drive), theirs, drive)


def test_snntorch_leaky_with_immediate_reset_to_zero(snntorch: Any, dtype: torch.dtype) -> None:
    drive = noise(dtype, 0.1, 0.4)
    theirs = leaky(snntorch, drive, reset_mechanism="zero", reset_delay=False)
    ours = run(build("snntorch_leaky", dtype, **IMMEDIATE), drive)
    assert_agree("snntorch_leaky zero, reset_delay=False", ours, theirs, drive)


def test_snntorch_synaptic(snntorch: Any, dtype: torch.dtype) -> None:
    drive = noise(dtype, 0.02, 0.2)
    names = ("alpha", "beta", "v_threshold")
    neuron = build("snntorch_synaptic", dtype, learn=list(names))
    theirs = synaptic(snntorch, drive, learn_alpha=True, learn_beta=True, learn_threshold=True)
    ours = run(neuron, drive, learned=learned(neuron, *names))
    assert_agree("snntorch_synaptic", ours, theirs, drive, factors=(ALPHA, BETA, V_THRESHOLD))


def test_snntorch_leaves_neurons_at_the_threshold_silent(snntorch: Any) -> None:
    drive = dyadic()
    assert_agree_on_ties("snntorch_leaky", leaky(snntorch, drive, beta=0.5), drive, beta=0.5)
    theirs = synaptic(snntorch, drive, alpha=0.5, beta=0.5)
    assert_agree_on_ties("snntorch_synaptic", theirs, drive, alpha=0.5, beta=0.5)


def rleaky(snntorch: Any, neuron: Any, drive: Drive, **settings: Any) -> Run:
    """Run snnTorch's RLeaky with our feedback's weights."""
    beta = torch.tensor(0.9, dtype=drive.x.dtype)
    cell = snntorch.RLeaky(beta, spike_grad=spike_grad(snntorch), **settings).to(drive.x.dtype)
    with torch.no_grad():
        cell.recurrent.weight.copy_(neuron.feedback.weight)
        cell.recurrent.bias.copy_(neuron.feedback.bias)
    outputs, membranes = [], []
    spikes, v = torch.zeros_like(drive.v), drive.v
    for x in drive.x:
        spikes, v = cell(x, spikes, v)
        outputs.append(spikes)
        membranes.append(v)
    return Run(torch.stack(outputs), torch.stack(membranes), learned=(cell.recurrent.weight, cell.recurrent.bias))


def feedback_weights(neuron: Any) -> tuple[Tensor, Tensor]:
    return neuron.feedback.weight, neuron.feedback.bias


def test_snntorch_rleaky(snntorch: Any, dtype: torch.dtype) -> None:
    drive = noise(dtype, 0.05, 0.4)
    neuron = build("snntorch_rleaky", dtype, (100,))
    ours = run(neuron, drive, learned=feedback_weights(neuron))
    theirs = rleaky(snntorch, neuron, drive, linear_features=100)
    assert_agree("snntorch_rleaky dense", ours, theirs, drive, coupled=True)


def test_snntorch_rleaky_over_images(snntorch: Any, dtype: torch.dtype) -> None:
    drive = noise(dtype, 0.05, 0.4, 200, presets.BATCH, 4, 5, 5)
    neuron = build("snntorch_rleaky", dtype, (4, 5, 5))
    ours = run(neuron, drive, learned=feedback_weights(neuron))
    theirs = rleaky(snntorch, neuron, drive, conv2d_channels=4, kernel_size=3)
    assert_agree("snntorch_rleaky conv", ours, theirs, drive, coupled=True)


@pytest.mark.parametrize(
    ("in_shape", "settings"),
    [((300,), {"linear_features": 300}), ((20, 5, 5), {"conv2d_channels": 20, "kernel_size": 3})],
    ids=["dense", "conv"],
)
def test_snntorch_rleaky_starts_with_snntorchs_weights(
    snntorch: Any, in_shape: tuple[int, ...], settings: dict[str, int]
) -> None:
    theirs = snntorch.RLeaky(0.9, **settings).recurrent
    feedback = build("snntorch_rleaky", torch.float32, in_shape).feedback
    for ours, other in ((feedback.weight, theirs.weight), (feedback.bias, theirs.bias)):
        assert ours.shape == other.shape
        assert ours.std().item() == pytest.approx(other.std().item(), rel=0.5 if ours.numel() < 100 else 0.1)
        assert ours.abs().max().item() == pytest.approx(other.abs().max().item(), rel=0.2)
