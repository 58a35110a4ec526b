from __future__ import annotations

from typing import Any

import optuna
import pytest

from snnlab.errors import ConfigError, UnknownSettingError
from snnlab.experiments.space import Space, decoded, encoded, overrides

from ..refusals import assert_raises

NODE = {
    "optimizer.lr": {"low": 1e-4, "high": 1e-2, "log": True},
    "model.layers.fc1.out_features": {"low": 32, "high": 96, "step": 32},
    "neuron": ["lif", "cuba_lif"],
    "neuron.tau_syn": {"low": 2.0, "high": 20.0, "when": {"neuron": "cuba_lif"}},
}


def suggestions(node: dict[str, Any], number: int = 30) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [Space.parse(node).suggest(study.ask()) for _ in range(number)]


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_numbers_stay_in_their_range_and_are_whole_where_both_ends_are():
    for values in suggestions(NODE):
        assert 1e-4 <= values["optimizer.lr"] <= 1e-2
        assert values["model.layers.fc1.out_features"] in (32, 64, 96)
        assert isinstance(values["model.layers.fc1.out_features"], int)


def test_a_setting_is_asked_for_only_where_its_condition_holds():
    drawn = suggestions(NODE)
    assert {values["neuron"] for values in drawn} == {"lif", "cuba_lif"}
    assert all(("neuron.tau_syn" in values) == (values["neuron"] == "cuba_lif") for values in drawn)


def test_a_grid_is_every_combination_once_without_what_its_conditions_leave_out():
    node = {
        "neuron": ["lif", "cuba_lif"],
        "neuron.tau_syn": {"choices": [2, 5], "when": {"neuron": "cuba_lif"}},
        "seed_like": {"low": 1, "high": 3},
    }
    grid = Space.parse(node).grid()
    assert len(grid) == 3 * (1 + 2)
    assert len({str(values) for values in grid}) == len(grid)


def test_steps_of_a_grid_reach_both_ends():
    grid = Space.parse({"a": {"low": 0.1, "high": 0.3, "step": 0.1}}).grid()
    assert [values["a"] for values in grid] == pytest.approx([0.1, 0.2, 0.3])


def test_probes_show_both_ends_and_every_choice_under_its_condition():
    probes = list(Space.parse(NODE).probes())
    assert {values["optimizer.lr"] for values in probes} == {1e-4, 1e-2}
    assert {values["neuron"] for values in probes} == {"lif", "cuba_lif"}
    assert {values.get("neuron.tau_syn") for values in probes} == {None, 2.0, 20.0}


def test_ends_are_probed_as_they_would_be_proposed():
    (first, _) = Space.parse({"a": {"low": 8, "high": 16, "step": 0.5}}).probes()
    assert isinstance(first["a"], float)


def test_lists_and_mappings_can_be_chosen():
    value = {"type": "affine", "shift": [1, 2]}
    assert decoded(encoded(value)) == value
    (drawn,) = suggestions({"data.augment": [[value]]}, 1)
    assert drawn == {"data.augment": [value]}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "a=0.1"),
        (1e-05, "a=1e-05"),
        (True, "a=true"),
        (None, "a=null"),
        ("conv_lif", "a=conv_lif"),
        ("null", "a='null'"),
        ("it's 2 steps", r"a='it\'s 2 steps'"),
        ([{"type": "affine", "p": 0.5}], "a=[{type: affine, p: 0.5}]"),
    ],
)
def test_values_are_written_as_overrides_that_mean_the_same(value: Any, text: str):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    assert overrides({"a": value}) == [text]
    assert OverridesParser.create().parse_override(text).value() == value


@pytest.mark.parametrize(
    ("node", "facts"),
    [
        ({}, ("sweep.space", "empty")),
        (
            {"a": {"b": {"low": 1, "high": 2}}},
            ("sweep.space.a", "sweep.space.a.b"),
        ),
        ({"a": {"min": 1, "max": 2}}, ("sweep.space.a", "range")),
        ({"a": 3}, ("sweep.space.a", "[...]", 3)),
        ({"a": {"low": 1}}, ("sweep.space.a", "range")),
        ({"a": {"low": 1, "hihg": 2}}, ("sweep.space.a.hihg", "high")),
        ({"a": {"low": "x", "high": 2}}, ("sweep.space.a.low", "x")),
        ({"a": {"low": 2, "high": 2}}, ("sweep.space.a", "low")),
        ({"a": {"low": 0.0, "high": 2, "log": True}}, ("sweep.space.a", 0)),
        ({"a": {"low": 1, "high": 2, "step": 0}}, ("sweep.space.a.step", 0)),
        ({"a": []}, ("sweep.space.a.choices", "empty")),
        ({"a": {"choices": [1], "when": {"b": 1}}, "b": [1]}, ("sweep.space.a.when", "b")),
    ],
)
def test_a_mistake_is_named_with_its_place(node: dict[str, Any], facts: tuple):
    with assert_raises((ConfigError, UnknownSettingError), *facts):
        Space.parse(node)


def test_a_grid_of_infinitely_many_points_is_refused():
    with assert_raises(ConfigError, "sweep.space.a", "choices"):
        Space.parse({"a": {"low": 0.0, "high": 1.0}}).grid()
