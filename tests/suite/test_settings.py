"""What a suite's YAML may say."""

from __future__ import annotations

from typing import Any

import pytest

from snnlab.errors import ConfigError
from snnlab.suite.settings import checked

GOOD: dict[str, Any] = {"arms": {"lif": ["neuron=lif"]}, "datasets": {"digits": ["data=saccade_digits"]}}


def test_an_arm_may_be_its_overrides_alone():
    suite = checked({**GOOD, "arms": {"a": ["neuron=lif"], "b": {"overrides": [], "role": "baseline"}}})
    assert suite.arms["a"].overrides == ["neuron=lif"]
    assert [arm.role for arm in suite.arms.values()] == ["arm", "baseline"]
    assert suite.seeds == (0, 1, 2)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"arms": {}}, "suite.arms: is empty"),
        ({"datasets": {}}, "suite.datasets: is empty"),
        ({"seeds": []}, "suite.seeds: is empty"),
        ({"seeds": [0, 0]}, "suite.seeds: expected different numbers"),
        ({"seeds": [1000]}, "1000 is the seed that arms are tuned with"),
        ({"seeds": ["a"]}, "suite.seeds: expected a list of whole numbers"),
        ({"arms": {"a/b": []}}, "suite.arms.a/b: a name is a folder's too"),
        ({"arms": {"a": "neuron=lif"}}, r"suite.arms.a: expected overrides, \[neuron=lif\]"),
        ({"arms": {"a": {"override": []}}}, "Did you mean 'overrides'"),
        ({"arms": {"a": {"model": "mlp_lif", "neuron": "alif"}}}, r"write a: \[model=mlp_lif, neuron=alif\]"),
        ({"arms": {"a": ["neuron"]}}, "suite.arms.a: expected overrides such as model=conv_lif, got 'neuron'"),
        ({"arms": {"a": ["seed=3"]}}, r"seed=3: seeds=\[0,1,2\] names a suite's seeds"),
        ({"arms": {"a": {"datasets": ["digit"]}}}, "there is no dataset 'digit'. Did you mean 'digits'"),
        ({"datasets": {"digits": None}}, r"suite.datasets.digits: expected the overrides that choose it"),
        ({"common": ["hydra.run.dir=x"]}, "hydra.run.dir=x: a suite has its own folders"),
        ({"common": ["control=counts_only"]}, r"controls=\[shuffled_labels\] names them"),
        ({"controls": ["shuffled_label"]}, "there is no control 'shuffled_label'. Did you mean 'shuffled_labels'"),
        ({"match": {"by": "size"}}, "suite.match.by: expected one of params, steps, synops, wall_time"),
        ({"match": {"within": -1}}, "suite.match.within: must be >= 0"),
        ({"workers": 0}, "suite.workers: must be >= 1"),
        ({"engine": "slurm"}, "suite.engine: expected one of here, joblib, submitit, ray"),
        ({"arms": {"a": ["seed=3"]}}, r"suite.arms.a: seed=3"),
        ({"tune": {"trials": 2}}, "suite.tune.space: is empty"),
        ({"tune": {"trials": 0, "space": {"a": [1]}}}, "suite.tune.trials: must be >= 1"),
        ({"energy": {"mac": 3}}, "suite.energy: unknown setting 'mac'"),
        ({"energy": {"mac_pj": 0}}, "suite.energy.mac_pj: must be > 0"),
        ({"tune": {"space": {"a": [1]}, "workers": 2}}, "suite.tune.workers: is the suite's"),
        ({"published": [{"name": "N", "accuracy": "99"}]}, "suite.published: N: accuracy must be a number, got '99'"),
        ({"published": [{"name": "N", "accuracy": 0.99}]}, "suite.published: N: accuracy is in percent"),
        ({"arm": {}}, "Did you mean 'arms'"),
    ],
)
def test_a_mistake_is_named_with_its_place(values: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words):
        checked({**GOOD, **values})


def test_all_arms_are_tuned_with_the_same_budget_each_in_a_space_of_its_own():
    own = {"space": {"optimizer.lr": [0.1, 0.2]}}
    tune = {"trials": 3, "space": {"neuron.tau_mem": [5, 10]}}
    arms: dict[str, Any] = {"a": [], "b": {"tune": own}, "c": {"tune": False}}
    suite = checked({**GOOD, "arms": arms, "tune": tune})
    assert suite.tuning("a") == tune
    assert suite.tuning("b") == {**tune, **own}
    assert suite.tuning("c") is None
    with pytest.raises(ConfigError, match=r"suite.arms.a.tune: trials is the same for all arms"):
        checked({**GOOD, "arms": {"a": {"tune": {"trials": 9}}}, "tune": tune})
