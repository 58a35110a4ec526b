"""Settings of a suite's YAML."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from snnlab.config.schema import Control
from snnlab.errors import ConfigError, UnknownSettingError
from snnlab.experiments.suite_settings import CONTROLS, parse_settings

from ..refusals import assert_raises

GOOD: dict[str, Any] = {"methods": {"lif": ["neuron=lif"]}, "datasets": {"digits": ["data=saccade_digits"]}}


def test_a_method_may_be_only_its_overrides():
    suite = parse_settings({**GOOD, "methods": {"a": ["neuron=lif"], "b": {"overrides": [], "role": "baseline"}}})
    assert suite.methods["a"].overrides == ["neuron=lif"]
    assert [method.role for method in suite.methods.values()] == ["method", "baseline"]
    assert suite.seeds == (0, 1, 2)


@pytest.mark.parametrize(
    ("values", "facts"),
    [
        ({"methods": {}}, ("suite.methods", "empty")),
        ({"datasets": {}}, ("suite.datasets", "empty")),
        ({"seeds": []}, ("suite.seeds", "empty")),
        ({"seeds": [0, 0]}, ("suite.seeds", "different")),
        ({"seeds": [1000]}, ("suite.seeds", 1000)),
        ({"seeds": ["a"]}, ("suite.seeds", "expected")),
        ({"methods": {"a/b": []}}, ("suite.methods.a/b", "folder")),
        ({"methods": {"a": "neuron=lif"}}, ("suite.methods.a", "[neuron=lif]")),
        ({"methods": {"a": {"override": []}}}, ("suite.methods.a.override", "overrides")),
        (
            {"methods": {"a": {"model": "mlp_lif", "neuron": "alif"}}},
            ("suite.methods.a", "[model=mlp_lif, neuron=alif]"),
        ),
        ({"methods": {"a": ["neuron"]}}, ("suite.methods.a", "model=conv_lif", "neuron")),
        ({"methods": {"a": ["seed=3"]}}, ("suite.methods.a: seed=3", "1,2")),
        ({"methods": {"a": {"datasets": ["digit"]}}}, ("suite.methods.a.datasets", "digit", "digits")),
        ({"datasets": {"digits": None}}, ("suite.datasets.digits", "overrides")),
        ({"common": ["hydra.run.dir=x"]}, ("suite.common: hydra.run.dir=x", "folders")),
        ({"common": ["control=counts_only"]}, ("suite.common: control=counts_only", "controls=[shuffled_labels]")),
        ({"controls": ["shuffled_label"]}, ("suite.controls", "shuffled_label", "shuffled_labels")),
        ({"match": {"by": "size"}}, ("suite.match.by", "wall_time")),
        ({"match": {"within": -1}}, ("suite.match.within", 0)),
        ({"workers": 0}, ("suite.workers", 1)),
        ({"engine": "slurm"}, ("suite.engine", "submitit")),
        ({"methods": {"a": ["seed=3"]}}, ("suite.methods.a: seed=3",)),
        ({"tune": {"trials": 2}}, ("suite.tune.space", "empty")),
        ({"tune": {"trials": 0, "space": {"a": [1]}}}, ("suite.tune.trials", 1)),
        ({"energy": {"mac": 3}}, ("suite.energy", "mac")),
        ({"energy": {"mac_pj": 0}}, ("suite.energy.mac_pj", "> 0")),
        ({"tune": {"space": {"a": [1]}, "workers": 2}}, ("suite.tune.workers",)),
        ({"published": [{"name": "N", "accuracy": "99"}]}, ("suite.published: N", "accuracy", 99)),
        ({"published": [{"name": "N", "accuracy": 0.99}]}, ("suite.published: N", "accuracy")),
        ({"published": [{"name": "N", "method": "a"}]}, ("suite.published: N", "method", "methods")),
        ({"published": [{"name": "N", "methods": ["a"], "each": [1.0, 2.0]}]}, ("suite.published: N", "margin")),
        ({"published": [{"name": "N", "methods": ["a"], "each": ["x"], "margin": 1}]}, ("suite.published: N", "each")),
        ({"published": [{"name": "N", "methods": ["z"], "each": [1, 2], "margin": 1}]}, ("suite.published", "z")),
        ({"method": {}}, ("suite.method", "methods")),
    ],
)
def test_a_mistake_is_named_with_its_place(values: dict[str, Any], facts: tuple):
    with assert_raises((ConfigError, UnknownSettingError), *facts):
        parse_settings({**GOOD, **values})


def test_all_methods_are_tuned_with_the_same_budget_each_in_its_own_space():
    own = {"space": {"optimizer.lr": [0.1, 0.2]}}
    tune = {"trials": 3, "space": {"neuron.tau_mem": [5, 10]}}
    methods: dict[str, Any] = {"a": [], "b": {"tune": own}, "c": {"tune": False}}
    suite = parse_settings({**GOOD, "methods": methods, "tune": tune})
    assert suite.tuning_settings("a") == tune
    assert suite.tuning_settings("b") == {**tune, **own}
    assert suite.tuning_settings("c") is None
    with assert_raises(ConfigError, "suite.methods.a.tune", "trials"):
        parse_settings({**GOOD, "methods": {"a": {"tune": {"trials": 9}}}, "tune": tune})


def test_the_controls_are_those_of_a_training() -> None:
    assert set(CONTROLS) == set(get_args(Control))
