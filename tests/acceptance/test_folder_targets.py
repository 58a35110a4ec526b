"""Targets that are values or labels over time, from a user's table and YAML, without code."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from snnlab import load
from snnlab.data.data_settings import build_dataset
from snnlab.files import load_arrays

from ..cli import killing
from ..refusals import assert_error_has, assert_text_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]
RECORDINGS, EVENTS, MS = 60, 300, 100
YAML = """
# @package _global_
defaults:
  - override /data: folder
  - override /model: mlp_lif
  - override /loss: {loss}
name: {loss}
plots: null
monitors: null
data:
  root: {root}
  labels: labels.csv
  targets: {targets}
  sensor_size: [16, 12, 2]
  num_classes: 2
  duration_ms: 100
  num_bins: 10
  batch_size: 8
  store_dir: {root}/stores
  {more}
model:
  layers: {{fc1: {{out_features: 64}}}}
optimizer: {{lr: 0.01}}
trainer: {{max_epochs: 8, accelerator: cpu}}
"""


def write(path: Path, rng: np.random.Generator, t: np.ndarray, x: np.ndarray) -> None:
    np.save(path, np.array([x, rng.integers(0, 12, t.size), t, rng.integers(0, 2, t.size)]).T.astype(int))


def times(rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([[0], np.sort(rng.integers(0, 1000 * MS, EVENTS - 1))])


@pytest.fixture
def blobs(workplace: Path) -> Path:
    """Write recordings of a blob, and its position in x and y, as fractions of the sensor."""
    root, rng, lines = workplace / "blobs", np.random.default_rng(0), ["path,value_x,value_mirrored"]
    root.mkdir()
    for number in range(RECORDINGS):
        centre = rng.uniform(2, 14)
        x = np.clip(np.round(rng.normal(centre, 1, EVENTS)), 0, 15)
        write(root / f"{number}.npy", rng, times(rng), x)
        lines.append(f"{number}.npy,{centre / 16},{1 - centre / 16}")
    (root / "labels.csv").write_text("\n".join(lines))
    return root


@pytest.fixture
def halves(workplace: Path) -> Path:
    """Write recordings in which the halves of the sensor are active in turn, with labels for the first 90 ms."""
    root, rng, lines = workplace / "halves", np.random.default_rng(0), ["path,label,start_ms,end_ms"]
    root.mkdir()
    for number in range(RECORDINGS):
        change, first, t = rng.integers(20, 70), rng.integers(0, 2), times(rng)
        side = (t >= 1000 * change) ^ first
        write(root / f"{number}.npy", rng, t, 8 * side + rng.integers(0, 8, EVENTS))
        sides = ["left", "right"][:: -1 if first else 1]
        lines += [f"{number}.npy,{sides[0]},,{change}", f"{number}.npy,{sides[1]},{change},90"]
    (root / "labels.csv").write_text("\n".join(lines))
    return root


def experiment(root: Path, targets: str, loss: str, more: str = "") -> list[str]:
    """Write the experiment's YAML and return the command that trains it."""
    path = root.parent / "mine" / "experiment" / f"{loss}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(YAML.format(root=root, targets=targets, loss=loss, more=more).lstrip())
    return ["--config-dir", "mine", f"experiment={loss}"]


def record(done: Outcome) -> tuple[Path, dict[str, float]]:
    assert done.status == 0, done.err
    folder = Path(done.out.splitlines()[-1])
    return folder, json.loads((folder / "result.json").read_text())["metrics"]


def evaluated(done: Outcome) -> tuple[Path, dict[str, Any]]:
    assert done.status == 0, done.err
    folder = Path(done.out.splitlines()[-1])
    return folder, json.loads((folder / "result.json").read_text())


def names(folder: Path, places: np.ndarray) -> list[str]:
    """Return the files of recordings."""
    dataset = build_dataset(load(folder).experiment.data)
    return [dataset.name(place) for place in places.tolist()]


