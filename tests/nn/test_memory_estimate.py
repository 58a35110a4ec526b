from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.nn import LAYERS, build_network
from snnlab.nn.memory_estimate import MemoryEstimate, MemoryTracker, estimate_memory
from snnlab.nn.neurons.base import set_backend

from ..refusals import assert_raises

Layers = dict[str, Any]

IMAGE = (2, 34, 34)


def making(name: str, **settings: Any) -> Any:
    return lambda network: getattr(torch.optim, name)(network.parameters(), **{"lr": 1e-3, **settings})


ADAM = making("Adam")


def conv(neuron: Layers, pool: str = "max_pool", norm: bool = False) -> Layers:
    layers: Layers = {}
    for number, channels in ((1, 12), (2, 32)):
        layers[f"conv{number}"] = {"type": "conv2d", "out_channels": channels, "kernel_size": 5, "bias": False}
        if norm:
            layers[f"norm{number}"] = {"type": "batch_norm"}
        layers[f"neuron{number}"] = neuron
        layers[f"pool{number}"] = {"type": pool, "kernel_size": 2}
    return {**layers, **END}


def dense(neuron: Layers, features: int) -> Layers:
    return {
        "flatten": {"type": "flatten"},
        "fc1": {"type": "linear", "out_features": features},
        "neuron1": neuron,
        "out": {"type": "linear", "out_features": 10},
    }


def residual() -> Layers:
    inner: Layers = {}
    for number in (1, 2):
        inner[f"conv{number}"] = {"type": "conv2d", "out_channels": 16, "kernel_size": 3, "padding": "same"}
        inner[f"norm{number}"] = {"type": "batch_norm"}
        inner[f"lif{number}"] = LIF
    first = {"type": "conv2d", "out_channels": 16, "kernel_size": 3, "padding": "same"}
    pool = {"type": "max_pool", "kernel_size": 2}
    return {"conv": first, "lif": LIF, "pool": pool, "block": {"type": "residual", "layers": inner}, **END}


END: Layers = {
    "flatten": {"type": "flatten"},
    "out": {"type": "linear", "out_features": 10, "bias": False},
    "readout": {"type": "li"},
}
LIF: Layers = {"type": "lif"}
FC: Layers = {"type": "linear", "out_features": 1000, "bias": False}
CUBA: Layers = {"type": "cuba_lif"}

# Layers, T, B, and settings that differ from the default.
CASES: dict[str, tuple[Layers, int, int, Layers]] = {
    "max pooling, 30 steps": (conv(LIF), 30, 32, {}),
    "max pooling, 100 steps": (conv(LIF), 100, 10, {}),
    "average pooling": (conv(LIF, "avg_pool"), 30, 32, {}),
    "sum pooling, which is not fused": (conv(LIF, "sum_pool"), 30, 16, {}),
    "a synapse": (conv(CUBA), 30, 32, {}),
    "a synapse that learns": (conv(CUBA | {"learn": ["tau_mem", "tau_syn"]}), 30, 16, {}),
    "batch norm": (conv(LIF, norm=True), 30, 16, {}),
    "an adaptive threshold": (conv({"type": "alif"}), 30, 16, {}),
    "recurrent": (dense(LIF | {"recurrent": True}, 512), 100, 32, {}),
    "a wide layer": (dense(LIF, 2048), 10, 16, {}),
    "a wide layer, SGD": (dense(LIF, 4096), 10, 16, {"optimizer": "SGD"}),
    "recomputed in 10 segments": (conv(LIF), 100, 20, {"segments": 10}),
    "truncated, in windows of 20 steps": (conv(LIF), 100, 20, {"window": 20}),
    "a residual block": (residual(), 30, 16, {}),
    "dropout": ({"drop": {"type": "dropout"}, **conv(LIF)}, 30, 16, {}),
    "plain loops": (conv(LIF), 30, 8, {"backend": "reference"}),
    "plain loops of many steps": (dense(LIF, 256), 100, 64, {"backend": "reference"}),
}


def predicted(
    layers: Layers,
    steps: int,
    batch: int,
    in_shape: tuple[int, ...] = IMAGE,
    *,
    segments: int = 0,
    backend: Any = "auto",
    optimizer: str = "Adam",
    window: int | None = None,
) -> MemoryEstimate:
    built = build_network(layers, in_shape=in_shape, dt=10.0, num_steps=steps)
    set_backend(built.network, backend)
    if segments:
        built.network.configure(checkpoint_segments=segments)
    return estimate_memory(built, in_shape, steps, batch, making(optimizer), window)


# One case for each way of running; the others compile more loops and take a minute.
USUAL = ("recurrent", "plain loops")


@cache
def taken(names: tuple[str, ...]) -> dict[str, int]:
    """Return the peak memory of a training step of each case, in bytes, measured in a separate process."""
    usual = {"segments": 0, "backend": "auto", "optimizer": "Adam", "in_shape": IMAGE, "window": None}
    cases = [
        {**usual, **differs, "layers": layers, "steps": steps, "batch": batch}
        for layers, steps, batch, differs in (CASES[name] for name in names)
    ]
    script = Path(__file__).with_name("measure_peak.py")
    environment = {**os.environ, "SNNLAB_CHECK_TRACES": "0"}  # a comparison needs the memory of a plain loop
    command = [sys.executable, str(script), json.dumps(cases)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(zip(names, json.loads(done.stdout), strict=True))


@pytest.mark.long
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what a process has is read from Linux's /proc")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in USUAL else pytest.mark.slow) for name in CASES]
)
def test_the_estimate_is_near_the_measured_peak(name: str):
    layers, steps, batch, differs = CASES[name]
    measured = taken(USUAL if name in USUAL else tuple(name for name in CASES if name not in USUAL))[name]
    found = predicted(layers, steps, batch, **differs)
    assert measured > 40e6
    assert found.peak == pytest.approx(measured, rel=0.2)


