from __future__ import annotations

from pathlib import Path

import pytest

from snnlab.config.catalogue import catalogue
from snnlab.config.compose import compose_experiment
from snnlab.config.layers import merge
from snnlab.config.merging import merge_overrides
from snnlab.config.overrides import mark_overrides, repetition_warnings, to_hydra_grammar
from snnlab.errors import ConfigError

from ..marks import mostly_long
from ..refusals import assert_lines_have, assert_raises

GROUPS = {"neuron", "model", "data", "scheduler"}


def test_a_value_is_forced_and_a_group_is_left_alone():
    assert mark_overrides(["seed=3", "data=nmnist", "model.layers.lif1.tau_mem=5"], GROUPS) == [
        "++seed=3",
        "data=nmnist",
        "++model.layers.lif1.tau_mem=5",
    ]


@pytest.mark.parametrize(
    "text",
    ["+model.layers.norm1={type: batch_norm}", "++a=1", "~model.layers.pool1", "hydra.verbose=true", "hydra/x=y"],
)
def test_prefixed_overrides_and_those_of_hydra_stay_as_they_are(text: str):
    assert mark_overrides([text], GROUPS) == [text]


@pytest.mark.parametrize(
    ("given", "unset"),
    [
        ("data.dt=5", "++data.num_bins=null"),
        ("data.num_bins=32", "++data.dt=null"),
    ],
)
def test_setting_one_of_two_rivals_unsets_the_other(given: str, unset: str):
    assert mark_overrides([given], GROUPS) == [f"++{given}", unset]


def test_the_same_word_elsewhere_has_no_rival():
    assert mark_overrides(["optimizer.alpha=0.9"], GROUPS) == ["++optimizer.alpha=0.9"]


def test_two_rivals_at_once_are_refused():
    with assert_raises(ConfigError, "data.dt", "data.num_bins"):
        mark_overrides(["data.num_bins=32", "data.dt=5"], GROUPS)


@pytest.mark.parametrize(
    "text", ["neuron.learn={tau_mem: channel}", "neuron.learn=[tau_mem]", "model.layers.loop1.feedback=[conv2]"]
)
def test_a_list_and_what_is_learned_replace_what_the_file_has_whole(text: str):
    assert mark_overrides([text], GROUPS) == [f"++{text.partition('=')[0]}=null", f"++{text}"]


@pytest.mark.parametrize(
    ("neuron", "decay"), [("lif", "tau_mem"), ("spikingjelly_plif", "tau_mem"), ("radlif", "beta")]
)
def test_learn_can_be_a_list_or_a_mapping(neuron: str, decay: str):
    for text, learn in (("[v_threshold]", ["v_threshold"]), (f"{{{decay}: channel}}", {decay: "channel"})):
        experiment, _ = compose_experiment([f"neuron={neuron}", f"neuron.learn={text}"], None)
        assert experiment.neuron is not None
        assert experiment.neuron["learn"] == learn


def test_null_sets_nothing_and_leaves_the_rival_alone():
    assert mark_overrides(["neuron.beta=null"], GROUPS) == ["++neuron.beta=null"]
    assert mark_overrides(["data.num_bins=null", "data.dt=5"], GROUPS)[-1] == "++data.num_bins=null"


@pytest.mark.parametrize(
    ("base", "changes", "surrogate"),
    [
        ({"width": 0.3, "height": 1.0}, {"alpha": 5}, {"alpha": 5}),
        ({"alpha": 5}, {"width": 0.5}, {"width": 0.5}),
        ({"width": 0.3, "height": 1.0}, {"width": 0.5}, {"width": 0.5, "height": 1.0}),
        ({"alpha": 5, "scale": 0.4}, {"tau": 0.2}, {"tau": 0.2, "scale": 0.4}),
        ({"width": 0.3}, {"alpha": 5, "width": None, "tau": None}, {"alpha": 5}),
        ({"width": 0.3}, {"alpha": 5, "width": 0.5}, {"alpha": 5, "width": 0.5}),  # for the surrogate to refuse
    ],
)
def test_the_surrogate_size_of_a_layer_replaces_the_neurons(base: dict, changes: dict, surrogate: dict):
    neuron = {"type": "cuba_lif", "alpha": 0.8, "surrogate": {"type": "exponential", **base}}
    expected = {"type": "cuba_lif", "alpha": 0.8, "surrogate": {"type": "exponential", **surrogate}}
    assert merge(neuron, {"surrogate": changes}, catalogue()) == expected


