"""Which settings are tried, in which order, and under which key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from snnlab.analysis.findings import findings
from snnlab.analysis.fixes import Case, Exam, candidates, treat

from .test_findings import layer, silent, vitals

NEURON = {"type": "lif", "tau_mem": 20.0, "v_threshold": 1.0, "surrogate": {"type": "atan", "width": 0.3}}


def case(layers: Mapping[str, Any] | None = None, **changes: Any) -> Case:
    own = {"lif1": NEURON, "lif2": NEURON} if layers is None else layers
    return Case(own, NEURON, None, {"type": "toy"}, {"lr": 0.01}, False)._replace(**changes)


def tried(found: Any, own: Case) -> list[str]:
    return list(candidates(findings(found)[0], found, own))


def test_a_high_threshold_that_all_layers_have_from_the_neuron_is_lowered_there():
    high = {**NEURON, "v_threshold": 50.0}
    found = vitals(layer("lif1", per_step=0.0, reach=0.03, v_threshold=50.0))
    assert tried(found, case({"lif1": high, "lif2": high}, neuron=high))[0] == "neuron.v_threshold=1.0"
    assert tried(found, case({"lif1": high, "lif2": NEURON}))[0] == "model.layers.lif1.v_threshold=1.0"
    assert tried(found, case({"lif1": high}, neuron=None))[0] == "model.layers.lif1.v_threshold=1.0"


def test_an_initialisation_that_is_given_is_blamed_first_and_one_is_proposed_last():
    found = vitals(silent("lif1", 0.02))
    assert tried(found, case(init={"type": "variance_preserving", "std": 0.001}))[0] == "model.init.std=0.5"
    assert tried(found, case(init={"type": "fluctuation_driven", "xi": 99}))[0] == "model.init.xi=2.0"
    ordinary = tried(found, case())
    assert ordinary[0] == "model.layers.lif1.v_threshold=0.01"
    assert ordinary[-1] == "model.init={type: fluctuation_driven, xi: 0.5}"
    assert not any("init" in override for override in tried(found, case(trained=True)))
    assert tried(found._replace(dt=None), case())[-1].endswith("per_step: 0.1}")


def test_a_time_constant_below_a_step_becomes_some_steps_or_the_steps_shorter():
    found = vitals(layer("lif1", tau=0.1))
    assert tried(found, case()) == [
        "neuron.tau_mem=20.0",
        "neuron.tau_mem=50.0",
        "neuron.tau_mem=100.0",
        "data.num_bins=100",
    ]


def test_a_narrow_surrogate_is_widened_and_a_saturated_layer_made_harder_to_drive():
    assert tried(vitals(layer("lif1", passes=1e-6)), case())[0] == "neuron.surrogate.width=0.3"
    low = {**NEURON, "v_threshold": 0.01}
    found = vitals(layer("lif1", saturated=0.5, v_threshold=0.01))
    assert tried(found, case({"lif1": low}, neuron=low))[0] == "neuron.v_threshold=1.0"
    assert tried(vitals(layer("lif1", saturated=0.5)), case())[0] == "model.layers.lif1.v_threshold=3.0"


def test_a_channel_without_events_is_merged_with_the_other():
    found = vitals(layer("lif1"), events=(0.0, 1.0))
    assert tried(found, case()) == ["data.frames={type: counts, merge: true}"]
    assert tried(found, case(data={"frames": "binary"})) == ["data.frames={type: binary, merge: true}"]
    assert tried(found, case(data={"frames": {"type": "counts"}})) == ["data.frames.merge=true"]


def test_the_learning_rate_goes_where_a_step_changes_a_tenth_of_the_weights():
    assert tried(vitals(layer("lif1", update=50.0)), case())[0] == "optimizer.lr=2e-05"
    assert tried(vitals(layer("lif1", update=1e-8)), case())[0] == "optimizer.lr=100000.0"
    assert not tried(vitals(layer("lif1", update=50.0)), case(optimizer={}))


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("block.lif", "model.layers.block.layers.lif"),
        ("block.shortcut.lif", "model.layers.block.shortcut.lif"),
        ("many.copy2.lif", "model.layers.many.layers.lif"),
        ("both.a.lif", "model.layers.both.branches.a.lif"),
    ],
)
def test_a_layer_within_a_block_is_found_in_the_yaml(name: str, place: str):
    inner = {"lif": {**NEURON, "v_threshold": 9.0}}
    layers = {
        "block": {"type": "residual", "layers": inner, "shortcut": inner},
        "many": {"type": "repeat", "times": 2, "layers": inner},
        "both": {"type": "parallel", "branches": {"a": inner}},
    }
    assert case(layers).own_place(name, "v_threshold") == f"{place}.v_threshold"
    assert case(layers).place(name, "v_threshold") == f"{place}.v_threshold"


def test_the_first_silent_layer_is_cured_and_then_the_next_and_all_overrides_go_together():
    def examine(overrides: Sequence[str]) -> Exam | None:
        text = " ".join(overrides)
        if "lif1.v_threshold=0.01" in text:
            return None  # the configuration refuses it
        first = layer("lif1") if "lif1" in text else silent("lif1", 0.02)
        second = layer("lif2") if "lif2.v_threshold=0.02" in text else silent("lif2", 0.04)
        return Exam(vitals(first, second), case())

    exam = examine([])
    assert exam is not None
    treatment = treat(exam, examine)
    assert treatment.overrides == ["model.layers.lif1.v_threshold=0.005", "model.layers.lif2.v_threshold=0.02"]
    assert [remedy.finding.layer for remedy in treatment.remedies] == ["lif1", "lif2"]
    assert not findings(treatment.after.vitals)


def test_what_nothing_cures_is_said_and_not_tried_again():
    exam = Exam(vitals(silent("lif1", 0.02)), case())
    treatment = treat(exam, lambda overrides: exam)
    (remedy,) = treatment.remedies
    assert (remedy.finding.kind, remedy.finding.layer, remedy.override) == ("silent", "lif1", None)


def test_a_cure_that_makes_an_earlier_layer_ill_is_none():
    def examine(overrides: Sequence[str]) -> Exam:
        loud = "init" in " ".join(overrides)
        first = layer("lif1") if not loud else layer("lif1", saturated=0.9)
        second = layer("lif2") if loud else silent("lif2", 0.02)
        return Exam(vitals(first, second), case())

    assert treat(examine([]), examine).overrides == []
