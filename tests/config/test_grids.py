from __future__ import annotations

import pytest

from snnlab.config.grids import read_axes
from snnlab.errors import ConfigError

from ..refusals import assert_raises


def test_the_last_setting_changes_fastest_and_lists_stay_one_value():
    axes = read_axes(["data.dims=[1,2]", "neuron=lif,cuba_lif", "model=mlp_lif", "seed=range(2)"])
    assert axes.fixed == ["data.dims=[1,2]", "model=mlp_lif"]
    assert axes.points() == [
        ("neuron=lif", "seed=0"),
        ("neuron=lif", "seed=1"),
        ("neuron=cuba_lif", "seed=0"),
        ("neuron=cuba_lif", "seed=1"),
    ]


def test_values_of_a_run_are_those_of_the_grid_whatever_their_mark():
    axes = read_axes(["neuron.tau_mem=5,10"])
    assert axes.values(["++neuron.tau_mem=10", "++seed=3"]) == {"neuron.tau_mem": "10"}


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("seed=", ("seed", 2)),
        ("seed=1,", ("seed=1,", "override")),
        ("seed=1,2,1", ("seed=1,2,1", "twice")),
        ("neuron=glob(*)", ("neuron=glob(*)", "neuron=a")),
    ],
)
def test_a_mistake_is_named(text: str, facts: tuple):
    with assert_raises(ConfigError, *facts):
        read_axes([text])
