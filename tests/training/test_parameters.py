from __future__ import annotations

import pytest

from snnlab.errors import ConfigError
from snnlab.nn import build_network
from snnlab.training.optimizer import matches, parameter_kinds, require_match

from ..refusals import assert_raises

LAYERS = {
    "conv1": {"type": "conv2d", "out_channels": 3, "kernel_size": 3},
    "norm1": {"type": "batch_norm"},
    "lif1": {"type": "lif", "tau_mem": 10.0, "learn": ["tau_mem", "v_threshold", "v_leak"]},
    "flatten": {"type": "flatten"},
    "fc1": {"type": "linear", "out_features": 4, "bias": False},
    "alif": {
        "type": "alif",
        "beta": 0.9,
        "learn": {"beta": "neuron", "tau_adapt": "layer"},
        "recurrent": {"bias": True},
    },
    "gru": {"type": "gru", "hidden_size": 3},
    "out": {"type": "linear", "out_features": 2},
}
NEURON = {"neurons", "time_constants"}
EXPECTED = {
    "conv1.weight": {"weights"},
    "conv1.bias": {"biases"},
    "norm1.weight": {"norms"},
    "norm1.bias": {"norms", "biases"},
    "lif1.learned.tau_mem": NEURON,
    "lif1.learned.v_threshold": {"neurons", "thresholds"},
    "lif1.learned.v_leak": {"neurons"},
    "fc1.weight": {"weights"},
    "alif.neuron.learned.beta": NEURON,
    "alif.neuron.learned.tau_adapt": NEURON,
    "alif.feedback.weight": {"recurrent"},
    "alif.feedback.bias": {"recurrent", "biases"},
    "gru.weight_ih_l0": {"weights"},
    "gru.weight_hh_l0": {"recurrent"},
    "gru.bias_ih_l0": {"biases"},
    "gru.bias_hh_l0": {"biases"},
    "out.weight": {"weights"},
    "out.bias": {"biases"},
}


def test_every_parameter_has_its_kinds() -> None:
    network = build_network(LAYERS, in_shape=(2, 8, 8), dt=1.0).network
    found = parameter_kinds(network)
    assert found == EXPECTED
    assert list(found) == [name for name, _ in network.named_parameters()]


@pytest.mark.parametrize("kind", ["brf", "glif", "tc_lif", "ts_lif", "vanilla_rf"])
def test_what_a_neuron_learns_is_no_weight(kind: str) -> None:
    network = build_network({"n": {"type": kind}}, in_shape=(3,), dt=1.0).network
    found = parameter_kinds(network)
    assert found
    assert all("neurons" in kinds and "weights" not in kinds for kinds in found.values())
    assert kind != "glif" or "thresholds" in found["n.learned.v_threshold"]


@pytest.mark.parametrize(
    ("wanted", "is_match"),
    [
        ("biases", True),
        ("weights", False),
        ("block", True),
        ("block.conv1", True),
        ("block.conv1.bias", True),
        ("*.bias", True),
        ("b*k", True),
        ("conv1", False),
        ("bloc", False),
    ],
)
def test_kinds_layers_names_and_patterns_match_a_parameter(wanted: str, is_match: bool) -> None:
    assert matches("block.conv1.bias", frozenset({"biases"}), [wanted]) == is_match


def test_a_word_that_matches_nothing_is_named_with_the_choices() -> None:
    kinds = {"conv1.weight": frozenset({"weights"}), "conv1.bias": frozenset({"biases"})}
    require_match(["conv1", "biases"], kinds)
    with assert_raises(ConfigError, "", "convv1", "conv1", 1):
        require_match(["conv1", "convv1"], kinds)
    with assert_raises(ConfigError, "", "norms") as caught:
        require_match(["norms"], kinds)
    assert not caught.value.hint  # not: did you mean 'norms'
