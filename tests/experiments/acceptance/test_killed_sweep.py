"""A search that is killed, interrupted or moved. What a search does: test_sweep.py."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from snnlab import files
from snnlab.experiments import workers, workers as task
from snnlab.experiments.session import trial
from snnlab.runs.run_folder import locked

from ...refusals import assert_error_has, assert_text_has
from .conftest import Outcome
from .test_sweep import NET

Snnlab = Callable[..., Outcome]

SEARCH = ("sweep.space={optimizer.lr: {low: 0.001, high: 0.1, log: true}}", "sweep.trials=4", "sweep.finalists=0")
QUICK = (*NET, *SEARCH, "sweep.test_seeds=0", "sweep.engine=here")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"data.store_dir={tmp_path_factory.mktemp('patterns')}"


def folder_of(out: str) -> Path:
    return Path(out.splitlines()[-1])


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    url = f"sqlite:///{folder / 'study.db'}"
    return optuna.load_study(study_name=folder.name, storage=url).get_trials()


def finished_at(folder: Path) -> dict[int, Any]:
    """Return the end time and the values of each complete trial."""
    done = [trial for trial in trials(folder) if trial.state.name == "COMPLETE"]
    return {trial.number: (trial.datetime_complete, trial.values) for trial in done}


@pytest.mark.long
def test_a_full_disk_ends_it_with_a_line_and_it_can_be_resumed(
    workplace: Path, store: str, snnlab: Snnlab, monkeypatch: pytest.MonkeyPatch
):
    def fsync(number: int) -> None:
        if list(workplace.glob("outputs/*/*_sweep/trials/001")):  # the first trial is complete
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(files.os, "fsync", fsync)
        first = snnlab("sweep", *QUICK, "sweep.trials=2", store)
    assert first.status == 2, first.out
    assert_error_has(first.error, "", "device")
    assert "Traceback" not in first.err
    folder = sweep_folder(workplace)
    assert_text_has(first.err.splitlines()[-1], f"snnlab sweep resume={folder.relative_to(workplace)}")
    before = finished_at(folder)
    assert len(before) == 1
    done = snnlab("sweep", f"resume={folder}")
    assert done.status == 0, done.err
    after = finished_at(folder)
    assert (len(after), {number: after[number] for number in before}) == (2, before)


def test_gpus_are_shared_at_first_and_when_resumed(
    workplace: Path, store: str, snnlab: Snnlab, monkeypatch: pytest.MonkeyPatch
):
    given: list[list[str]] = []

    def train(one: task.RunTask) -> task.Outcome:
        given.append([text for text in one.overrides if text.startswith("trainer.devices")])
        figures = {"val/loss": 1.0}
        return task.Outcome(status="completed", error=None, metrics=figures, fit_s=0, wall_s=0, epochs=1, val_size=8)

    monkeypatch.setattr(workers, "ProcessWorker", lambda threads: workers.InProcessWorker())
    monkeypatch.setattr(trial, "number_of_gpus", lambda: 4)
    monkeypatch.setattr(trial, "train_task", train)
    first = snnlab("sweep", *NET[:-1], *SEARCH, "sweep.trials=1", "sweep.test_seeds=0", store)
    assert first.status == 0, first.err
    done = snnlab("sweep", f"resume={folder_of(first.out)}", "sweep.trials=2")
    assert done.status == 0, done.err
    assert given == [["trainer.devices=[0]"]] * 2


@pytest.mark.long
def test_a_search_continues_after_its_working_folder_was_moved(
    workplace: Path, store: str, snnlab: Snnlab, monkeypatch: pytest.MonkeyPatch
):
    (workplace / "before").mkdir()
    monkeypatch.chdir(workplace / "before")
    first = snnlab("sweep", *QUICK, "sweep.trials=1", f"output_dir={workplace / 'runs'}", store)
    assert first.status == 0, first.err
    monkeypatch.chdir(workplace)
    (workplace / "before").rename(workplace / "after")
    done = snnlab("sweep", f"resume={folder_of(first.out)}", "sweep.trials=2")
    assert done.status == 0, done.err
    assert [row["state"] for row in rows(folder_of(done.out))] == ["complete"] * 2


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "snnlab", "sweep", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def sweep_folder(workplace: Path) -> Path:
    return wait_until(lambda: next(iter(workplace.glob("outputs/*/*_sweep")), None), 120)


def wait_until(found: Callable[[], Any], seconds: float) -> Any:
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return value


def number_finished(folder: Path) -> int:
    return len(list(folder.glob("trials/*/result.json")))


@pytest.mark.slow
@pytest.mark.parametrize("whole", [True, False], ids=["with_its_workers", "alone"])
def test_killed_twice_and_resumed_it_ends_with_all_trials_and_none_twice(
    workplace: Path, store: str, snnlab: Snnlab, whole: bool
):
    """The main process is killed with SIGKILL in the middle of trials, with its workers or without them."""
    arguments = (*NET, *SEARCH, "sweep.trials=5", "sweep.test_seeds=0", "threads=1", "checkpoint_every_s=0", store)
    finished: dict[int, Any] = {}
    for more in (1, 2):
        resumes = [f"resume={sweep_folder(workplace)}"] if finished or more > 1 else arguments
        with started(*resumes) as process:
            folder = sweep_folder(workplace)
            wait_until(lambda: number_finished(folder) >= more and _running(folder), 120)  # noqa: B023
            if whole:
                os.killpg(process.pid, signal.SIGKILL)  # the session's group: main process and workers
            else:
                process.kill()
            process.communicate()
        finished |= finished_at(folder)
    done = snnlab("sweep", f"resume={folder}")
    assert done.status == 0, done.err
    after = finished_at(folder)
    assert len(after) == 5
    assert len(trials(folder)) <= 5 + 2  # at most one each time was killed while it was proposed
    assert {number: after[number] for number in finished} == finished
    assert "continues" in done.err


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["joblib", "submitit", "ray"])
def test_twenty_trials_on_digits_are_killed_twice_and_end_with_a_pareto_plot(
    workplace: Path, snnlab: Snnlab, engine: str
):
    pytest.importorskip(engine)
    sizes = ("sweep.trials=20", "sweep.finalists=2", "sweep.finalist_seeds=1", "sweep.test_seeds=1")
    net = ("model=mlp_lif", "model.layers.fc1.out_features=32", "data.num_bins=8", "trainer.max_epochs=2", "threads=1")
    where = (f"sweep.engine={engine}", *(["sweep.submitit.cluster=local"] if engine == "submitit" else []))
    finished: dict[int, Any] = {}
    for more in (4, 10):
        resumes = [f"resume={sweep_folder(workplace)}"] if finished else ["sweep=pareto", *net, *sizes, *where]
        with started(*resumes) as process:
            folder = sweep_folder(workplace)
            wait_until(lambda: number_finished(folder) >= more, 600)  # noqa: B023
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        finished |= finished_at(folder)
    folder = sweep_folder(workplace)
    done = snnlab("sweep", f"resume={folder}")
    assert done.status == 0, done.err
    after = finished_at(folder)
    assert len(after) == 20
    assert {number: after[number] for number in finished} == finished
    assert (folder / "plots" / "pareto.png").stat().st_size > 10_000
    overhead = json.loads((folder / "search.json").read_text())["overhead_s"]
    print(f"{engine}: a trial took {overhead:.2f} s beyond its training (median)")


def _running(folder: Path) -> bool:
    return any(
        not (path.parent / "result.json").exists() and (path.parent / "metrics.csv").exists()
        for path in folder.glob("trials/*/config.yaml")
    )


def test_a_second_command_on_the_same_folder_is_refused(workplace: Path, store: str, snnlab: Snnlab):
    first = snnlab("sweep", *QUICK, "sweep.trials=1", store)
    assert first.status == 0, first.err
    folder = folder_of(first.out)
    with locked(folder):
        done = snnlab("sweep", f"resume={folder}", "sweep.trials=2")
    assert done.status == 2
    assert_error_has(done.error, folder, "another process")
    assert json.loads((folder / "search.json").read_text())["trials"]["finished"] == 1


@pytest.mark.parametrize(
    "engine", [pytest.param("here", marks=pytest.mark.long), pytest.param("joblib", marks=pytest.mark.slow)]
)
def test_ctrl_c_ends_it_with_a_line_that_says_how_to_continue(workplace: Path, store: str, snnlab: Snnlab, engine: str):
    arguments = (*NET, *SEARCH, "trainer.max_epochs=100000", "threads=1", f"sweep.engine={engine}", store)
    with started(*arguments) as process:
        folder = sweep_folder(workplace)
        wait_until(lambda: _running(folder), 120)
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert_text_has(err, "0 of 4 trials")
    assert_text_has(err.splitlines()[-1], f"snnlab sweep resume={folder.relative_to(workplace)}")
    assert {trial.state.name for trial in trials(folder)} == {"RUNNING"}


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_no_trial(workplace: Path, store: str):
    arguments = (*NET, *SEARCH, "sweep.trials=3", "sweep.test_seeds=0", "trainer.max_epochs=30", "threads=1", store)
    with started(*arguments) as process:
        folder = sweep_folder(workplace)
        wait_until(lambda: _running(folder), 120)
        listed = subprocess.run(
            ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(process.pid)], capture_output=True, text=True
        )
        workers = [line.split()[0] for line in listed.stdout.splitlines() if "popen_loky" in line]
        os.kill(int(workers[0]), signal.SIGKILL)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert [row["state"] for row in rows(folder_of(out))] == ["complete"] * 3
