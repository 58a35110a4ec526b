"""Tasks as jobs of submitit: its local executor runs each as a process."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("submitit")

from submitit.core.utils import UncompletedJobError

from snnlab.errors import ConfigError
from snnlab.experiments.session.trial import train_task
from snnlab.experiments.workers import JobCall, RunTask, SubmititWorker, _submitit_executor

from ..refusals import assert_raises

NAMES = ("sweep.engine", "sweep.submitit", "here")
# What jobs call, as a module that they can import.
TASKS = '''
import os, signal, time
from pathlib import Path


def preempted_once(folder):
    """End in the way of a job whose time is over; the second call of the job returns."""
    begun = Path(folder) / "begun"
    if begun.exists():
        return "continued", os.environ["SUBMITIT_LOCAL_JOB_ID"]
    begun.write_text(os.environ["SUBMITIT_LOCAL_JOB_ID"])
    os.kill(os.getpid(), signal.SIGUSR2)
    time.sleep(60)


def until_stopped(folder):
    """Return at SIGTERM, as a training does."""
    received = []
    signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    (Path(folder) / "begun").write_text(str(os.getpid()))
    while not received:
        time.sleep(0.05)
    return "interrupted"
'''


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[SubmititWorker]:
    made = SubmititWorker(_submitit_executor(tmp_path / "jobs", {"cluster": "local"}, NAMES), local=True)
    yield made
    made.close()


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "tasks_of_jobs.py").write_text(TASKS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.syspath_prepend(str(tmp_path))
    import tasks_of_jobs  # pyright: ignore[reportMissingImports]

    return tasks_of_jobs


def wait_until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_each_task_is_a_job_of_its_own(worker: SubmititWorker, tmp_path: Path) -> None:
    assert worker.submit(os.path.join, "a", "b").result(60) == "a/b"
    assert worker.submit(max, 1, 2).result(60) == 2
    assert len([path for path in (tmp_path / "jobs").iterdir() if path.name.isdigit()]) == 2


@pytest.mark.long
def test_a_job_whose_time_is_over_is_put_into_the_queue_again(
    worker: SubmititWorker, tasks: Any, tmp_path: Path
) -> None:
    said, job = worker.submit(tasks.preempted_once, str(tmp_path)).result(60)
    assert (said, job) == ("continued", (tmp_path / "begun").read_text())


@pytest.mark.slow
def test_a_preempted_training_continues_from_its_checkpoint(worker: SubmititWorker, tmp_path: Path) -> None:
    short = (
        "model=mlp_lif",
        "data.num_bins=4",
        "data.batch_size=8",
        "trainer.accelerator=cpu",
        "trainer.max_epochs=2",
        "plots=null",
    )
    task = RunTask(str(tmp_path / "run"), [*short, "checkpoint_every_s=0"], None, str(tmp_path))
    future = worker.submit(train_task, task)
    wait_until(lambda: future.done() or (tmp_path / "run" / "checkpoints" / "last.ckpt").exists())
    (controller,) = (path.name for path in (tmp_path / "jobs").iterdir() if path.name.isdigit())
    children = Path(f"/proc/{controller}/task/{controller}/children")
    if not children.is_file():
        pytest.skip("the processes of a process are not listed here")
    os.kill(int(children.read_text().split()[0]), signal.SIGUSR2)
    assert future.result(120)["status"] == "completed"
    (entry,) = json.loads((tmp_path / "run" / "result.json").read_text())["resumed"]
    assert (entry["epoch"], entry["batch"]) > (0, 0)


def test_a_job_that_is_stopped_may_end_at_a_checkpoint(worker: SubmititWorker, tasks: Any, tmp_path: Path) -> None:
    future = worker.submit(tasks.until_stopped, str(tmp_path))
    wait_until((tmp_path / "begun").exists)
    worker.stop()
    assert future.result(60) == "interrupted"


@pytest.mark.long
@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN])
def test_a_job_that_is_closed_leaves_no_process(
    worker: SubmititWorker, tasks: Any, tmp_path: Path, handler: Any
) -> None:
    before = signal.signal(signal.SIGINT, handler)
    worker.submit(tasks.until_stopped, str(tmp_path))
    signal.signal(signal.SIGINT, before)
    wait_until(lambda: (tmp_path / "begun").exists() and (tmp_path / "begun").read_text())
    process = Path("/proc") / (tmp_path / "begun").read_text()
    if not process.parent.is_dir():
        pytest.skip("there is no /proc here")
    worker.close()
    wait_until(lambda: not process.exists())


def test_a_job_without_a_result_is_a_lost_worker(tmp_path: Path) -> None:
    def result() -> None:
        raise UncompletedJobError("killed")

    job = SimpleNamespace(done=lambda: True, result=result, paths=SimpleNamespace(folder=tmp_path / "17"))
    worker = SubmititWorker(SimpleNamespace(submit=lambda *_: job), local=False)
    with assert_raises(BrokenExecutor, tmp_path / "17"):
        worker.submit(max, 1, 2).result(10)


def test_slurm_removes_a_job_that_is_stopped_or_closed() -> None:
    cancelled: list[str] = []
    job = SimpleNamespace(done=lambda: False, cancel=lambda check: cancelled.append("scancel"))
    worker = SubmititWorker(SimpleNamespace(submit=lambda *_: job), local=False)
    future = worker.submit(max, 1, 2)
    worker.stop()
    worker.close()
    assert cancelled == ["scancel", "scancel"]
    with pytest.raises(BrokenExecutor):
        future.result(10)


def test_the_same_call_is_submitted_again() -> None:
    again = JobCall().checkpoint(max, 1, 2)
    assert isinstance(again.function, JobCall)
    assert again.args == (max, 1, 2)


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"cluster": "debug"}, "sweep.submitit.cluster"),
        ({"cluster": "slrum"}, "sweep.submitit"),
        ({"cluster": "local", "timeout": 3}, "sweep.submitit"),
    ],
)
def test_settings_that_submitit_refuses_are_named(settings: dict[str, Any], place: str, tmp_path: Path) -> None:
    with assert_raises(ConfigError, place):
        _submitit_executor(tmp_path / "jobs", settings, NAMES)
