from __future__ import annotations

import pytest

from snnlab.config.catalogue import catalogue
from snnlab.config.compose import compose_experiment
from snnlab.config.layers import expand_layers, merge
from snnlab.config.schema import Experiment
from snnlab.errors import ConfigError, UnknownSettingError
from snnlab.session import Session

from ..refusals import assert_raises

LIF = {"type": "lif", "tau_mem": 20.0, "surrogate": {"type": "atan", "width": 0.3}}


def test_layers_keep_the_order_of_the_file():
    assert list(expand_layers({"b": {"type": "relu"}, "a": {"type": "relu"}}, None, catalogue())) == ["b", "a"]


def test_after_places_a_layer_and_two_after_the_same_keep_their_order():
    layers = {
        "conv": {"type": "conv2d"},
        "out": {"type": "linear"},
        "first": {"type": "relu", "after": "conv"},
        "second": {"type": "tanh", "after": "conv"},
        "third": {"type": "gelu", "after": "second"},
    }
    expanded = expand_layers(layers, None, catalogue())
    assert list(expanded) == ["conv", "first", "second", "third", "out"]
    assert all("after" not in node for node in expanded.values())


def test_after_may_name_a_layer_that_is_placed_later_in_the_file():
    layers = {
        "a": {"type": "relu"},
        "x": {"type": "relu", "after": "y"},
        "y": {"type": "relu", "after": "a"},
        "b": {"type": "relu"},
    }
    assert list(expand_layers(layers, None, catalogue())) == ["a", "y", "x", "b"]


@pytest.mark.parametrize(
    ("layers", "facts"),
    [
        ({"a": {"type": "relu", "after": "bb"}, "b": {"type": "relu"}}, ("model.layers.a.after", "bb", "b")),
        ({"a": {"type": "relu", "after": "b"}, "b": {"type": "relu", "after": "a"}}, ("model.layers", "cycle")),
        ({"a": {"type": "relu", "after": "a"}}, ("model.layers", "cycle")),
        ({"lif1": {"type": "neuron"}, "lfi1": {"tau_mem": 5}}, ("model.layers.lfi1", "lif1")),
        ({"a": 3}, ("model.layers.a", "mapping")),
    ],
)
def test_a_mistake_names_the_layer(layers: dict, facts: tuple):
    with assert_raises(ConfigError, *facts):
        expand_layers(layers, LIF, catalogue())


def test_neuron_stands_for_the_experiments_neuron_with_the_layers_differences():
    (node,) = expand_layers(
        {"lif1": {"type": "neuron", "tau_mem": 5, "surrogate": {"width": 0.5}}}, LIF, catalogue()
    ).values()
    assert node == {"type": "lif", "tau_mem": 5, "surrogate": {"type": "atan", "width": 0.5}}


def test_a_layer_that_names_its_own_kind_takes_nothing_from_the_neuron():
    assert expand_layers({"lif1": {"type": "lif"}}, LIF, catalogue()) == {"lif1": {"type": "lif"}}


def test_without_a_neuron_the_layer_that_needs_it_is_named():
    with assert_raises(ConfigError, "model.layers.lif1", "experiment"):
        expand_layers({"lif1": {"type": "neuron"}}, None, catalogue())


def test_a_rival_replaces_the_neurons_setting():
    (node,) = expand_layers(
        {"lif1": {"type": "neuron", "beta": 0.9}}, {"type": "lif", "tau_mem": 20.0}, catalogue()
    ).values()
    assert node == {"type": "lif", "beta": 0.9}


def test_a_null_of_an_override_is_removed_for_the_rival():
    (node,) = expand_layers(
        {"lif1": {"type": "neuron"}}, {"type": "lif", "tau_mem": None, "beta": 0.9}, catalogue()
    ).values()
    assert node == {"type": "lif", "beta": 0.9}


def test_a_mapping_of_another_type_is_replaced_whole():
    assert merge(LIF, {"surrogate": {"type": "triangle"}}, catalogue())["surrogate"] == {"type": "triangle"}


