"""`snnlab train resume=RUN`: what docs/runs.md and docs/reproducibility.md promise of a run that was killed."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnlab import load, train
from snnlab.cli.report import write_report
from snnlab.files import load_arrays
from snnlab.kernels import function
from snnlab.runs.run_folder import locked

from ..cli import killing
from ..refusals import assert_error_has, assert_text_has
from .conftest import FAST, Outcome

# Each kind of randomness, and a short training.
RUN = (
    "train",
    "model=mlp_lif",
    "model.layers.fc1.out_features=16",
    "model.noise=0.1",
    "+model.layers.drop={type: dropout, p: 0.3, after: lif1}",
    "data.num_bins=4",
    "data.batch_size=8",
    "data.augment=[{type: affine, shift: 2}]",
    "data.mix={type: eventmix, p: 0.5}",
    "trainer.max_epochs=3",
    "+trainer.limit_train_batches=6",
    "+trainer.limit_val_batches=2",
    "+trainer.limit_test_batches=2",
    "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1",
    "threads=1",
    "plots=null",
    "plugins=[tests.cli.killing]",
    "+callbacks.kill={_target_: tests.cli.killing.Kill}",
    "checkpoint_every_s=0",
)
BATCHES, EPOCHS = 6, 3
# A copied run needs its plugins named again.
NAMED = "plugins=[tests.cli.killing]"


def trained(
    folder: Path,
    arguments: tuple[str, ...],
    place: str = "",
    code: int | None = None,
    env: dict[str, str] | None = None,
) -> Path:
    """Train, with a kill at a place; return the run's folder."""
    ended = killing.run([*RUN, f"output_dir={folder}", *arguments], folder.with_suffix(".log"), place, **env or {})
    assert ended == ((-9 if place else 0) if code is None else code), folder.with_suffix(".log").read_text()
    (config,) = folder.glob("*/*/config.yaml")
    return config.parent


def resumed(run: Path, *arguments: str, place: str = "") -> Path:
    log = run.parent / "resumed.log"
    code = killing.run(["train", f"resume={run}", *arguments], log, place)
    assert code == (-9 if place else 0), log.read_text()
    return run


def result(run: Path) -> dict[str, Any]:
    return json.loads((run / "result.json").read_text())


def assert_same(one: Path, other: Path) -> None:
    """Compare weights, metrics and predictions of two runs."""
    assert (one / "metrics.csv").read_text() == (other / "metrics.csv").read_text()
    for name in ("best", "last"):
        states = [torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True) for run in (one, other)]
        weights = [state["state_dict"] for state in states]
        assert weights[0].keys() == weights[1].keys()
        assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0]), name
        assert states[0]["epoch"] == states[1]["epoch"]
    predictions = [load_arrays(run / "predictions.npz") for run in (one, other)]
    assert predictions[0].keys() == predictions[1].keys()
    assert all(np.array_equal(predictions[0][key], predictions[1][key]) for key in predictions[0])
    assert result(one)["metrics"] == result(other)["metrics"]
    assert result(one)["selection"] == result(other)["selection"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, digits_store: str) -> Path:
    """Return an uninterrupted run."""
    return trained(tmp_path_factory.mktemp("whole") / "run", (digits_store,))


PLACES = {
    "the first batch": "batch:0:0",
    "the last batch of an epoch": f"batch:1:{BATCHES - 1}",
    "between two epochs": "start:1",
    "a validation": "validation:1",
    "the end of an epoch": "end:1",
    "the end of the last epoch": f"end:{EPOCHS - 1}",
    "the end of the training": "over",
    "saving": "saving:12",
    **{f"a batch at random ({n})": f"batch:{n}:{random.Random(n).randrange(BATCHES)}" for n in range(EPOCHS)},
}
USUAL = ("a batch at random (1)", 2)  # with processes that read; the others run in make slow
KILLS = [
    pytest.param(place, workers, id=f"{name}-{workers}", marks=[] if (name, workers) == USUAL else [pytest.mark.slow])
    for name, place in PLACES.items()
    for workers in (0, 2)
]


