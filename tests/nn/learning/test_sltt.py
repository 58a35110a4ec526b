"""SLTT: no gradient through time."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from snnlab.errors import ConfigError
from snnlab.nn.learning import BPTT
from snnlab.nn.neurons.base import set_backend

from ...refusals import assert_raises
from .tasks import INPUTS, Layers, assert_equal, batch_of, built_network, gradients, make_rule

OUT: dict[str, Any] = {"out": {"type": "linear", "out_features": 3}, "readout": {"type": "li"}}
FC: dict[str, Any] = {"type": "linear", "out_features": 7}
IMAGE = (2, 6, 6)
NETWORKS: dict[str, tuple[Layers, tuple[int, ...]]] = {
    "lif": ({"fc": FC, "lif": {"type": "lif", "v_threshold": 0.3, "learn": ["tau_mem"]}, **OUT}, (INPUTS,)),
    "attached": ({"fc": FC, "lif": {"type": "lif", "v_threshold": 0.3, "detach_reset": False}, **OUT}, (INPUTS,)),
    "alif": ({"fc": FC, "alif": {"type": "alif", "v_threshold": 0.3, "recurrent": True}, **OUT}, (INPUTS,)),
    "brf": ({"fc": FC, "brf": {"type": "brf", "recurrent": True, "input_gain": 300.0}, **OUT}, (INPUTS,)),
    "conv": (
        {
            "conv": {"type": "conv2d", "out_channels": 3, "kernel_size": 3},
            "lif": {"type": "cuba_lif", "v_threshold": 0.3},
            "pool": {"type": "max_pool", "kernel_size": 2},
            "flatten": {"type": "flatten"},
            **OUT,
        },
        IMAGE,
    ),
    "blocks": (
        {"one": {"type": "residual", "layers": {"fc": {**FC, "out_features": INPUTS}, "lif": {"type": "lif"}}}, **OUT},
        (INPUTS,),
    ),
}

# The others compile more loops.
OFTEN = ("lif", "conv")


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        pytest.param(name, backend, marks=() if backend == "reference" or name in OFTEN else pytest.mark.long)
        for name in NETWORKS
        for backend in ("numba", "reference")
    ],
)
def test_it_equals_windows_of_one_step(name: str, backend: Any) -> None:
    layers, in_shape = NETWORKS[name]
    found = []
    for kind in ("sltt", "bptt"):
        built = built_network(layers, in_shape)
        if not (backend == "numba" and name == "brf"):
            set_backend(built.network, backend)
        rule = BPTT() if kind == "bptt" else make_rule("sltt", built, in_shape=in_shape, steps_at_once=5)
        if isinstance(rule, BPTT):
            rule.window = 1
        found.append(gradients(rule, built, batch_of(in_shape)))
    assert_equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1])
    for layer, n in found[1][2].items():
        assert torch.equal(found[0][2][layer], n)


def test_labels_at_steps_give_the_same_parts_of_the_loss() -> None:
    found = []
    for steps in (3, 100):
        built = built_network(NETWORKS["lif"][0])
        rule = make_rule("sltt", built, "cross_entropy_steps", steps_at_once=steps)
        found.append(gradients(rule, built, batch_of(labels_at_steps=True), "cross_entropy_steps"))
    assert_equal(found[0][0], found[1][0])
    assert found[0][1].shape == found[1][1].shape == (13, 3, 3)


def test_a_loss_of_the_whole_recording_is_refused_with_the_rule_that_would_do() -> None:
    with assert_raises(ConfigError, "loss", "cross_entropy", "sltt", "bptt"):
        make_rule("sltt", built_network(NETWORKS["lif"][0]), "cross_entropy")


@pytest.mark.parametrize("layer", [{"type": "gru", "hidden_size": 4}, {"type": "delay", "delay": 4.0}, {"type": "psn"}])
def test_a_layer_with_time_of_its_own_is_refused_by_name(layer: dict[str, Any]) -> None:
    with assert_raises(ConfigError, "model.layers.own", "sltt", "bptt"):
        make_rule("sltt", built_network({"fc": FC, "own": layer, **OUT}))
