"""The networks whose form is exported, and events for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from snnlab.interop.c99.c_folder import EVENT, Recorded
from snnlab.interop.c99.c_network import InputMap
from snnlab.nn import NEURONS, build_network
from snnlab.nn.network_form import NetworkForm, network_form

Layers = dict[str, dict[str, Any]]

LIF = {"type": "lif", "tau_mem": 20.0}
# They have no single step.
NO_FORM = {"psn", "masked_psn", "sliding_psn"}


def form_of(layers: Layers, in_shape: tuple[int, ...], gain: float) -> NetworkForm:
    torch.manual_seed(0)
    network = build_network(layers, in_shape=in_shape, dt=1.0, num_steps=40).network.eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(gain)
    return network_form(network, in_shape)


def recorded(form: NetworkForm, rate: float, steps: int, seed: int = 0) -> Recorded:
    """Return events at random, those of a step in random order."""
    rng = np.random.default_rng(seed)
    return of_frames(rng.poisson(rate, (steps, *form.in_shape)).astype(np.float32), seed)


def of_frames(frames: np.ndarray, seed: int = 0) -> Recorded:
    """Return the events of frames `[T, C, H, W]`, those of a step in random order."""
    rng, events = np.random.default_rng(seed), []
    for frame in frames:
        places = np.repeat(np.argwhere(frame), frame[frame > 0].astype(int), 0)
        one = np.zeros(len(places), EVENT)
        one["p"], one["y"], one["x"] = rng.permutation(places).T
        events.append(one)
    return Recorded("random", events, frames, 1.0)


def sensor(form: NetworkForm) -> InputMap:
    polarities, height, width = form.in_shape
    return InputMap(width, height, polarities)


def conv(**settings: Any) -> dict[str, Any]:
    return {"type": "conv2d", "out_channels": 8, "kernel_size": 3, **settings}


NETWORKS: dict[str, tuple[Layers, tuple[int, ...]]] = {
    "pooling": (
        {
            **{"c1": conv(padding=1, bias=False), "n1": LIF, "p1": {"type": "avg_pool", "kernel_size": 2}},
            **{"c2": conv(stride=2), "n2": LIF, "p2": {"type": "max_pool", "kernel_size": 2}},
            **{"flatten": {"type": "flatten"}, "fc": {"type": "linear", "out_features": 10}, "out": {"type": "li"}},
        },
        (2, 17, 15),
    ),
    "sums, groups, dilation, feedback": (
        {
            "c1": conv(stride=2, dilation=2, groups=2, padding=2, bias=False),
            "n1": {**LIF, "recurrent": {"type": "conv", "kernel_size": 3}},
            "block": {"type": "residual", "layers": {"c": conv(padding=1), "n": LIF}},
            "p": {"type": "max_pool", "kernel_size": 3, "stride": 2, "padding": 1},
            "flatten": {"type": "flatten"},
            "fc": {"type": "linear", "out_features": 10, "delay": {"max": 5.0}},
            "n2": {"type": "lif", "tau_mem": 5.0, "recurrent": {"type": "dense", "delay": {"max": 3.0}}},
        },
        (4, 12, 14),
    ),
    "a first convolution with dilated columns": (
        {
            "c": conv(dilation=[1, 2]),
            **{"n": LIF, "flatten": {"type": "flatten"}, "out": {"type": "linear", "out_features": 3}},
        },
        (2, 12, 14),
    ),
    "a line of sensors with dilation": (
        {
            "c": {"type": "conv1d", "out_channels": 8, "kernel_size": 3, "dilation": 2},
            **{"n": LIF, "flatten": {"type": "flatten"}, "out": {"type": "linear", "out_features": 3}},
        },
        (1, 20),
    ),
    "a line of sensors, delays": (
        {
            "c": {"type": "conv1d", "out_channels": 8, "kernel_size": 3, "delay": {"max": 4.0}},
            **{"n": LIF, "flatten": {"type": "flatten"}, "out": {"type": "linear", "out_features": 3}},
        },
        (2, 20),
    ),
    "pooled currents": (
        {
            "c": conv(),
            "p": {"type": "max_pool", "kernel_size": 2},
            "n": LIF,
            "s": {"type": "sum_pool", "kernel_size": 3},
        },
        (2, 14, 14),
    ),
    "strides longer than a kernel, windows that cut": (
        {
            **{"c1": conv(kernel_size=2, padding=1), "p1": {"type": "max_pool", "kernel_size": 2}, "n1": LIF},
            **{
                "c2": conv(kernel_size=1, stride=2, bias=False),
                "n2": LIF,
                "p2": {"type": "avg_pool", "kernel_size": 2},
            },
            **{"c3": conv(kernel_size=3, stride=2, padding=2), "p3": {"type": "avg_pool", "kernel_size": 2}, "n3": LIF},
        },
        (2, 24, 21),
    ),
    "features": (
        {
            "fc": {"type": "linear", "out_features": 30},
            "n": {"type": "alif"},
            "out": {"type": "linear", "out_features": 4},
        },
        (150,),
    ),
    "the membrane of neurons that spike": (
        {
            **{"fc": {"type": "linear", "out_features": 30}, "n": LIF, "out": {"type": "linear", "out_features": 4}},
            "readout": {"type": "alif", "reset_delay": True, "adapted_reset": True, "output": "v"},
        },
        (150,),
    ),
}


def names(*, unmarked: int) -> list[Any]:
    """Return the names of `NETWORKS`, but for the first ones as long tests."""
    return [pytest.param(name, marks=[pytest.mark.long] * (at >= unmarked)) for at, name in enumerate(NETWORKS)]


def neuron_kinds() -> list[Any]:
    """Return the neurons that have a form, most of them as long tests."""
    few = ("adex", "cuba_lif", "lif_refrac")
    return [pytest.param(kind, marks=[pytest.mark.long] * (kind not in few)) for kind in sorted(set(NEURONS) - NO_FORM)]


def form_of_neurons(kind: str, gain: float = 4.0) -> NetworkForm:
    """Return a network with two layers of a neuron, one after a bias and one without."""
    layers = {
        **{"c1": conv(padding=1), "n1": {"type": kind}, "p": {"type": "sum_pool", "kernel_size": 2}},
        **{"c2": conv(bias=False), "n2": {"type": kind}, "flatten": {"type": "flatten"}},
        "fc": {"type": "linear", "out_features": 7},
    }
    return form_of(layers, (2, 9, 8), gain)


def form_with_own_numbers() -> NetworkForm:
    """Return a network whose neurons have numbers of each channel, and of each neuron."""
    own = {**LIF, "per_neuron": ["tau_mem", "v_threshold"]}
    layers = {"c": conv(bias=False), "n1": own, "flatten": {"type": "flatten"}}
    layers |= {"fc": {"type": "linear", "out_features": 9, "bias": False}, "n2": own}
    network = build_network(layers, in_shape=(2, 9, 8), dt=1.0, num_steps=40).network.eval()
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, values in network.named_buffers():
            if name.endswith("_values"):
                values.mul_(torch.rand(values.shape, generator=rng) + 0.5)
        for parameter in network.parameters():
            parameter.mul_(4.0)
    form = network_form(network, (2, 9, 8))
    sizes = {value.shape for one in form.neurons.values() for value in one.form.numbers.values()}
    assert {(9, 1, 1), (8, 7, 6)} <= sizes
    return form
