from __future__ import annotations

from typing import Any

import pytest

from snnlab.errors import ConfigError, UnknownSettingError
from snnlab.experiments.sweep_settings import change_settings, parse_settings

from ..refusals import assert_raises

SPACE = {"a": {"low": 1, "high": 3}}


@pytest.mark.parametrize(
    ("values", "facts"),
    [
        ({}, ("sweep", "space")),
        ({"trails": 3}, ("sweep.trails", "trials")),
        ({"trials": "many"}, ("sweep.trials", "many")),
        ({"trials": 0}, ("sweep.trials", 1, 0)),
        ({"trials": None}, ("sweep", "trials")),
        ({"sampler": "tbe"}, ("sweep.sampler", "random")),
        ({"objectives": {}}, ("sweep.objectives", "least")),
        ({"objectives": {"test/accuracy": "maximize"}}, ("sweep.objectives.test/accuracy", "val/accuracy")),
        ({"objectives": {"last/test/loss": "minimize"}}, ("sweep.objectives.last/test/loss", "last/val/loss")),
        ({"objectives": {"val/loss": "min"}}, ("sweep.objectives.val/loss", "minimize")),
        ({"objectives": {"a": "minimize", "b": "minimize"}, "prune": {}}, ("sweep.prune", "objective")),
        ({"prune": {"by": "luck"}}, ("sweep.prune.by", "halving")),
        ({"objectives": {"a": "minimize", "b": "minimize"}, "sampler": "cmaes"}, ("sweep.sampler", "cmaes")),
        ({"sampler": "grid", "space": {"a": {"low": 0.5, "high": 1.0}}}, ("sweep.space.a", "grid")),
        ({"space": [1]}, ("sweep.space", "optimizer.lr", [1])),
        ({"objectives": "val/loss"}, ("sweep.objectives", "val/loss")),
        ({"objectives": {"val/loss": "minimise"}}, ("sweep.objectives.val/loss", "minimise", "minimize")),
    ],
)
def test_a_mistake_is_named_with_its_place(values: dict[str, Any], facts: tuple):
    with assert_raises((ConfigError, UnknownSettingError), *facts):
        parse_settings({**({"space": SPACE} if values else {}), **values})


def test_what_a_search_is_cannot_change_on_its_way_but_how_long_and_where_it_runs():
    before = vars(parse_settings({"space": SPACE})[0])
    assert change_settings(before, {"trials": 40, "workers": 1, "engine": "here"})["trials"] == 40
    with assert_raises(ConfigError, "sweep.sampler", "search"):
        change_settings(before, {"sampler": "random"})