def assert_rows_match_the_answers(folder: Path, arrays: dict[str, np.ndarray], snnlab: Snnlab) -> None:
    """Check the rows of `predict` against the answers at each step, fed whole and in pieces."""
    files = names(folder, arrays["test_recording"])
    rows = list(csv.DictReader(io.StringIO(snnlab("predict", str(folder), *files).out)))
    for file, answers in zip(files, arrays["test_answers"], strict=True):
        own = [row for row in rows if row["file"] == file]
        many = [round((float(row["end_ms"]) - float(row["start_ms"])) / 10) for row in own]
        assert np.repeat([int(row["answer"]) for row in own], many).tolist() == answers.tolist()
        assert all(before["answer"] != after["answer"] for before, after in pairwise(own))
        assert all(row["name"] == ("left", "right")[int(row["answer"])] for row in own)
        assert sum(int(row["events"]) for row in own) == EVENTS
    done = snnlab("predict", str(folder), files[0], "--pieces", "20", "--format", "jsonl")
    answers_so_far = [json.loads(line) for line in done.out.splitlines()]
    assert {row["until_ms"] for row in answers_so_far} == {20, 40, 60, 80, 100}
    steps = [row["answer"] for row in answers_so_far for _ in range(round((row["end_ms"] - row["start_ms"]) / 10))]
    assert steps == arrays["test_answers"][0].tolist()
    assert sum(row["events"] for row in answers_so_far) == EVENTS
    same = list(csv.DictReader(io.StringIO(snnlab("predict", str(folder), files[0], "--pieces", "20").out)))
    assert same == [row for row in rows if row["file"] == files[0]]


def test_a_network_learns_values_of_a_table(blobs: Path, snnlab: Snnlab) -> None:
    given = experiment(blobs, "value", "mse", "mix: {type: mixup, p: 0.2}")
    done = snnlab("train", *given)
    folder, metrics = record(done)
    assert metrics["test/r2"] > 0.5  # the mean, which ignores the events, has 0
    arrays = load_arrays(folder / "predictions.npz")
    target, answer = arrays["test_target"], arrays["test_readout"]
    assert target.shape == answer.shape == (12, 2)
    assert arrays["test_answers"].shape == (12, 10, 2)
    assert metrics["test/mae"] == pytest.approx(np.abs(target - answer).mean(), rel=1e-4)
    assert metrics["test/mae/mirrored"] == pytest.approx(np.abs(target - answer)[:, 1].mean(), rel=1e-4)
    assert metrics["test/loss"] == pytest.approx(((target - answer) ** 2).mean(), rel=1e-4)
    assert metrics["test/mae"] < np.abs(target - target.mean(0)).mean() / 1.5
    assert "test/accuracy" not in metrics
    assert "val/mae" in (folder / "metrics.csv").read_text().splitlines()[0]
    assert_text_has(done.out, "test error")
    assert "error" in done.err + done.out
    assert snnlab("validate", "mine").status == 0
    refused = snnlab("evaluate", str(folder), "--mistakes")
    assert_error_has(refused.error, "--mistakes", "data.targets", "value")
    again, found = evaluated(snnlab("evaluate", str(folder)))
    assert found["metrics"]["test/mae"] == metrics["test/mae"]
    over_time = found["error_over_time"]["x"]
    np.testing.assert_allclose(over_time, np.abs(arrays["test_answers"][..., 0] - target[:, :1]).mean(0), rtol=1e-5)
    assert (again / "error_over_time.png").stat().st_size > 5000
    files = names(folder, arrays["test_recording"])
    rows = list(csv.DictReader(io.StringIO(snnlab("predict", str(folder), *files).out)))
    assert list(rows[0]) == ["file", "start_ms", "value_x", "value_mirrored", "events", "left_out"]
    given_values = [[float(row["value_x"]), float(row["value_mirrored"])] for row in rows]
    np.testing.assert_allclose(given_values, answer, rtol=1e-4, atol=1e-6)
    done = snnlab("predict", str(folder), files[0], "--pieces", "30", "--format", "jsonl")
    answers_so_far = [json.loads(line) for line in done.out.splitlines()]
    assert [(row["until_ms"], row["final"]) for row in answers_so_far] == [
        (30, False),
        (60, False),
        (90, False),
        (100, True),
    ]
    so_far = [[row["value_x"], row["value_mirrored"]] for row in answers_so_far]
    np.testing.assert_allclose(so_far, arrays["test_answers"][0, [2, 5, 8, 9]], rtol=1e-4, atol=1e-6)
    assert sorted(row["events"] for row in answers_so_far) == [row["events"] for row in answers_so_far]
    assert answers_so_far[-1]["events"] == int(rows[0]["events"])
    assert f"R2 {metrics['test/r2']:.3f}" in snnlab("runs", "list", str(folder.parent)).out


