"""`trainer=ddp`, torchrun, SLURM: what docs/processes.md promises of several processes that train one network."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from snnlab import train
from snnlab.config.compose import compose_experiment
from snnlab.errors import ConfigError
from snnlab.files import load_arrays
from snnlab.session import Session
from snnlab.session.processes import Processes, batch_norm_note, find_processes

from ..cli import killing
from ..refusals import assert_error_has, assert_raises, assert_text_has
from .conftest import Outcome
from .test_resume import assert_same, result

ROOT = Path(__file__).parents[2]
RUN = (
    "model=mlp_lif",
    "model.layers.fc1.out_features=16",
    "data.num_bins=4",
    "data.batch_size=8",
    "data.augment=[{type: affine, shift: 2}]",
    "trainer=ddp",
    "trainer.max_epochs=2",
    "+trainer.limit_train_batches=5",
    "trainer.accelerator=cpu",
    "threads=1",
    "plots=null",
    "plugins=[tests.cli.killing]",
    "+callbacks.kill={_target_: tests.cli.killing.Kill}",
    "checkpoint_every_s=0",
)
NOISY = ("+model.layers.drop={type: dropout, p: 0.3, after: lif1}", "data.mix={type: eventmix, p: 0.5}")


@pytest.fixture(autouse=True)
def _plugins_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def trained(folder: Path, *arguments: str, place: str = "", code: int = 0, **environment: str) -> Path:
    """Train, with a kill at a place; return the run's folder."""
    log = folder.with_suffix(".log")
    ended = killing.run(["train", *RUN, f"output_dir={folder}", *arguments], log, place, **environment)
    assert ended == code, log.read_text()
    (config,) = folder.glob("*/*/config.yaml")
    return config.parent


def resumed(run: Path, *arguments: str) -> Path:
    log = run.parent / "resumed.log"
    assert killing.run(["train", f"resume={run}", *arguments], log) == 0, log.read_text()
    return run


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, digits_store: str) -> Path:
    """Return an uninterrupted run of two processes."""
    return trained(tmp_path_factory.mktemp("whole") / "run", digits_store)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory, digits_store: str) -> Path:
    """Return one with more randomness."""
    return trained(tmp_path_factory.mktemp("noisy") / "run", digits_store, *NOISY)


def test_two_processes_are_one_with_twice_the_batch(
    tmp_path: Path, digits_store: str, snnlab: Callable[..., Outcome]
) -> None:
    # In double precision: with rounding, some spikes depend on the machine. Three steps per epoch; the last one has 136
    # recordings on one rank and 135 on the other.
    double = (digits_store, "trainer.precision=64-true", "trainer.max_epochs=1")
    one = trained(tmp_path / "one", *double, "trainer=cpu", "data.batch_size=512")
    two = trained(tmp_path / "two", *double, "data.batch_size=256")
    states = [weights(run) for run in (one, two)]
    assert states[0].keys() == states[1].keys()
    for name, values in states[0].items():
        # Adam divides by the size of gradients, even of pure rounding errors: tolerate a hundredth of its step.
        assert torch.allclose(values.double(), states[1][name].double(), rtol=0, atol=1e-4), name
    metrics = [result(run)["metrics"] for run in (one, two)]
    assert metrics[1] == pytest.approx(metrics[0], rel=1e-5)
    rows = [(run / "metrics.csv").read_text().splitlines() for run in (one, two)]
    assert rows[0][0] == rows[1][0]
    numbers = [[float(number) for row in each[1:] for number in row.split(",")] for each in rows]
    assert numbers[1] == pytest.approx(numbers[0], rel=1e-5, abs=1e-9)
    predictions = [load_arrays(run / "predictions.npz") for run in (one, two)]
    assert predictions[0].keys() == predictions[1].keys()
    for name in ("val_recording", "val_target", "test_recording", "test_target"):
        assert np.array_equal(predictions[0][name], predictions[1][name])
    assert np.allclose(predictions[0]["test_readout"], predictions[1]["test_readout"], atol=1e-3)
    record = result(two)["provenance"]
    assert record["processes"] == {"number": 2, "machines": 1, "recordings_per_step": 512}
    assert record["threads"] == 1
    done = snnlab("train", f"resume={two}", "trainer.devices=1", "trainer.max_epochs=3", "plugins=[tests.cli.killing]")
    assert done.status == 2  # another number of processes is another batch
    assert_error_has(done.error, "trainer.devices", 2)


