"""OTTT beside a loop written from the authors' equations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from snnlab.errors import ConfigError
from snnlab.nn.surrogate import Atan

from ...refusals import assert_raises
from .tasks import CLASSES, B, T, assert_equal, batch_of, built_network, gradients, make_rule

LIF: dict[str, Any] = {"type": "lif", "v_threshold": 0.4, "tau_mem": 9.0}
LAYERS: dict[str, dict[str, Any]] = {
    "fc1": {"type": "linear", "out_features": 7, "bias": False},
    "lif1": LIF,
    "fc2": {"type": "linear", "out_features": 6, "bias": False},
    "lif2": LIF,
    "out": {"type": "linear", "out_features": CLASSES, "bias": False},
}
IMAGE = (2, 6, 6)


def xiao_et_al(weights: list[Tensor], x: Tensor, targets: Tensor, leak: float) -> list[Tensor]:
    """Return the gradients: u[t+1] = leak (u[t] - V s[t]) + W s[t+1], a trace of each layer's input, and the derivative
    of the loss of one step through the layers of that step.
    """
    threshold, surrogate = 0.4, Atan()
    found = [torch.zeros_like(w) for w in weights]
    u = [torch.zeros(B, len(w), dtype=x.dtype) for w in weights[:-1]]
    traces = [torch.zeros(B, w.shape[1], dtype=x.dtype) for w in weights]
    for x_t in x:
        s, slopes, inputs = x_t, [], []
        for number, w in enumerate(weights[:-1]):
            inputs.append(s)
            before = leak * u[number] + s @ w.T
            s = (before >= threshold).to(x.dtype)
            slopes.append(surrogate.derivative(before - threshold, threshold))
            u[number] = before - threshold * s
        inputs.append(s)
        delta = (functional.softmax(s @ weights[-1].T, 1) - functional.one_hot(targets, CLASSES)) / B / T
        for number in reversed(range(len(weights))):
            decay = leak if number < len(weights) - 1 else 0.0
            traces[number] = decay * traces[number] + inputs[number]
            if number < len(weights) - 1:
                delta = delta * slopes[number]
            found[number] += delta.T @ traces[number]
            delta = delta @ weights[number]
    return found


def test_its_gradients_are_those_of_the_authors_equations() -> None:
    built, batch = built_network(LAYERS), batch_of(lengths=(T,) * B)
    names = ["fc1.weight", "fc2.weight", "out.weight"]
    weights = [built.network.get_parameter(name).detach() for name in names]
    leak = float(torch.exp(torch.tensor(-2.0 / 9.0, dtype=torch.float64)))
    expected = dict(zip(names, xiao_et_al(weights, batch.x, batch.targets, leak), strict=True))
    found, _, counts = gradients(make_rule("ottt", built, steps_at_once=4), built, batch)
    assert all(n.sum() > 0 for n in counts.values())
    del found["loss"]
    assert_equal(found, expected)


CONV: dict[str, dict[str, Any]] = {
    "conv": {"type": "conv2d", "out_channels": 3, "kernel_size": 3, "padding": 1, "stride": 2},
    "lif": {"type": "lif", "v_threshold": 0.3},
    "pool": {"type": "max_pool", "kernel_size": 2},
    "flatten": {"type": "flatten"},
    "out": {"type": "linear", "out_features": CLASSES},
}


def test_with_one_hidden_layer_and_a_readout_without_memory_it_is_backpropagation_through_time() -> None:
    built = built_network(CONV, IMAGE)
    ours = gradients(make_rule("ottt", built, in_shape=IMAGE, steps_at_once=3), built, batch_of(IMAGE))
    true = gradients(make_rule("bptt", built, in_shape=IMAGE), built, batch_of(IMAGE))
    assert_equal(ours[0], true[0])
    torch.testing.assert_close(ours[1], true[1])


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "states": ({"type": "cuba_lif"}, "2 states"),
    "attached": ({**LIF, "detach_reset": False}, "leak"),
    "value": ({**LIF, "reset": "value"}, "leak"),
    "leaks": ({**LIF, "learn": {"tau_mem": "neuron"}}, "leak"),
    "recurrent": ({**LIF, "recurrent": True}, "recurrent"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_neurons_without_one_shared_leak_are_refused_with_the_rules_that_would_do(name: str) -> None:
    node, fact = REFUSED[name]
    with assert_raises(ConfigError, "model.layers.lif1", fact, "sltt"):
        make_rule("ottt", built_network({**LAYERS, "lif1": node}))


def test_layers_between_weights_and_neurons_that_are_no_linear_maps_are_refused() -> None:
    layers = {"fc": LAYERS["fc1"], "relu": {"type": "relu"}, "lif": LIF, "out": LAYERS["out"]}
    with assert_raises(ConfigError, "model.layers.relu", "fc", "lif"):
        make_rule("ottt", built_network(layers))
    with assert_raises(ConfigError, "model.layers.norm", "fc", "lif"):
        make_rule(
            "ottt",
            built_network({"fc": LAYERS["fc1"], "norm": {"type": "batch_norm"}, "lif": LIF, "out": LAYERS["out"]}),
        )