def test_its_terms_follow_from_the_shapes():
    found = predicted(conv(LIF), 30, 32)
    weights = 4 * (12 * 2 * 25 + 32 * 12 * 25 + 800 * 10)
    a_step = 12 * 30 * 30 + 12 * 15 * 15 + 32 * 11 * 11 + 800 + 800  # membranes, pooled spikes, and those flattened
    assert found.frames == 4 * 30 * 32 * 2 * 34 * 34
    assert found.weights_and_optimizer == pytest.approx(3 * weights, rel=1e-3)
    assert found.saved == pytest.approx(4 * 30 * 32 * a_step, rel=0.05)
    assert found.peak == pytest.approx(found.frames + found.weights_and_optimizer + found.saved + found.temporary)


def test_the_optimizer_sets_the_peak_of_a_network_with_many_weights():
    weights = 4 * (2312 * 1024 + 1024 + 1024 * 10 + 10)
    largest = 4 * 2312 * 1024
    found = predicted(dense(LIF, 1024), 1, 1)
    assert found.peak == pytest.approx(found.frames + 4 * weights + 2 * largest, rel=1e-3)
    assert predicted(dense(LIF, 1024), 1, 1, optimizer="SGD").peak < found.peak / 2


def test_steps_of_a_plain_loop_are_extrapolated():
    layers = dense(LIF, 16)
    few, more, many = (predicted(layers, steps, 2, backend="reference") for steps in (40, 60, 400))
    assert many.peak == pytest.approx(few.peak + 18 * (more.peak - few.peak), rel=0.05)


def test_windows_of_a_plain_loop_are_extrapolated():
    layers = dense(LIF, 64)
    few, many = (predicted(layers, steps, 4, backend="reference", window=8) for steps in (24, 200))
    whole = predicted(layers, 200, 4, backend="reference")
    assert many.saved - few.saved < 0.2 * (whole.saved - few.saved)


def test_the_network_does_not_change():
    built = build_network(conv(LIF, norm=True), in_shape=IMAGE, dt=10.0)
    built.network.eval()
    state = copy.deepcopy(built.network.state_dict())
    random = torch.get_rng_state()
    estimate_memory(built, IMAGE, 4, 2, ADAM)
    assert torch.equal(random, torch.get_rng_state())
    assert not built.network.training
    assert all(torch.equal(part, state[name]) for name, part in built.network.state_dict().items())
    assert all(weight.grad is None and weight.device.type == "cpu" for weight in built.network.parameters())
    assert built.network(torch.zeros(2, 1, *IMAGE))[0].shape == (2, 1, 10)


class _ReadsValues(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * (1.0 if float(x.sum()) >= 0 else 2.0)


def test_a_layer_that_reads_values_runs_unchanged(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(LAYERS._entries, "looks", _ReadsValues)
    layers = conv(LIF)
    looking = predicted({"looks": {"type": "looks"}, **layers}, 30, 32)
    usual = predicted(layers, 30, 32)
    # The convolution saves its output.
    assert looking.peak == pytest.approx(usual.peak + usual.frames, rel=0.1)


def test_a_network_that_does_not_train_raises_its_error():
    layers: Layers = {"norm": {"type": "batch_norm", "per_step": True}, **dense(LIF, 8)}
    built = build_network(layers, in_shape=(2,), dt=10.0, num_steps=3)
    with assert_raises(ConfigError, "", 1):
        estimate_memory(built, (2,), 3, 1, ADAM)


@pytest.mark.parametrize(
    ("name", "settings", "states", "temporary_weights"),
    [
        ("Adam", {}, 2, 2),
        ("Adam", {"amsgrad": True, "weight_decay": 0.1}, 3, 3),
        ("SGD", {}, 0, 0),
        ("SGD", {"momentum": 0.9}, 1, 0),
        ("RMSprop", {}, 1, 1),
        ("Adamax", {}, 2, 1),
        pytest.param("Muon", {}, 1, None, marks=pytest.mark.long),
    ],
)
def test_the_state_of_each_optimizer_is_counted(
    name: str, settings: Layers, states: int, temporary_weights: int | None
):
    weights, built = 4 * 1000 * 1000, build_network({"fc": FC}, in_shape=(1000,), dt=10.0)
    found = estimate_memory(built, (1000,), 1, 1, making(name, **settings))
    assert found.optimizer_known
    assert found.weights_and_optimizer == pytest.approx((1 + states) * weights, rel=0.02)
    if temporary_weights is not None:
        assert found.peak == pytest.approx((2 + states + temporary_weights) * weights, rel=0.02)


def test_the_state_of_an_optimizer_with_a_closure_is_not_counted():
    built = build_network({"fc": FC}, in_shape=(1000,), dt=10.0)
    found = estimate_memory(built, (1000,), 1, 1, making("LBFGS"))
    assert (found.optimizer_known, found.weights_and_optimizer) == (False, 4_000_000)


def test_the_tracker_adds_new_storages_and_subtracts_freed_ones():
    with MemoryTracker() as tracker:
        x = torch.zeros(1000)
        view = x.view(10, 100)
        assert tracker.live == 4000
        y = x + 1
        assert tracker.live == 8000
        del x, y
        assert tracker.live == 4000
        del view
        assert (tracker.live, max(tracker.after_each)) == (0, 8000)
