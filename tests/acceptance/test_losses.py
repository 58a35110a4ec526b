"""What docs/losses.md promises: every loss and readout trains, those of spikes need spikes, regularizers are logged."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from snnlab import train

from ..refusals import assert_error_has
from .conftest import FAST, Outcome

BARE = (*FAST, "data.num_bins=16", "plots=null", "monitors=null", "logger=none", "test=false", "backend=reference")
SPIKES = "model.layers.readout.type=lif"
READOUTS = ("mean", "sum", "last", "max", "softmax_sum", "first_spike", "per_step")
LOSSES = ("tet", "mse_rate", "mse_count", "mse_first_spike", "van_rossum")
SETTINGS = [
    *(f"loss.readout={name}" for name in READOUTS),
    *(f"loss={name}" for name in LOSSES),
    "loss.label_smoothing=0.1",
    "loss.class_weight=balanced",
]


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_loss_or_a_readout_of_classes_trains(setting: str, tmp_path: Path, digits_store: str):
    metrics = train(*BARE, digits_store, SPIKES, setting, f"output_dir={tmp_path}").metrics
    assert math.isfinite(metrics["val/loss"])


def test_a_loss_of_spikes_is_refused_where_the_network_ends_without(workplace: Path, snnlab: Callable[..., Outcome]):
    done = snnlab("train", *BARE, "loss=mse_count")
    assert done.status == 2
    assert_error_has(done.error, "loss", "spikes")


def test_each_regularizer_is_added_with_its_weight_and_logged(tmp_path: Path, digits_store: str):
    regularizers = {
        "rate": "{type: rate_band, lower: 1.0, upper: 40.0, weight: 0.1}",
        "ops": "{type: synaptic_operations, budget: 10, weight: 0.2}",
        "budget": "{type: spike_budget, budget: 1, weight: 0.2}",
        "few": "{type: spikes, weight: 0.2}",
        "small": "{type: weights, power: 1, layers: [fc1], weight: 1e-4}",
        "band": "{type: membrane_band, lower: -1.0, upper: 0.1, layers: [lif1], weight: 0.1}",
    }
    given = [f"loss.regularizers.{name}={text}" for name, text in regularizers.items()]
    run = train(*BARE, digits_store, *given, f"output_dir={tmp_path}").folder
    with (run / "metrics.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    terms = {name: float(row[f"train/loss/{name}"]) for name in regularizers}
    assert all(math.isfinite(value) for value in terms.values())
    assert terms["small"] > 0