def test_a_network_learns_labels_over_time(halves: Path, snnlab: Snnlab) -> None:
    folder, metrics = record(snnlab("train", *experiment(halves, "steps", "cross_entropy_steps")))
    arrays = load_arrays(folder / "predictions.npz")
    target, answers = arrays["test_target"], arrays["test_answers"]
    assert target.shape == answers.shape == (12, 10)
    assert (target[:, 9] == -100).all()
    has_label = target != -100
    assert metrics["test/labelled_steps"] == has_label.sum() == 12 * 9
    right = (answers == target)[has_label].mean()
    assert metrics["test/accuracy"] == pytest.approx(right)
    # One label for all, and the most frequent one of each recording.
    always = np.bincount(target[has_label]).max() / has_label.sum()
    known = [np.bincount(row[row >= 0]).max() for row in target]
    assert right > always + 0.1
    assert right > sum(known) / has_label.sum() + 0.05
    again, found = evaluated(snnlab("evaluate", str(folder)))
    assert found["metrics"]["test/accuracy"] == metrics["test/accuracy"]
    counts = np.array(found["confusion"])
    assert counts.sum() == has_label.sum()
    there = counts.sum(1) > 0
    assert found["balanced_accuracy"] == pytest.approx((counts.diagonal()[there] / counts[there].sum(1)).mean())
    np.testing.assert_allclose(found["accuracy_over_time"][:9], (answers == target).mean(0)[:9])
    assert found["accuracy_over_time"][9] is None
    changes = (target[:, 1:] != target[:, :-1]) & (target[:, 1:] != -100) & (target[:, :-1] != -100)
    assert sum(one["onsets"] for one in found["onsets"].values()) == changes.sum() > 0
    assert_rows_match_the_answers(folder, arrays, snnlab)
    assert (again / "confusion.png").stat().st_size > 5000
    done = snnlab("robust", str(folder), "--disturb", "weight_noise", "--levels", "0,1", "--repetitions", "1")
    assert done.status == 0, done.err
    with np.load(Path(done.out.splitlines()[-1]) / "robustness.npz") as measured:
        parts = measured["weight_noise/right"][0, 0]
    np.testing.assert_allclose(parts, ((answers == target) & has_label).sum(1) / has_label.sum(1), atol=1e-6)


def test_labels_go_with_the_windows_of_long_recordings(halves: Path, snnlab: Snnlab) -> None:
    given = experiment(halves, "steps", "cross_entropy_steps", "stride_ms: 40")
    given += ["data.duration_ms=50", "data.num_bins=5", "trainer.max_epochs=1"]
    folder, _ = record(snnlab("train", *given))
    arrays = load_arrays(folder / "predictions.npz")
    starts, target = arrays["test_start_us"], arrays["test_target"]
    assert sorted(np.unique(starts)) == [0, 40_000, 80_000]
    assert (target[starts == 0] >= 0).all()
    assert (target[starts == 80_000][:, 0] >= 0).all()
    assert (target[starts == 80_000][:, 1:] == -100).all()
    for recording in np.unique(arrays["test_recording"]):
        whole, later = (target[(arrays["test_recording"] == recording) & (starts == at)] for at in (0, 40_000))
        assert whole[0, 4] == later[0, 0]  # both are the step from 40 to 50 ms


PLAIN = ("optimizer=sgd", "optimizer.lr=0.5", "scheduler=none", "trainer.precision=64-true", "trainer.max_epochs=3")


