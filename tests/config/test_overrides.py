from __future__ import annotations

import pytest

from snnlab.config.overrides import mark_overrides
from snnlab.errors import ConfigError

GROUPS = {"neuron", "model", "data", "scheduler"}


def test_a_value_is_forced_and_a_group_is_left_alone():
    assert mark_overrides(["seed=3", "data=nmnist", "model.layers.lif1.tau_mem=5"], GROUPS) == [
        "++seed=3",
        "data=nmnist",
        "++model.layers.lif1.tau_mem=5",
        "++model.layers.lif1.beta=null",
    ]


@pytest.mark.parametrize(
    "text",
    ["+model.layers.norm1={type: batch_norm}", "++a=1", "~model.layers.pool1", "hydra.verbose=true", "hydra/x=y"],
)
def test_prefixed_overrides_and_those_of_hydra_stay_as_they_are(text: str):
    assert mark_overrides([text], GROUPS) == [text]


def test_a_group_set_to_null_is_dropped():
    assert mark_overrides(["scheduler=null"], GROUPS) == ["~scheduler"]


@pytest.mark.parametrize(
    ("given", "unset"),
    [
        ("data.dt=5", "++data.num_bins=null"),
        ("data.num_bins=32", "++data.dt=null"),
        ("neuron.beta=0.9", "++neuron.tau_mem=null"),
        ("neuron.alpha=0.9", "++neuron.tau_syn=null"),
    ],
)
def test_setting_one_of_two_rivals_unsets_the_other(given: str, unset: str):
    assert mark_overrides([given], GROUPS) == [f"++{given}", unset]


def test_the_same_word_elsewhere_has_no_rival():
    assert mark_overrides(["optimizer.alpha=0.9"], GROUPS) == ["++optimizer.alpha=0.9"]


def test_two_rivals_at_once_are_refused():
    with pytest.raises(ConfigError, match=r"data\.dt: give either this or data\.num_bins"):
        mark_overrides(["data.num_bins=32", "data.dt=5"], GROUPS)
