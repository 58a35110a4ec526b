from __future__ import annotations

from typing import Any

import pytest

from snnlab.errors import ConfigError
from snnlab.search.settings import changed, checked

SPACE = {"a": {"low": 1, "high": 3}}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, r"sweep: a sweep needs space"),
        ({"trails": 3}, r"sweep: unknown setting 'trails'; .*Did you mean 'trials'\?"),
        ({"trials": "many"}, r"sweep.trials: expected a whole number or null, got 'many'"),
        ({"trials": 0}, r"sweep.trials: must be >= 1, got 0"),
        ({"trials": None}, r"sweep: set trials or hours"),
        ({"sampler": "tbe"}, r"sweep.sampler: expected one of tpe, random"),
        ({"objectives": {}}, r"sweep.objectives: name at least one"),
        ({"objectives": {"test/accuracy": "maximize"}}, r"test recordings choose nothing.*; use val/accuracy"),
        ({"objectives": {"last/test/loss": "minimize"}}, r"test recordings choose nothing.*; use last/val/loss"),
        ({"objectives": {"val/loss": "min"}}, r"sweep.objectives.val/loss: expected one of minimize, maximize"),
        ({"objectives": {"a": "minimize", "b": "minimize"}, "prune": {}}, r"sweep.prune: takes one objective"),
        ({"prune": {"by": "luck"}}, r"sweep.prune.by: expected one of median, halving"),
        ({"objectives": {"a": "minimize", "b": "minimize"}, "sampler": "cmaes"}, r"cmaes takes one objective"),
        ({"sampler": "grid", "space": {"a": {"low": 0.5, "high": 1.0}}}, r"sweep.space.a: a grid needs"),
        ({"space": [1]}, r"sweep.space: expected a mapping such as \{optimizer.lr: .*, got \[1\]"),
        ({"objectives": "val/loss"}, r"sweep.objectives: expected a mapping such as \{val/loss: minimize\}"),
        ({"objectives": {"val/loss": "minimise"}}, r"got 'minimise'. Did you mean 'minimize'\?"),
    ],
)
def test_a_mistake_is_named_with_its_place(values: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words):
        checked({**({"space": SPACE} if values else {}), **values})


def test_what_a_search_is_cannot_change_on_its_way_but_how_long_and_where_it_runs():
    before = checked({"space": SPACE})[0].as_record()
    assert changed(before, {"trials": 40, "workers": 1, "engine": "here"})["trials"] == 40
    with pytest.raises(ConfigError, match=r"sweep.sampler: a search goes on as it began; only trials, hours"):
        changed(before, {"sampler": "random"})
