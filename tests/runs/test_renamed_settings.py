"""Names and values that an older snnlab recorded become those of today, and all else stays."""

from __future__ import annotations

from typing import Any

import pytest

from snnlab.runs.renamed_settings import renamed, renamed_override, renamed_overrides, renames

OLD = {"seed": 3, "recompute": 2, "loss": {"type": "mse", "over_time": "sum", "parts": {"few": {"type": "spikes"}}}}


def test_keys_are_renamed_in_their_order_and_nothing_else_is_touched() -> None:
    now = renamed(OLD)
    assert list(now) == ["seed", "checkpoint_segments", "loss"]
    assert now["loss"] == {"type": "mse", "readout": "sum", "regularizers": {"few": {"type": "spikes"}}}
    assert renamed(now) == now
    assert "recompute" in OLD


def test_a_key_of_the_same_last_name_elsewhere_stays() -> None:
    node = {"model": {"layers": {"average": {"type": "li"}, "frames": {"still": 1}}}, "data": {"frames": "counts"}}
    assert renamed(node)["model"] == node["model"]
    assert renamed(node)["data"] == {"representation": "counts"}


@pytest.mark.parametrize(("old", "now"), [("frames", False), ("events", True), ("auto", "auto"), (None, None)])
def test_the_words_of_the_first_layer_became_true_and_false(old: Any, now: Any) -> None:
    assert renamed({"first_layer": old}) == {"sparse_input": now}


def test_references_lead_to_the_new_name() -> None:
    assert renamed({"data": {"num_bins": "${recompute}", "root": "${oc.env:pictures}"}}) == {
        "data": {"num_bins": "${checkpoint_segments}", "root": "${oc.env:pictures}"}
    }


def test_only_old_keys_that_are_there_are_named() -> None:
    assert renames(OLD) == {
        "recompute": "checkpoint_segments",
        "loss.over_time": "loss.readout",
        "loss.parts": "loss.regularizers",
    }
    assert renames({"loss": "mse", "data": None}) == {}


@pytest.mark.parametrize(
    ("old", "now"),
    [
        ("recompute=4", "checkpoint_segments=4"),
        ("++first_layer=events", "++sparse_input=true"),
        ("first_layer=auto", "sparse_input=auto"),
        ("pictures.recordings=1", "plots.recordings=1"),
        ("~average", "~weight_averaging"),
        ("loss.parts.few={type: spikes}", "loss.regularizers.few={type: spikes}"),
        ("data.frames_of=3", "data.frames_of=3"),
        ("model=conv_lif", "model=conv_lif"),
        ("no override", "no override"),
    ],
)
def test_overrides(old: str, now: str) -> None:
    assert renamed_override(old) == now
    assert renamed_overrides({"overrides": [old], "seed": 1}) == {"overrides": [now], "seed": 1}
