"""`snnlab evaluate`: what docs/runs.md and its `--help` promise; opening a run in Python, and `init_from`."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnlab import load, train
from snnlab.config.recorded_run import compose_run
from snnlab.errors import ConfigError, RunFolderError

from ..refusals import assert_error_has, assert_raises, assert_text_has
from .conftest import WHOLE, Outcome

Snnlab = Callable[..., Outcome]
BY_STEPS = ("model.layers.lif1.tau_mem=2 steps", "model.layers.readout.tau_mem=2 steps")


@pytest.fixture(scope="module")
def run(digits_run: Path) -> Path:
    return digits_run


def _evaluated(done: Outcome) -> tuple[Path, dict[str, Any]]:
    assert done.status == 0, done.err
    folder = Path(done.out.splitlines()[-1])
    return folder, json.loads((folder / "result.json").read_text())


def test_an_evaluation_has_the_recorded_results_by_class_over_time_and_as_plots(run: Path, snnlab: Snnlab) -> None:
    recorded = load(run)
    for part in ("val", "test"):
        done = snnlab("evaluate", str(run), "--split", part)
        folder, found = _evaluated(done)
        assert folder.parent == run / "evaluations"
        for name in ("accuracy", "loss"):
            assert found["metrics"][f"{part}/{name}"] == recorded.metrics[f"{part}/{name}"]
        with np.load(folder / "predictions.npz") as arrays:
            for name in ("recording", "target", "readout", "answers", "spikes"):
                assert np.array_equal(arrays[f"{part}_{name}"], recorded.predictions[f"{part}_{name}"])
            targets, answers = arrays[f"{part}_target"], arrays[f"{part}_readout"].argmax(1)
            over_time = (arrays[f"{part}_answers"] == targets[:, None]).mean(0)
        for picture in ("confusion.png", "accuracy_over_time.png"):
            assert (folder / picture).stat().st_size > 5000
        counts = np.array(found["confusion"])
        assert counts.sum() == targets.size == found["recordings"]
        assert counts[3, 5] == ((targets == 3) & (answers == 5)).sum()
        assert np.allclose(found["accuracy_over_time"], over_time)
        assert f"{counts[7, 7]:,} of {counts[7].sum():>6,}" in done.out
    costs = [name for name in recorded.metrics if name.startswith("test/synops") or name == "test/membrane_updates"]
    assert len(costs) == 7
    assert {name: found["metrics"][name] for name in costs} == {name: recorded.metrics[name] for name in costs}
    # Dense: all weights at each of the sixteen steps.
    assert recorded.metrics["test/synops_dense"] == 16 * (2312 * 16 + 16 * 10)
    assert recorded.metrics["test/synops_dense_per_step"] == 2312 * 16 + 16 * 10
    assert recorded.metrics["footprint_bytes"] == 4 * recorded.metrics["params"]


def test_the_last_epoch_is_tested_in_addition_to_the_chosen_one(
    snnlab: Snnlab, digits_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from snnlab.training import snapshots

    ranks = itertools.count()  # the first epoch is the best
    monkeypatch.setattr(snapshots, "rank_of_epoch", lambda rule, values: (float(next(ranks)),))
    limits = [f"+trainer.limit_{stage}_batches=2" for stage in ("train", "val", "test")]
    made = train(*WHOLE, digits_store, *limits, f"output_dir={tmp_path}", "trainer.max_epochs=2")
    assert made.selection["epoch"] == 0
    last = {name.removeprefix("last/"): value for name, value in made.metrics.items() if name.startswith("last/test/")}
    assert last["test/loss"] != made.metrics["test/loss"]
    for checkpoint, expected in (("last", last), ("best", made.metrics)):
        _, found = _evaluated(snnlab("evaluate", str(made.folder), "--checkpoint", checkpoint))
        for name in ("test/loss", "test/accuracy"):
            assert found["metrics"][name] == expected[name]


def test_other_bins_rebuild_the_network_and_the_last_epoch_can_be_chosen(run: Path, snnlab: Snnlab) -> None:
    _, found = _evaluated(snnlab("evaluate", str(run), "--checkpoint", "last", "data.num_bins=8"))
    assert len(found["accuracy_over_time"]) == 8
    assert found["overrides"] == ["data.num_bins=8"]
    experiment = compose_run(run, ["data.dt=20", "model.layers.lif1.tau_mem=5"])
    assert (experiment.data["num_bins"], experiment.data["dt"]) == (None, 20)
    assert experiment.model["layers"]["lif1"]["tau_mem"] == 5


def test_show_shows_the_network_of_a_run(run: Path, snnlab: Snnlab) -> None:
    done = snnlab("show", str(run), "data.num_bins=4")
    assert done.status == 0, done.err
    assert "mlp_lif_saccade_digits" in done.out
    assert_text_has(done.out, "4 steps", "80 ms")
    assert_error_has(snnlab("show", "outputs/nowhere").error, "outputs/nowhere", "folder")


def test_another_dataset_takes_the_nodes_place(run: Path) -> None:
    experiment = compose_run(run, ["data=nmnist", "data.root=elsewhere"])
    assert experiment.data["type"] == "nmnist"
    assert experiment.data["root"] == "elsewhere"
    assert "simulation_seed" not in experiment.data


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["data=dvsgesture"], ("data.num_classes", 10, 11)),
        (["neuron.tau_mem=5"], ("neuron.tau_mem=5", "model.layers.lif1.NAME=VALUE")),
        (["neuron=cuba_lif"], ("neuron=cuba_lif", "lif1")),
        (["model=conv_lif"], ("model=conv_lif", "train")),
        (["data.num_bin=3"], ("data.num_bin", "num_bins")),
        (["model.layers.fc1.out_features=17"], (None, "weights", 16, 17)),
        (["--split", "vall"], ("--split", "test, val, train", "vall")),
        (["--chekpoint", "best"], ("evaluate", "--chekpoint", "--checkpoint")),
    ],
)
def test_what_cannot_be_is_refused(run: Path, snnlab: Snnlab, overrides: list[str], expected: tuple) -> None:
    done = snnlab("evaluate", str(run), *overrides)
    assert done.status == 2
    place, *facts = expected
    assert_error_has(done.error, place or run, *facts)
    assert "Traceback" not in done.err


def test_a_training_may_begin_with_the_weights_of_a_run(
    run: Path, snnlab: Snnlab, tmp_path: Path, digits_store: str
) -> None:
    shape = ("data.num_bins=16", digits_store, "trainer.max_epochs=1")
    again = (*WHOLE, *shape, f"init_from={run}", f"output_dir={tmp_path}")
    done = snnlab("train", *again, "optimizer.lr=0", "scheduler=none")
    assert done.status == 0, done.err
    assert "2 of 2" in done.err
    begun = load(done.out.splitlines()[-1])
    weights = load(run).network.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in begun.network.state_dict().items())
    assert begun.metrics["test/accuracy"] == load(run).metrics["test/accuracy"]
    done = snnlab("train", *again, "model.layers.fc1.out_features=17")
    assert done.status == 2
    assert_error_has(done.error, "init_from", "layer")
    for folder, fact in (("nowhere", Path.cwd()), (tmp_path, "checkpoints/best.ckpt")):
        done = snnlab("train", *again[:-2], f"init_from={folder}", f"output_dir={tmp_path}")
        assert done.status == 2
        assert_error_has(done.error, "init_from", folder, fact)


def test_a_folder_that_is_no_run_is_named(run: Path, snnlab: Snnlab, tmp_path: Path) -> None:
    done = snnlab("evaluate", str(tmp_path))
    assert done.status == 2
    assert_error_has(done.error, tmp_path, "folder")
    with assert_raises(RunFolderError, tmp_path):
        load(tmp_path)
    assert snnlab("evaluate", "data.num_bins=4").status == 2


def test_a_damaged_checkpoint_is_named_and_nothing_in_it_is_executed(run: Path, tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "harm"),)

    (tmp_path / "checkpoints").mkdir()
    for name in ("config.yaml", "result.json"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    for content in (b"", b"not a checkpoint"):
        (tmp_path / "checkpoints" / "best.ckpt").write_bytes(content)
        with assert_raises(RunFolderError, "checkpoints/best.ckpt", "read"):
            _ = load(tmp_path).network
    torch.save({"state_dict": Harm()}, tmp_path / "checkpoints" / "best.ckpt")
    with assert_raises(RunFolderError, "checkpoints/best.ckpt", "read"):
        _ = load(tmp_path).network
    assert not (tmp_path / "harm").exists()
    (tmp_path / "checkpoints" / "best.ckpt").unlink()
    with assert_raises(RunFolderError, tmp_path, "checkpoints/best.ckpt"):
        _ = load(tmp_path).network


def test_a_run_opens_from_python(run: Path) -> None:
    opened = load(str(run))
    assert opened.config["data"]["num_bins"] == 16
    assert opened.experiment.seed == 0
    assert opened.epochs["epoch"].tolist() == [0, 1]
    assert not opened.network.training
    x = torch.rand(16, 3, 2, 34, 34).round()
    every, one = opened.record(x), opened.record(x, ["lif1"])
    assert torch.equal(one.y, opened.network(x)[0])
    assert list(one.spikes) == ["lif1"]
    assert torch.equal(one.states["lif1"]["v"], every.states["lif1"]["v"])
    with assert_raises(ConfigError, "record", "lif1"):
        opened.record(x, ["lif"])
    best, last = load(run).network, load(run, "last").network
    assert best.state_dict().keys() == last.state_dict().keys()


def test_a_bad_init_from_is_named(run: Path, snnlab: Snnlab, tmp_path: Path) -> None:
    done = snnlab("train", *WHOLE, f"init_from={tmp_path}", f"output_dir={tmp_path / 'runs'}")
    assert done.status == 2
    assert_error_has(done.error, "init_from", "folder")
    assert not (tmp_path / "runs").exists()


def test_recordings_that_differ_from_those_of_the_run_are_a_warning(run: Path, snnlab: Snnlab, tmp_path: Path) -> None:
    assert "trained" not in snnlab("evaluate", str(run)).err
    changed = tmp_path / "changed"
    changed.mkdir()
    for path in run.iterdir():
        (changed / path.name).symlink_to(path)
    page = json.loads((run / "result.json").read_text())
    page["provenance"]["data_fingerprint"] = "another"
    (changed / "result.json").unlink()
    (changed / "result.json").write_text(json.dumps(page))
    out = ("--out", str(tmp_path / "out"))
    assert_text_has(snnlab("evaluate", str(changed), *out).err, "recordings", changed, "trained")


def test_early_exit_is_printed_written_and_drawn(run: Path, snnlab: Snnlab) -> None:
    folder, found = _evaluated(done := snnlab("evaluate", str(run), "--anytime", "--accuracy", "0.2"))
    assert_text_has(done.out, "answered", "threshold")
    early_exit: Any = found["anytime"]
    end = early_exit["thresholds"][-1]
    recorded = load(run)
    assert end["accuracy"] == pytest.approx(recorded.metrics["test/accuracy"])
    assert end["latency"] == pytest.approx(320)
    assert end["spikes"] == pytest.approx(recorded.metrics["test/spikes_per_sample"])
    assert early_exit["unit"] == "ms"
    assert early_exit["on_val"]["threshold"] == early_exit["on_test"]["threshold"]
    assert early_exit["on_val"]["accuracy"] >= 0.2
    assert early_exit["on_test"]["latency"] <= 320
    assert (folder / "anytime.csv").read_text().startswith("threshold,accuracy,latency_ms,early,spikes\n0.2,")
    assert (folder / "anytime.png").stat().st_size > 5000
    with np.load(folder / "predictions.npz") as arrays:
        assert np.array_equal(arrays["test_spikes_so_far"][:, -1], arrays["test_spikes"].sum(1))
        assert np.array_equal(arrays["test_confidence"], recorded.predictions["test_confidence"])


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["--accuracy", "95"], ("--accuracy", 0, 1, 95)),
        (["--accuracy", "0.9", "--split", "val"], ("--accuracy", "--split")),
        (["--anytime", "data.bin_by=count", *BY_STEPS], ("evaluate", "before")),
        (["--anytime", "control=counts_only"], ("evaluate", "first")),
    ],
)
def test_early_exit_is_refused_where_it_is_impossible(
    run: Path, snnlab: Snnlab, overrides: list[str], expected: tuple
) -> None:
    done = snnlab("evaluate", str(run), *overrides)
    assert done.status == 2
    assert_error_has(done.error, *expected)