@pytest.mark.slow
def test_several_runs_of_two_processes_after_each_other(tmp_path: Path, digits_store: str, whole: Path):
    log, folder = tmp_path / "log", tmp_path / "runs"
    assert killing.run(["train", "-m", "seed=0,1", *RUN, f"output_dir={folder}", digits_store], log) == 0
    runs = sorted(path.parent for path in folder.rglob("config.yaml"))
    assert [run.name for run in runs] == ["0_0", "1_1"]
    assert len([*folder.rglob("result.json")]) == 2
    assert_same(runs[0], whole)
    assert result(runs[1])["seed"] == 1
    assert log.read_text().count("epoch 1/2") == 2
    assert log.read_text().count("starting 2 processes") == 2  # printed because the first epoch's line takes long


@pytest.mark.slow
@pytest.mark.parametrize("reference", ["whole", "noisy"])
def test_a_killed_process_ends_the_other_and_the_run_is_resumed(
    tmp_path: Path, digits_store: str, reference: str, request: pytest.FixtureRequest
):
    more = NOISY if reference == "noisy" else ()
    log, folder = tmp_path / "run.log", tmp_path / "run"
    arguments = ["train", *RUN, f"output_dir={folder}", digits_store, *more]
    ended = killing.run(arguments, log, "batch:1:2", **{killing.RANK: "1"})
    (config,) = folder.glob("*/*/config.yaml")
    run = config.parent
    assert "Traceback" not in log.read_text()
    if ended != -signal.SIGKILL:  # Lightning kills the first process if it is the first to notice
        assert ended == 2
        assert_text_has(log.read_text(), "another process", f"snnlab train resume={run}")
        assert result(run)["status"] == "failed"
    assert_same(resumed(run), request.getfixturevalue(reference))


@pytest.mark.slow
def test_a_signal_to_any_of_them_stops_all_after_a_checkpoint(tmp_path: Path, digits_store: str, noisy: Path):
    stop = {killing.RANK: "1", "place": "TERM@batch:1:2", "code": 143}
    run = trained(tmp_path / "run", digits_store, *NOISY, "checkpoint_every_s=null", **stop)  # type: ignore[arg-type]
    assert result(run)["status"] == "interrupted"
    assert_same(resumed(run, "checkpoint_every_s=0"), noisy)
    assert_text_has((run / "log.txt").read_text(), "epoch 2", "batch 3")


@pytest.mark.slow
def test_the_first_process_killed_leaves_none_of_the_others(tmp_path: Path, digits_store: str, noisy: Path):
    run = trained(tmp_path / "run", digits_store, *NOISY, place="batch:0:3", code=-9)
    assert "Traceback" not in (tmp_path / "run.log").read_text()
    assert_same(resumed(run), noisy)


def test_several_processes_are_refused_in_python(tmp_path: Path, digits_store: str):
    with assert_raises(ConfigError, "trainer.devices", "command line", "trainer.devices=1"):
        train(*RUN, f"output_dir={tmp_path}", digits_store)
    assert not [*tmp_path.iterdir()]


def outside(arguments: list[str], **environment: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, "-m", *arguments], env=env, **pipes)  # type: ignore[call-overload]


@pytest.mark.slow
def test_torchrun(tmp_path: Path, digits_store: str, whole: Path):
    snnlab = ["--no-python", sys.executable, "-m", "snnlab", "train", *RUN, f"output_dir={tmp_path}", digits_store]
    process = outside(["torch.distributed.run", "--standalone", "--nproc-per-node=2", *snnlab])
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    (folder,) = tmp_path.glob("*/*/result.json")
    assert_same(folder.parent, whole)
    assert said.count("epoch 1/2") == 1


