"""Fixes: the order of the tried settings and their keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from snnlab.analysis.findings import findings
from snnlab.analysis.fixes import ExperimentSettings, MeasuredNetwork, candidate_fixes, find_fixes

from .test_findings import layer, silent, statistics

NEURON = {"type": "lif", "tau_mem": 20.0, "v_threshold": 1.0, "surrogate": {"type": "atan", "width": 0.3}}


def settings(layers: Mapping[str, Any] | None = None, **changes: Any) -> ExperimentSettings:
    own = {"lif1": NEURON, "lif2": NEURON} if layers is None else layers
    return ExperimentSettings(own, NEURON, None, {"type": "toy"}, {"lr": 0.01}, False)._replace(**changes)


def tried(found: Any, own: ExperimentSettings) -> list[str]:
    return list(candidate_fixes(findings(found)[0], found, own))


def test_a_configured_initialization_is_changed_first_and_a_new_one_is_tried_last():
    found = statistics(silent("lif1", 0.02))
    assert tried(found, settings(init={"type": "variance_preserving", "std": 0.001}))[0] == "model.init.std=0.5"
    assert tried(found, settings(init={"type": "fluctuation_driven", "xi": 99}))[0] == "model.init.xi=2.0"
    default = tried(found, settings())
    assert default[0] == "model.layers.lif1.v_threshold=0.01"
    assert default[-1] == "model.init={type: fluctuation_driven, xi: 0.5}"
    assert not any("init" in override for override in tried(found, settings(trained=True)))
    assert tried(found._replace(dt=None), settings())[-1].endswith("per_step: 0.1}")


def test_the_new_learning_rate_changes_a_tenth_of_the_weights_in_a_step():
    assert tried(statistics(layer("lif1", relative_update=50.0)), settings())[0] == "optimizer.lr=2e-05"
    assert tried(statistics(layer("lif1", relative_update=1e-8)), settings())[0] == "optimizer.lr=100000.0"
    assert not tried(statistics(layer("lif1", relative_update=50.0)), settings(optimizer={}))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("block.lif", "model.layers.block.layers.lif"),
        ("block.shortcut.lif", "model.layers.block.shortcut.lif"),
        ("many.copy2.lif", "model.layers.many.layers.lif"),
        ("both.a.lif", "model.layers.both.branches.a.lif"),
    ],
)
def test_a_layer_within_a_block_is_found_in_the_yaml(name: str, key: str):
    inner = {"lif": {**NEURON, "v_threshold": 9.0}}
    layers = {
        "block": {"type": "residual", "layers": inner, "shortcut": inner},
        "many": {"type": "repeat", "times": 2, "layers": inner},
        "both": {"type": "parallel", "branches": {"a": inner}},
    }
    assert settings(layers).layer_key(name, "v_threshold") == f"{key}.v_threshold"
    assert settings(layers).key(name, "v_threshold") == f"{key}.v_threshold"


def test_a_finding_without_a_fix_is_kept_and_not_tried_again():
    measured = MeasuredNetwork(statistics(silent("lif1", 0.02)), settings())
    fixes = find_fixes(measured, lambda overrides: measured)
    (fix,) = fixes.tried_fixes
    assert (fix.finding.kind, fix.finding.layer, fix.override) == ("silent", "lif1", None)


def test_a_fix_that_breaks_an_earlier_layer_is_rejected():
    def measure_again(overrides: Sequence[str]) -> MeasuredNetwork:
        loud = "init" in " ".join(overrides)
        first = layer("lif1") if not loud else layer("lif1", saturated=0.9)
        second = layer("lif2") if loud else silent("lif2", 0.02)
        return MeasuredNetwork(statistics(first, second), settings())

    assert find_fixes(measure_again([]), measure_again).overrides == []
