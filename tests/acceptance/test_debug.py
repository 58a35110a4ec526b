"""`debug=...`: each file does what its first lines describe."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from snnlab.files import load_arrays

from .conftest import Outcome

Snnlab = Callable[..., Outcome]

SMALL = (
    "model=mlp_lif",
    "model.layers.fc1.out_features=16",
    "data.num_bins=4",
    "data.batch_size=8",
    "trainer.accelerator=cpu",
)


def result_of(done: Outcome) -> tuple[Path, dict]:
    assert done.status == 0, done.err
    folder = Path(done.out.splitlines()[-1])
    return folder, json.loads((folder / "result.json").read_text())


def test_fast_runs_every_part_and_reports_its_few_batches(workplace: Path, snnlab: Snnlab, digits_store: str):
    done = snnlab("train", "debug=fast", *SMALL, digits_store)
    folder, result = result_of(done)
    assert folder.parent == workplace / "outputs" / "debug"
    assert result["name"] == "mlp_lif_saccade_digits"
    assert done.out.startswith("mlp_lif_saccade_digits, seed 0")
    assert result["metrics"]["test/recordings"] == result["metrics"]["val/recordings"] == 8
    assert "% of 8 recordings" in done.out
    assert (folder / "metrics.csv").read_text().count("\n") == 2
    assert (folder / "predictions.npz").exists()


def test_a_debug_file_goes_before_the_experiment_and_the_command_line_before_it(
    workplace: Path, snnlab: Snnlab, digits_store: str
):
    small = ("experiment=saccade_digits", "debug=fast", "trainer.max_epochs=2", "name=mine", "logger=none")
    folder, result = result_of(snnlab("train", *small, *SMALL, digits_store))
    assert folder.parent.name == "mine"
    assert result["selection"]["epochs"] == 2


def test_overfit_fits_one_batch_and_reports_it(workplace: Path, snnlab: Snnlab, digits_store: str):
    done = snnlab("train", "debug=overfit", *SMALL, digits_store)
    folder, result = result_of(done)
    assert re.search(r"\b8 .* 8 .* 0 ", done.err)
    assert re.search(r"^training: 20 .* 20 ", done.err, re.MULTILINE)  # before the first epoch's line, which takes long
    assert re.search(r"^overfit: .*whole.* \d+ ", done.err, re.MULTILINE)
    split = json.loads((folder / "split.json").read_text())
    assert split["train"] == split["val"]
    assert split["test"] == []
    assert result["metrics"]["val/accuracy"] == 1.0
    assert result["selection"]["epochs"] < 20  # it stopped when all were right
    assert not any(key.startswith("test/") for key in result["metrics"])
    predictions = load_arrays(folder / "predictions.npz")
    assert sorted(predictions["val_recording"]) == split["train"]
    assert (predictions["val_readout"].argmax(1) == predictions["val_target"]).all()


def test_overfit_reports_a_network_that_cannot_fit(workplace: Path, snnlab: Snnlab, digits_store: str):
    deaf = ("neuron.v_threshold=1000", "trainer.max_epochs=2")
    done = snnlab("train", "debug=overfit", *SMALL, digits_store, *deaf)
    _, result = result_of(done)
    assert re.search(r"^overfit: .* 40 ", done.err, re.MULTILINE)
    assert result["selection"]["epochs"] == 2


def test_profile_reports_the_time_of_each_part(workplace: Path, snnlab: Snnlab, digits_store: str):
    done = snnlab("train", "debug=profile", *SMALL, digits_store)
    folder, _ = result_of(done)
    record = json.loads((folder / "profile.json").read_text())
    assert record["steps"] == 20
    assert record["samples_per_step"] == 8
    assert list(record["layers_ms"]) == ["flatten", "fc1", "lif1", "out", "readout"]
    assert all(ms["forward"] > 0 for ms in record["layers_ms"].values())
    both = [*record["layers_ms"].values(), record["loss_and_metrics_ms"]]
    alone = [record[f"{name}_ms"] for name in ("reading", "frames", "optimizer", "rest")]
    parts = sum(alone) + sum(ms["forward"] + ms["backward"] for ms in both)
    assert parts == pytest.approx(record["step_ms"], rel=0.03)
    text = (folder / "profile.txt").read_text().strip()
    assert text in done.err
    assert text in (folder / "log.txt").read_text()
