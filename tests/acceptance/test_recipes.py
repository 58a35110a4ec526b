"""The published recipes train on files in their real formats, and document the published results and differences."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from snnlab.config.folders import find_file

from ..cli.genuine import WRITERS
from .conftest import Outcome

STEPS = (
    "trainer.max_epochs=1",
    "+trainer.limit_train_batches=2",
    "+trainer.limit_val_batches=1",
    "+trainer.limit_test_batches=1",
    "trainer.accelerator=cpu",
    "data.batch_size=2",
    "data.download=false",
    "logger=none",
    "plots=null",
    # A test would compile them for each recipe; other tests compare the spikes of the compiled loops.
    "backend=reference",
)


class Recipe(NamedTuple):
    """An experiment, its data set, and the overrides that make it smaller in a test."""

    name: str
    data: str
    smaller: tuple[str, ...] = ()


ALWAYS = ("nmnist_plif", "shd_adlif")
OFTEN = ("cifar10dvs_vgg_tet", "shd_dcls", "smnist_brf")
RECIPES = [
    Recipe("nmnist_plif", "nmnist", ("model.layers.fc1.out_features=128", "scheduler.T_max=1")),
    Recipe("dvsgesture_plif", "dvsgesture", ("data.downsample=4", "scheduler.T_max=1")),
    Recipe("cifar10dvs_vgg_tet", "cifar10dvs", ("model.layers.resize.output_size=16",)),
    Recipe("shd_recurrent", "shd"),
    Recipe("shd_adlif", "shd", ("data.num_bins=70",)),
    Recipe("ssc_adlif", "ssc", ("data.num_bins=60",)),
    Recipe("shd_dcls", "shd", ("model.layers.fc1.out_features=16", "model.layers.fc2.out_features=16")),
    Recipe("smnist_recurrent", "smnist", ("data.num_bins=168",)),
    Recipe("smnist_brf", "smnist", ("data.duration_ms=980", "data.num_bins=98", "data.sha256=null")),
    Recipe("psmnist_brf", "smnist", ("data.duration_ms=980", "data.num_bins=98", "data.sha256=null")),
]


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(
            recipe,
            marks=() if recipe.name in ALWAYS else pytest.mark.long if recipe.name in OFTEN else pytest.mark.slow,
            id=recipe.name,
        )
        for recipe in RECIPES
    ],
)
def test_a_recipe_trains_on_files_of_its_data_sets_format(
    recipe: Recipe, workplace: Path, snnlab: Callable[..., Outcome]
):
    WRITERS[recipe.data](workplace / "FOLDER", np.random.default_rng(0))
    outcome = snnlab("train", f"experiment={recipe.name}", "data.root=FOLDER", *STEPS, *recipe.smaller)
    assert outcome.status == 0, outcome.err
    folder = Path(outcome.out.splitlines()[-1])
    assert folder.parent.name == recipe.name
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "completed"
    assert np.isfinite([result["metrics"]["val/loss"], result["metrics"]["test/loss"]]).all()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_recipe_names_its_source_its_published_result_and_the_differences(recipe: Recipe):
    head = " ".join(re.findall(r"^# (.*)", find_file(f"experiment/{recipe.name}").read_text(), re.MULTILINE))
    for part in (f"snnlab train experiment={recipe.name} ", "github.com/", "Published: ", "Here: ", "Differences: "):
        assert part in head