@pytest.mark.slow
def test_slurm(tmp_path: Path, digits_store: str, whole: Path):
    tasks = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_JOB_ID": "4711"}
    where = {"MASTER_ADDR": "127.0.0.1", "SLURM_NODEID": "0"}
    arguments = ["snnlab", "train", *RUN, "trainer=slurm", f"output_dir={tmp_path}", digits_store]
    processes = [
        outside(arguments, **tasks, **where, SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank)) for rank in range(2)
    ]
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    (folder,) = tmp_path.glob("*/*/result.json")
    assert_same(folder.parent, whole)
    assert said[1] == ""


def test_batch_norm_in_several_processes_is_a_warning():
    experiment, _ = compose_experiment([*RUN, "+model.layers.norm={type: batch_norm, after: fc1}"], None)
    network = Session(experiment).built.network
    two, one = Processes(2, 2, torch.device("cpu")), Processes(1, 1, torch.device("cpu"))
    assert_text_has(batch_norm_note(two, network, 8), "8 recordings", "16 of a step")
    assert batch_norm_note(one, network, 8) is None
    assert batch_norm_note(two, network.get_submodule("fc1"), 8) is None


def test_many_more_processes_than_cores_are_refused_unless_they_run_already(monkeypatch: pytest.MonkeyPatch):
    from snnlab.session import processes

    monkeypatch.setattr(processes, "available_cpus", lambda: 2)
    few, many = (compose_experiment([*RUN, "trainer=ddp", f"trainer.devices={n}"], None)[0] for n in (8, 9))
    assert find_processes(few).world_size == 8
    with assert_raises(ConfigError, "trainer.devices", 9, 2, 8, "torchrun"):
        find_processes(many)
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "9", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert find_processes(many).world_size == 9


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("trainer.num_nodes=2", ("trainer.num_nodes", "processes")),
        ("+trainer.sync_batchnorm=true", ("trainer.sync_batchnorm", "torch")),
        ("trainer=slurm", ("trainer", "slurm", "trainer=ddp")),
    ],
)
def test_unsupported_trainer_settings_are_refused(
    snnlab: Callable[..., Outcome], workplace: Path, digits_store: str, override: str, expected: tuple
):
    done = snnlab("train", *RUN, digits_store, override)
    assert done.status == 2
    assert_error_has(done.error, *expected)
    assert not [*workplace.rglob("config.yaml")]


LONGER = {
    "ema": ("weight_averaging={type: ema, decay: 0.9}",),
    "swa": ("weight_averaging={type: swa, start: 0.5}",),
    "windows": ("data.num_bins=8", "tbptt_steps=3"),
    "both": ("data.num_bins=8", "tbptt_steps=3", "weight_averaging={type: ema, decay: 0.9}", "checkpoint_segments=2"),
}


@pytest.mark.slow
@pytest.mark.parametrize("more", LONGER.values(), ids=LONGER)
def test_averages_and_windows_are_those_of_one_process(tmp_path: Path, digits_store: str, more: tuple[str, ...]):
    # SGD: its steps are proportional to the gradients, while Adam enlarges pure rounding errors.
    more = ("optimizer=sgd", *more)
    two = trained(tmp_path / "two", digits_store, *more)
    one = trained(tmp_path / "one", digits_store, "trainer=cpu", "data.batch_size=16", *more)
    states = [weights(run) for run in (one, two)]
    assert states[0].keys() == states[1].keys()
    for name, values in states[0].items():
        assert torch.allclose(values.double(), states[1][name].double(), rtol=0, atol=1e-6), name
    metrics = [result(run)["metrics"] for run in (one, two)]
    assert metrics[1] == pytest.approx(metrics[0], rel=1e-5)