@pytest.mark.parametrize(("place", "workers"), KILLS)
def test_killed_at(tmp_path: Path, digits_store: str, whole: Path, place: str, workers: int):
    run = trained(tmp_path / "run", (digits_store, f"data.num_workers={workers}"), place)
    assert_same(resumed(run), whole)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_again_and_again(tmp_path: Path, digits_store: str, whole: Path, workers: int):
    """Ten runs, each killed twice at random."""
    for number in range(10):
        rng = random.Random(100 * workers + number)
        first, second = sorted(rng.sample(range(EPOCHS * BATCHES), 2))
        places = [f"batch:{at // BATCHES}:{at % BATCHES}" for at in (first, second)]
        if number % 3 == 0:
            # The first files are the signature and the configuration; without them there is no run to resume.
            places[0] = f"saving:{rng.randrange(4, 30)}"
        run = trained(tmp_path / f"run{number}", (digits_store, f"data.num_workers={workers}"), places[0])
        killing.run(["train", f"resume={run}"], run.parent / "resumed.log", places[1])
        assert_same(resumed(run), whole)


VARIANTS = {
    "monitors": ("monitors.every_steps=4", "logger=[tensorboard,csv]"),
    "plateau": ("scheduler=plateau", "scheduler.patience=0", "scheduler.factor=0.1"),
    "a_schedule_of_steps": ("+scheduler.interval=step", "scheduler.T_max=20", "optimizer=rmsprop"),
    "gradients_of_two_batches": ("+trainer.accumulate_grad_batches=2", "+scheduler.interval=step"),
    "a_warm_up_and_groups": (
        "scheduler=warmup_cosine",
        "scheduler.warmup=0.3",
        "optimizer=adamw",
        "neuron.learn=[tau_mem]",
        "optimizer.groups.time_constants={lr: 0.1}",
    ),
    "an_average_of_each_step": ("weight_averaging={type: ema, decay: 0.9}",),
    "an_average_of_epochs": ("weight_averaging={type: swa, start: 0.3}", "selection=last"),
    "windows_annealing_and_a_frozen_layer": (
        "tbptt_steps=3",
        "surrogate_annealing={start: 4.0, epochs: 3}",
        "freeze=[fc1, norm1]",
        "+model.layers.norm1={type: batch_norm, after: fc1}",
    ),
    "training_and_validation_recordings": ("fit_on=train_and_val", "selection=last"),
    "validation_within_the_epoch": ("+trainer.val_check_interval=0.5",),
    "validation_each_other_epoch": ("+trainer.check_val_every_n_epoch=2",),
    "early_stopping": (
        "callbacks=early_stopping",
        "callbacks.early_stopping.patience=1",
        "+callbacks.early_stopping.min_delta=100",
    ),
    "steps": ("+trainer.max_steps=15", "selection=last"),
    "without_validation": ("data.val_fraction=0",),
    "means_of_weights": ("learning=fptt", "loss=tet"),
    "feedback_that_changes": ("learning={type: eprop, feedback: adaptive}", "loss=tet"),
}


@pytest.mark.slow  # nearly always they fail together with `test_killed_at`
@pytest.mark.parametrize("name", VARIANTS)
def test_killed_with(tmp_path: Path, digits_store: str, name: str):
    stops_early = name == "early_stopping"
    places = [f"batch:1:{random.Random(name).randrange(BATCHES)}", "over" if stops_early else "end:0"]
    runs = [trained(tmp_path / f"run{place}", (digits_store, *VARIANTS[name]), place) for place in ("", *places)]
    assert (result(runs[0])["selection"]["epochs"] < EPOCHS) == (stops_early)
    for run in runs[1:]:
        assert_same(resumed(run), runs[0])


