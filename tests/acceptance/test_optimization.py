"""Trainings with weight averaging, truncated backpropagation, frozen layers, annealing, and on validation data too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from snnlab import load, train
from snnlab.runs.run_folder import Result
from snnlab.training.checkpoints import network_weights, read_checkpoint

from ..refusals import assert_text_has
from .conftest import FAST, Outcome

Snnlab = Callable[..., Outcome]


def run(store: str, *overrides: str) -> Result:
    return train(*FAST, store, "trainer.max_epochs=2", "logger=none", *overrides)


def trained_weights(result: Result, which: str = "last") -> dict[str, torch.Tensor]:
    checkpoint = read_checkpoint(result.folder / "checkpoints" / f"{which}.ckpt")
    state = checkpoint.get("current_model_state", checkpoint["state_dict"])
    return {name: value for name, value in state.items() if name.startswith("network.")}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_averaged_weights_are_tested_and_opened_and_the_training_is_the_same(
    workplace: Path, snnlab: Snnlab, digits_store: str
):
    plain, averaged = run(digits_store), run(digits_store, "weight_averaging={type: ema, decay: 0.5}")
    assert equal(trained_weights(plain), trained_weights(averaged))
    assert plain.metrics["val/loss"] != averaged.metrics["val/loss"]
    opened = load(averaged.folder).network.state_dict()
    assert equal(opened, network_weights(averaged.folder / "checkpoints" / "best.ckpt"))
    own = trained_weights(averaged, "best")
    assert not torch.equal(opened["fc1.weight"], own["network.fc1.weight"])
    done = snnlab("evaluate", str(averaged.folder), "--split", "val")
    assert done.status == 0, done.err
    again = json.loads((Path(done.out.splitlines()[-1]) / "result.json").read_text())
    assert again["metrics"]["val/loss"] == averaged.metrics["val/loss"]


def test_windows_of_all_steps_are_no_windows(workplace: Path, digits_store: str):
    full, whole, cut = (run(digits_store, f"tbptt_steps={steps}") for steps in ("null", "4", "2"))
    assert equal(trained_weights(full), trained_weights(whole))
    assert not equal(trained_weights(full), trained_weights(cut))


def test_frozen_layers_keep_the_weights_of_the_initial_run(workplace: Path, digits_store: str):
    first = run(digits_store)
    then = run(digits_store, f"init_from={first.folder}", "freeze=[fc1]", "seed=1")
    begun, ended = network_weights(first.folder / "checkpoints" / "best.ckpt"), trained_weights(then)
    assert torch.equal(begun["fc1.weight"], ended["network.fc1.weight"])
    assert not torch.equal(begun["out.weight"], ended["network.out.weight"])


@pytest.mark.long
def test_annealing_changes_what_is_learned(workplace: Path, digits_store: str):
    plain, annealed = run(digits_store), run(digits_store, "surrogate_annealing={start: 5.0, epochs: 2}")
    assert not equal(trained_weights(plain), trained_weights(annealed))


def test_a_final_fit_trains_on_all_and_records_it(workplace: Path, digits_store: str):
    plain, last = run(digits_store), run(digits_store, "fit_on=train_and_val")
    assert last.selection["train_size"] == plain.selection["train_size"] + plain.selection["val_size"]
    assert (last.selection["rule"], last.selection["epoch"], last.selection["val_size"]) == ("last", 1, 0)
    assert_text_has(last.selection["val_rule"], plain.selection["val_rule"])
    splits = [json.loads((result.folder / "split.json").read_text()) for result in (plain, last)]
    assert splits[1]["train"] == sorted(splits[0]["train"] + splits[0]["val"])
    assert splits[1]["test"] == splits[0]["test"]
    assert np.isin("test/accuracy", list(last.metrics))