def test_within_blocks_the_neuron_is_merged_and_after_resolved_at_any_depth():
    own, lif = {"type": "neuron", "tau_mem": 5}, {"type": "neuron"}
    layers = {
        "block": {
            "type": "residual",
            "layers": {
                "lif": lif,
                "deep": {"type": "repeat", "times": 2, "layers": {"a": own, "b": {"type": "relu"}}},
                "norm": {"type": "batch_norm", "after": "lif"},
            },
            "shortcut": {"lif": own},
        },
        "ways": {"type": "parallel", "branches": {"a": {"lif": own}, "b": {"lif": lif}}},
        "loop": {"type": "loop", "layers": {"lif": lif}, "feedback": {"from": "lif", "layers": {"back": own}}},
        "loops": {"type": "loop", "layers": {"lif": lif}, "feedback": [{"to": "lif"}, {"layers": {"back": own}}]},
    }
    expanded = expand_layers(layers, LIF, catalogue())
    assert list(expanded["block"]["layers"]) == ["lif", "norm", "deep"]
    assert expanded["block"]["layers"]["lif"] == LIF
    changed = [
        expanded["block"]["layers"]["deep"]["layers"]["a"],
        expanded["block"]["shortcut"]["lif"],
        expanded["ways"]["branches"]["a"]["lif"],
        expanded["loop"]["feedback"]["layers"]["back"],
        expanded["loops"]["feedback"][1]["layers"]["back"],
    ]
    assert changed == [{**LIF, "tau_mem": 5}] * 5
    assert expanded["ways"]["branches"]["b"] == {"lif": LIF}
    assert expanded["loop"]["feedback"]["from"] == "lif"
    assert layers["block"]["layers"]["norm"]["after"] == "lif"  # the argument is not changed


@pytest.mark.parametrize(
    ("node", "place"),
    [
        ({"layers": {"b": 3}}, "a.layers.b"),
        ({"layers": {"b": {"layers": {"c": {}}}}}, "a.layers.b"),
        ({"layers": {"b": {"type": "repeat", "layers": {"c": {"tau_mem": 5}}}}}, "a.layers.b.layers.c"),
        ({"shortcut": {"b": {"type": "relu", "after": "c"}}}, "a.shortcut.b.after"),
        ({"branches": {"b": {"c": {"tau_mem": 5}}}}, "a.branches.b.c"),
        ({"feedback": {"layers": {"b": {"tau_mem": 5}}}}, "a.feedback.layers.b"),
        ({"feedback": [{}, {"layers": {"b": {"tau_mem": 5}}}]}, "a.feedback.1.layers.b"),
    ],
)
def test_a_mistake_within_a_block_names_its_place(node: dict, place: str):
    with assert_raises(ConfigError, f"model.layers.{place}"):
        expand_layers({"a": {"type": "x", **node}}, LIF, catalogue())


def test_an_invalid_mapping_of_layers_is_left_to_the_layers_checks():
    node = {"type": "mine", "layers": 3, "shortcut": "conv", "branches": [1, 2], "feedback": None}
    assert expand_layers({"a": node}, LIF, catalogue()) == {"a": node}


def test_a_layer_within_a_block_is_set_on_the_command_line_and_typos_in_it_are_named():
    def composed(*overrides: str):
        return compose_experiment(["model=sew_resnet", *overrides], None)[0]

    def network(experiment: Experiment):
        return Session(experiment).built.network

    place = "model.layers.block1.layers.lif1"
    built = network(composed(f"{place}.tau_mem=5", "neuron.tau_mem=7"))
    assert [built.get_submodule(f"block1.{name}").tau_mem for name in ("lif1", "lif2")] == [5, 7]
    with assert_raises(UnknownSettingError, f"{place}.tau_men", "tau_mem"):
        network(composed(f"{place}.tau_men=5"))
    with assert_raises(ConfigError, "model.layers.block1.layers.lif9"):
        composed("model.layers.block1.layers.lif9.tau_mem=5")
