from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnlab.config.overrides import as_overrides

from ..refusals import assert_raises

GROUPS = ("model", "neuron", "data", "optimizer", "logger", "trainer")


def convert(*given: Any, **settings: Any) -> list[str]:
    return as_overrides(given, settings, GROUPS, "train")


def test_typed_overrides_keep_their_text_and_order() -> None:
    assert convert("model=mlp_lif", {"seed": 1}, "~model.layers.pool1", name="mine") == [
        "model=mlp_lif",
        "seed=1",
        "~model.layers.pool1",
        "name=mine",
    ]


@pytest.mark.parametrize(
    ("settings", "overrides"),
    [
        ({"model": "mlp_lif", "logger": None}, ["model=mlp_lif", "logger=null"]),
        ({"optimizer": {"lr": 0.01, "fused": True}}, ["optimizer.lr=0.01", "optimizer.fused=true"]),
        ({"model": {"layers": {"lif1": {"tau_mem": 5}}}}, ["model.layers.lif1.tau_mem=5"]),
        ({"data": {"representation": {"type": "voxel_grid"}}}, ["data.representation={type: voxel_grid}"]),
        ({"plots": {"recordings": 1}}, ["plots={recordings: 1}"]),
        ({"data.root": Path("/a b/c"), "plugins": ("mine",)}, ["data.root='/a b/c'", "plugins=[mine]"]),
        ({"trainer": {"max_epochs": np.int64(3)}, "seed": np.int32(2)}, ["trainer.max_epochs=3", "seed=2"]),
        ({"data.sensor_size": np.array([8, 6, 2])}, ["data.sensor_size=[8, 6, 2]"]),
        ({"+model.layers.n": {"type": "batch_norm", "after": "a"}}, ["+model.layers.n={type: batch_norm, after: a}"]),
        ({"optimizer.lr": np.float64(0.25), "name": np.str_("a")}, ["optimizer.lr=0.25", "name=a"]),
        ({"name": "x=1,y"}, ["name='x=1,y'"]),
        ({"resume": Path("outputs/a b=1")}, ["resume=outputs/a b=1"]),
        ({"data": {}}, ["data={}"]),
    ],
    ids=str,
)
def test_values_become_overrides(settings: dict[str, Any], overrides: list[str]) -> None:
    assert convert(settings) == overrides


@pytest.mark.parametrize("given", [["model=mlp_lif"], 3, None])
def test_invalid_arguments_are_refused_with_the_usage(given: Any) -> None:
    with assert_raises(TypeError, "train", "model=mlp_lif"):
        convert(given)


def test_a_value_without_yaml_form_is_refused_with_its_key() -> None:
    with assert_raises(TypeError, "train", "optimizer.lr"):
        convert(optimizer={"lr": object()})
    with assert_raises(TypeError, 3):
        convert({3: 4})