@pytest.mark.parametrize(
    ("overrides", "surrogate"),
    mostly_long(
        [
            (["neuron.surrogate.alpha=5"], {"type": "atan", "alpha": 5}),
            (["neuron.surrogate.width=0.5"], {"type": "atan", "width": 0.5, "height": 1.0}),
            (["neuron.surrogate.type=superspike"], {"type": "superspike", "width": 0.3, "height": 1.0}),
            (["neuron.surrogate.type=superspike", "neuron.surrogate.slope=25"], {"type": "superspike", "slope": 25}),
            (["neuron.surrogate={type: triangle}"], {"type": "triangle"}),
            (
                ["neuron.surrogate={type: exponential, alpha: 5, scale: 0.4}"],
                {"type": "exponential", "alpha": 5, "scale": 0.4},
            ),
            (["neuron.surrogate={type: atan, alpha: 5}", "neuron.surrogate.width=0.5"], {"type": "atan", "width": 0.5}),
            (["model.layers.lif1.surrogate.alpha=5"], {"type": "atan", "alpha": 5}),
            (["neuron.surrogate.alpha=5", "model.layers.lif1.surrogate.height=2"], {"type": "atan", "height": 2}),
            (["model.layers.lif1.surrogate={type: triangle, alpha: 0.3}"], {"type": "triangle", "alpha": 0.3}),
        ],
        4,
    ),
)
def test_the_surrogate_of_a_composed_layer_is_the_requested_one(overrides: list[str], surrogate: dict):
    experiment, _ = compose_experiment(["model=mlp_lif", "neuron=lif", *overrides], None)
    assert experiment.model["layers"]["lif1"]["surrogate"] == surrogate


def test_a_later_override_replaces_an_earlier_one_and_its_rival():
    given = ["data.num_bins=4", "+model.layers.a={type: relu}", "optimizer.lr=1", "data.dt=2", "optimizer.lr=3"]
    assert merge_overrides(given) == ["+model.layers.a={type: relu}", "data.dt=2", "optimizer.lr=3"]


def test_what_a_setting_replaces_is_decided_by_the_chosen_neuron(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_parts.py").write_text(
        "from snnlab.nn import NEURONS, Neuron\n\n"
        "@NEURONS.register('own')\nclass Own(Neuron):\n    tau_mem: float = 20.0\n    beta: float = 0.5\n"
    )
    both = ["neuron.beta=0.1", "neuron.tau_mem=20"]
    assert merge_overrides(both) == both[1:]
    assert merge_overrides(["model.layers.lif1.beta=0.1", "model.layers.lif1.tau_mem=2"]) == [
        "model.layers.lif1.tau_mem=2"
    ]
    own = ["plugins=[own_parts]", "neuron.type=own", *both]
    assert merge_overrides(own) == own


@pytest.mark.parametrize("path", ["a'b", "a,b", "2024", "true", "1e3", "a\\'b", "a\\"])
def test_a_quoted_text_is_a_text_and_stays_one(path: str):
    (text,) = to_hydra_grammar([f"output_dir={path}"], GROUPS)
    assert compose_experiment([text], None)[0].output_dir == path
    assert to_hydra_grammar([text], GROUPS) == [text]


def test_values_of_a_grid_stay_several():
    assert to_hydra_grammar(["data.root=a,b", "output_dir=x=1,y"], GROUPS, several=True) == [
        "data.root=a,b",
        "output_dir='x=1,y'",
    ]


def test_a_list_of_one_file_is_that_file():
    assert to_hydra_grammar(["model=[mlp_lif]"], GROUPS) == ["model=mlp_lif"]
    assert to_hydra_grammar(["logger=[csv,tensorboard]"], {"logger"}) == ["logger=[csv,tensorboard]"]


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("model=[mlp_lif,conv_lif]", ("model=[mlp_lif,conv_lif]", "model=mlp_lif")),
        ("model=[]", ("model=[]", "model=null")),
        ("hydra.job.chdir=true", ("hydra.job.chdir", "hydra.run.dir")),
        ("hydra/launcher=joblib", ("hydra/launcher", "launcher=joblib")),
        ("+model=mlp_lif", ("+model=mlp_lif", "model=mlp_lif")),
        ("model@there=mlp_lif", ("model@there=mlp_lif", "model=mlp_lif")),
    ],
)
def test_unused_features_of_hydra_are_refused(text: str, facts: tuple):
    with assert_raises(ConfigError, *facts):
        to_hydra_grammar([text], GROUPS)


def test_repeated_settings_are_reported_with_their_values():
    facts = repetition_warnings(["seed=1", "seed=2", "model=a", "neuron.tau_mem=1", "neuron.tau_mem=1"])
    assert_lines_have(facts, ("seed", "2 times", "1, 2"))


def test_a_text_that_the_terminal_could_not_decode_is_named_as_such() -> None:
    with assert_raises(ConfigError, "name", "encoding"):
        compose_experiment(["name=\udcc3\udcbc"], None)