@pytest.mark.parametrize("name", ["INT", pytest.param("TERM", marks=pytest.mark.slow)])
def test_a_run_stopped_by_a_signal_resumes_with_the_next_batch(
    tmp_path: Path, digits_store: str, whole: Path, name: str
):
    status = {"INT": 130, "TERM": 143}[name]
    run = trained(tmp_path / "run", (digits_store, "checkpoint_every_s=null"), f"{name}@batch:1:2", status)
    assert result(run)["status"] == "interrupted"
    assert_text_has((tmp_path / "run.log").read_text(), f"snnlab train resume={run}")
    resumed(run, "checkpoint_every_s=0")
    assert_text_has((run / "log.txt").read_text(), "epoch 2", "batch 4", "checkpoint_every_s None -> 0")
    assert_same(run, whole)
    (entry,) = result(run)["resumed"]
    assert (entry["epoch"], entry["batch"]) == (1, 3)


@pytest.mark.long
def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, digits_store: str, whole: Path):
    run = trained(tmp_path / "run", (digits_store,), "full:12", 2)
    log = (tmp_path / "run.log").read_text()
    assert_text_has(log, "space", "incomplete: snnlab train resume=")
    assert "Traceback" not in log
    assert_same(resumed(run), whole)


@pytest.mark.slow
def test_a_requeued_slurm_job_resumes_its_run(tmp_path: Path, digits_store: str, whole: Path):
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f"#!/bin/sh\necho $@ >> {tmp_path}/asked\n")
    scontrol.chmod(0o755)
    environment = {"PATH": f"{scontrol.parent}:/usr/bin:/bin", "SLURM_JOB_ID": "17"}
    again = {**environment, "SLURM_RESTART_COUNT": "1"}
    run = trained(tmp_path / "run", (digits_store,), "USR1@batch:1:2", code=138, env=environment)
    assert (tmp_path / "asked").read_text() == "requeue 17\n"
    assert trained(tmp_path / "run", (digits_store,), env=again) == run
    assert_same(run, whole)
    assert trained(tmp_path / "run", (digits_store,), env=again) == run
    assert_text_has((tmp_path / "run.log").read_text(), "complete")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, digits_store: str) -> Path:
    """Return a run that was killed in its second epoch."""
    return trained(tmp_path_factory.mktemp("stopped") / "run", (digits_store,), "batch:1:3")


@pytest.fixture
def copy(tmp_path: Path, stopped: Path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "copy"))