def trained_weights(done: Outcome) -> dict[str, torch.Tensor]:
    return torch.load(record(done)[0] / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    for name, values in one.items():
        if name.startswith("network."):
            torch.testing.assert_close(other[name], values, rtol=1e-6, atol=1e-8, msg=name)


@pytest.mark.parametrize("loss", ["cross_entropy_steps", pytest.param("mse", marks=pytest.mark.long)])
def test_accumulated_batches_train_like_one_large_batch(loss: str, blobs: Path, halves: Path, snnlab: Snnlab) -> None:
    # 43 recordings to train: the last step has 11, which come as 8 and 3.
    given = experiment(*((halves, "steps") if loss == "cross_entropy_steps" else (blobs, "value")), loss)
    given += PLAIN
    large = trained_weights(snnlab("train", *given, "data.batch_size=16"))
    small = trained_weights(snnlab("train", *given, "data.batch_size=8", "trainer.accumulate_grad_batches=2"))
    assert_same_weights(large, small)


@pytest.mark.slow
def test_several_processes_learn_labels_over_time_as_one_does(halves: Path, snnlab: Snnlab, tmp_path: Path) -> None:
    given = [*experiment(halves, "steps", "cross_entropy_steps"), *PLAIN]
    given += ["loss.regularizers.few={type: spikes, weight: 1e-4}"]
    one = trained_weights(snnlab("train", *given, "data.batch_size=16"))
    log = tmp_path / "log"
    assert killing.run(["train", *given, "trainer=ddp", "trainer.devices=2"], log) == 0, log.read_text()
    checkpoint = Path(log.read_text().splitlines()[-1]) / "checkpoints" / "last.ckpt"
    assert_same_weights(one, torch.load(checkpoint, weights_only=True)["state_dict"])


@pytest.mark.long
def test_incompatible_settings_are_reported_before_training(blobs: Path, halves: Path, snnlab: Snnlab) -> None:
    values = experiment(blobs, "value", "mse")
    for wrong, *facts in (
        ("loss=cross_entropy", "loss", "cross_entropy", "data.targets=value", "loss=mse"),
        ("selection=best_val_accuracy", "selection", "best_val_accuracy", "lowest_val_loss"),
        ("data.targets=class", "loss", "mse", "data.targets=class", "loss=cross_entropy"),
        ("data.num_classes=3", "data.num_classes", 3, 2),
        ("data.labels=null", "data.targets", "data.labels"),
        ("data.mix={type: cutmix}", "data.mix", "cutmix", "data.targets=value"),
        ("control=shuffled_time", "control", "shuffled_time", "data.targets"),
    ):
        done = snnlab("train", *values, wrong)
        assert done.status == 2
        assert_error_has(done.error, *facts)
    table = (halves / "labels.csv").read_text().splitlines()
    (halves / "late.csv").write_text("\n".join([table[0], *(line for line in table[1:] if line.endswith(",90"))]))
    own_settings = ["data.labels=late.csv", "data.duration_ms=10"]
    done = snnlab("train", *experiment(halves, "steps", "cross_entropy_steps"), *own_settings)
    assert done.status == 2
    assert_error_has(done.error, "data.labels", "label", 10)
    done = snnlab("train", *experiment(halves, "steps", "cross_entropy_steps"), "data.bin_by=count")
    assert done.status == 2
    assert_error_has(done.error, "data.targets")
    assert not Path("outputs").exists()


@pytest.mark.long
def test_values_and_labels_are_inspected(blobs: Path, halves: Path, snnlab: Snnlab) -> None:
    done = snnlab("data", "inspect", *experiment(blobs, "value", "mse"))
    assert done.status == 0, done.err
    lines = [line.split() for line in done.out.splitlines()]
    assert ["value", "train", "validation", "test", "all"] in lines
    assert {"x", "mirrored"} <= {line[0] for line in lines if line}
    done = snnlab("data", "inspect", *experiment(halves, "steps", "cross_entropy_steps"))
    assert done.status == 0, done.err
    rows = {line.split()[0]: line.split() for line in done.out.splitlines() if line.strip()}
    assert rows["left"][-1] == rows["right"][-1] == "60"
    assert sum(float(rows[side][4].replace(",", "")) for side in ("left", "right")) == 60 * 90
    assert_text_has(done.out, "without a label", "60 recordings")


@pytest.mark.long
@pytest.mark.parametrize("loss", ["mse", "cross_entropy_steps"])
def test_answers_are_drawn_beside_targets_that_are_values_or_labels(
    loss: str, blobs: Path, halves: Path, snnlab: Snnlab
) -> None:
    given = experiment(*((blobs, "value") if loss == "mse" else (halves, "steps")), loss)
    one_epoch = ("trainer.max_epochs=1", "plots={recordings: 1, every_epochs: 1}")
    folder, _ = record(snnlab("train", *given, *one_epoch))
    drawn = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0})
    drawn.Reload()
    (tag,) = (name for name in drawn.Tags()["images"] if name.endswith("readout"))
    (image,) = drawn.Images(tag)
    assert image.encoded_image_string.startswith(b"\x89PNG")
    assert image.width > 300


@pytest.mark.long
@pytest.mark.parametrize("mode", ["overfit", "fast"])
def test_the_debug_modes_work_with_values(mode: str, blobs: Path, snnlab: Snnlab) -> None:
    done = snnlab("train", *experiment(blobs, "value", "mse"), f"debug={mode}")
    assert done.status == 0, done.err
    if mode == "overfit":
        assert "overfit: " in done.err + done.out