@pytest.mark.slow
def test_tensorboard_shows_each_step_once(copy: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    resumed(copy, NAMED)
    events = EventAccumulator(str(copy / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss_step")] == list(range(EPOCHS * BATCHES))
    assert [event.step for event in events.Scalars("val/loss")] == [BATCHES * n - 1 for n in range(1, EPOCHS + 1)]


def test_a_complete_run_is_shown_again_at_once(snnlab: Callable[..., Outcome], whole: Path):
    before = (whole / "result.json").stat().st_mtime_ns
    done = snnlab("train", f"resume={whole}", "trainer.max_epochs=3")
    assert done.status == 0
    assert done.out.splitlines()[-1] == str(whole)
    assert re.search(rf"^{whole} .*\bcomplete\b", done.err, re.MULTILINE)
    assert (whole / "result.json").stat().st_mtime_ns == before


@pytest.mark.long
def test_a_complete_run_is_trained_for_longer_along_the_longer_schedule(
    tmp_path: Path, digits_store: str, whole: Path, snnlab: Callable[..., Outcome]
):
    run = Path(shutil.copytree(whole, tmp_path / "copy"))
    resumed(run, NAMED, "trainer.max_epochs=5")
    longer = trained(tmp_path / "longer", (digits_store, "trainer.max_epochs=5"))
    rates = [load(of).epochs["lr"] for of in (run, longer)]
    assert np.array_equal(rates[0][3:], rates[1][3:])
    assert (run / "config_before_1.yaml").read_text() == (whole / "config.yaml").read_text()
    assert (run / "config.yaml").read_text() != (whole / "config.yaml").read_text()
    assert (run / "result_before_1.json").read_text() == (whole / "result.json").read_text()
    assert result(run)["resumed"][-1]["changed"] == {"trainer.max_epochs": [3, 5]}
    assert result(run)["selection"]["epochs"] == 5
    assert_error_has(snnlab("reproduce", str(run)).error, run, 3, 5)


@pytest.mark.long
def test_a_schedule_of_the_whole_run_becomes_longer_with_it(tmp_path: Path, digits_store: str):
    run = trained(tmp_path / "run", (digits_store, "scheduler=warmup_cosine"))
    resumed(run, "trainer.max_epochs=5")
    longer = trained(tmp_path / "longer", (digits_store, "scheduler=warmup_cosine", "trainer.max_epochs=5"))
    assert np.array_equal(load(run).epochs["lr"][3:], load(longer).epochs["lr"][3:])


@pytest.mark.slow
def test_a_longer_run_that_is_killed_before_its_first_batch_is_a_longer_run(tmp_path: Path, digits_store: str):
    given = (digits_store, "scheduler=warmup_cosine", "weight_averaging={type: swa, start: 0.5}")
    run = trained(tmp_path / "run", (*given, "trainer.max_epochs=1"))
    resumed(run, "trainer.max_epochs=3", place="setup")
    resumed(run)
    assert_text_has((run / "log.txt").read_text(), "epoch 2", "batch 1")
    longer = trained(tmp_path / "longer", (*given, "trainer.max_epochs=3"))
    assert np.array_equal(load(run).epochs["lr"][1:], load(longer).epochs["lr"][1:])
    states = [torch.load(of / "checkpoints" / "last.ckpt", weights_only=True) for of in (run, longer)]
    assert [state["callbacks"]["average"]["updates"] for state in states] == [2, 2]


@pytest.mark.long
def test_an_average_of_the_last_part_of_a_run_is_that_of_the_longer_one(tmp_path: Path, digits_store: str):
    given = (
        *FAST,
        digits_store,
        "weight_averaging={type: swa, start: 0.5}",
        "scheduler=none",
        "selection=last",
    )
    run = train(*given, f"output_dir={tmp_path / 'run'}", "trainer.max_epochs=2").folder
    train(f"resume={run}", "trainer.max_epochs=6")
    longer = train(*given, f"output_dir={tmp_path / 'longer'}", "trainer.max_epochs=6").folder
    assert_same(run, longer)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.batch_size=16", ("data.batch_size", 8, "trainer.max_epochs")),
        ("optimizer.lr=1", ("optimizer.lr", "resumed")),
        ("loss.readout=max", ("loss.readout",)),
        ("trainer.max_epochs=1", ("trainer.max_epochs", 2)),
        ("trainer.max_epochs=a", ("trainer.max_epochs", "expected")),
        ("resume=elsewhere", ("resume", "folder")),
        ("-m", ("train resume=RUN: -m",)),
    ],
)
def test_what_cannot_change_is_refused_by_name(
    snnlab: Callable[..., Outcome], stopped: Path, override: str, expected: tuple
):
    done = snnlab("train", f"resume={stopped}", override)
    assert done.status == 2
    assert_error_has(done.error, *expected)


def test_a_misspelled_resume_and_a_file_of_a_run_are_explained(snnlab: Callable[..., Outcome], stopped: Path):
    done = snnlab("train", f"resum={stopped}")
    assert done.status == 2
    assert_error_has(done.error, "", "resum", "resume")
    done = snnlab("train", f"resume={stopped / 'config.yaml'}")
    assert (done.status, done.out) == (2, "")
    assert_text_has(done.err, "file", stopped)


def test_nothing_is_resumed_from_a_folder_that_is_no_run(snnlab: Callable[..., Outcome], tmp_path: Path):
    done = snnlab("train", f"resume={tmp_path}")
    assert (done.status, done.out) == (2, "")
    assert_text_has(done.err, tmp_path, "config.yaml")


def test_the_state_of_a_missing_callback_is_an_error(snnlab: Callable[..., Outcome], copy: Path):
    last = copy / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    checkpoint["callbacks"]["StochasticWeightAveraging"] = {"n_averaged": 3}
    torch.save(checkpoint, last)
    before = {path: path.read_bytes() for path in copy.glob("*.json")}
    done = snnlab("train", f"resume={copy}", NAMED)
    assert done.status == 2
    assert_error_has(done.error, last, "StochasticWeightAveraging")
    assert {path: path.read_bytes() for path in copy.glob("*.json")} == before


class Harm:
    """An object that runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("harm"),)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


def one_byte_changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def of_another_program(path: Path) -> None:
    torch.save({"state_dict": {}}, path)


def a_strangers(path: Path) -> None:
    torch.save({"state_dict": Harm()}, path)


def of_another_configuration(path: Path) -> None:
    config = path.parent.parent / "config.yaml"
    config.write_text(config.read_text().replace("seed: 0", "seed: 1"))


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (truncated, ("copy/checkpoints/last.ckpt", "read")),
        (one_byte_changed, ("copy/checkpoints/last.ckpt", "damaged")),
        (of_another_program, ("copy/checkpoints/last.ckpt", "version")),
        (a_strangers, ("copy/checkpoints/last.ckpt", "loaded")),
        (of_another_configuration, ("copy", "checkpoint")),
    ],
)
def test_a_bad_checkpoint_is_refused(
    snnlab: Callable[..., Outcome], workplace: Path, copy: Path, harm: Callable[[Path], None], expected: tuple
):
    harm(copy / "checkpoints" / "last.ckpt")
    done = snnlab("train", f"resume={copy}", NAMED)
    assert done.status == 2
    assert_error_has(done.error, *expected)
    assert "Traceback" not in done.err
    assert not Path("harm").exists()


def test_other_recordings_are_refused(snnlab: Callable[..., Outcome], copy: Path):
    path = copy / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    content["snnlab"]["data_fingerprint"] = "another"
    torch.save(content, path)
    done = snnlab("train", f"resume={copy}", NAMED)
    assert done.status == 2
    assert_error_has(done.error, "", "data")


def test_a_run_that_is_training_is_not_resumed(snnlab: Callable[..., Outcome], stopped: Path):
    with locked(stopped):  # as the process that trains it does
        done = snnlab("train", f"resume={stopped}")
    assert done.status == 2
    assert_error_has(done.error, stopped, "process")


@pytest.mark.slow
def test_the_record_of_a_search_survives_a_resumed_run(tmp_path: Path, digits_store: str):
    run = trained(tmp_path / "run", (digits_store, "trainer.max_epochs=1"))
    search = {"trials": 20, "chosen_by": "val/loss, one seed", "val_size": 100, "seeds": []}
    (run / "result.json").write_text(json.dumps({**result(run), "search": search}))
    resumed(run, "trainer.max_epochs=3", place="batch:1:1")
    assert not (run / "result.json").exists()
    resumed(run)
    assert result(run)["search"] == search


def test_a_run_resumed_with_other_kernels_warns_once_and_records_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, snnlab: Callable[..., Outcome], digits_store: str
):
    began = function.KERNEL_VERSION
    run = train(*FAST, digits_store, f"output_dir={tmp_path}").folder
    for version, epochs in ((began, 2), (began + 1, 3), (began + 1, 4)):
        monkeypatch.setattr(function, "KERNEL_VERSION", version)
        done = snnlab("train", f"resume={run}", f"trainer.max_epochs={epochs}")
        assert done.status == 0
        said = [line for line in done.err.splitlines() if line.startswith("kernels: ")]
        assert len(said) == (epochs == 3)
        assert result(run)["provenance"]["numerics"]["kernels"] == version
    assert [entry.get("kernels") for entry in result(run)["resumed"]] == [None, [began, began + 1], None]
    assert_text_has(write_report(run).read_text(), "epoch 3", "kernels")
