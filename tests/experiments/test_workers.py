"""Workers that run many tasks; a job of a queue is a thread here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import BrokenExecutor, Future
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from snnlab.errors import ConfigError
from snnlab.experiments import workers
from snnlab.experiments.workers import InProcessWorker, ProcessWorker, SubmititWorker, TaskServer, worker_factory

from ..refusals import assert_raises


class Queue:
    """A queue of submitit's whose jobs are threads."""

    def submit(self, function: TaskServer, folder: str) -> Any:
        self.thread = threading.Thread(target=function, args=(folder,))
        self.thread.start()
        return self

    def done(self) -> bool:
        return not self.thread.is_alive()

    def result(self) -> None:
        self.thread.join(10)


def value(future: Future[Any]) -> Any:
    return future.result(30)


def test_this_process_does_it_at_once():
    assert value(InProcessWorker().submit(max, 1, 2)) == 2


@pytest.mark.parametrize("engine", ["joblib", "submitit", "ray"])
def test_a_missing_package_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str):
    monkeypatch.setitem(sys.modules, engine, None)
    given = ("sweep.engine", "sweep.submitit", "here")
    where: Any = SimpleNamespace(engine=engine, slots=1, submitit=None, setting_names=given)
    with assert_raises(ConfigError, "sweep.engine", engine, "pip install"), worker_factory(where, tmp_path):
        pass


def test_a_job_does_one_task_after_another_until_it_is_over(tmp_path: Path):
    queue = Queue()
    job = SubmititWorker(queue, tmp_path, local=True)
    assert value(job.submit(os.path.join, "a", "b")) == "a/b"
    assert value(job.submit(max, 1, 2)) == 2
    job.close()
    assert queue.done()


def test_a_requeued_job_continues_with_the_remaining_tasks(tmp_path: Path):
    queue = Queue()
    job = SubmititWorker(queue, tmp_path, local=True)
    value(job.submit(max, 1, 2))
    job.stop()
    queue.thread.join(10)
    (folder,) = tmp_path.iterdir()
    (folder / "over").unlink()
    (folder / "1.done").write_bytes(b"not to be touched")
    (folder / "2.task").write_bytes((folder / "1.task").read_bytes())
    queue.submit(TaskServer(), str(folder))
    end = time.monotonic() + 10
    while not (folder / "2.done").exists():
        assert time.monotonic() < end
    job.close()
    assert (folder / "1.done").read_bytes() == b"not to be touched"


def test_a_job_without_a_heartbeat_ends_and_takes_no_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(workers, "_HEARTBEAT_TIMEOUT_S", 0.2)
    queue = Queue()
    job = SubmititWorker(queue, tmp_path, local=True)
    queue.thread.join(10)
    with pytest.raises(BrokenExecutor):
        job.submit(max, 1, 2)


def test_a_task_whose_job_ended_is_lost(tmp_path: Path):
    queue = Queue()
    job = SubmititWorker(queue, tmp_path, local=True)
    job.stop()
    queue.thread.join(10)
    with assert_raises(BrokenExecutor, "ended"):
        job._wait_for_result("1.done")


def test_after_its_time_it_is_put_into_the_queue_again(tmp_path: Path):
    pytest.importorskip("submitit")
    again = TaskServer().checkpoint(str(tmp_path))
    assert isinstance(again.function, TaskServer)
    assert again.args == (str(tmp_path),)


def test_a_process_that_was_killed_says_so_to_the_next_task():
    worker = ProcessWorker(1)
    number = value(worker.submit(os.getpid))
    os.kill(number, signal.SIGKILL)
    with suppress(BrokenExecutor):
        value(worker.submit(os.getpid))
    with pytest.raises(BrokenExecutor):  # the death is known by now
        worker.submit(os.getpid)
    worker.close()


_KILLED = """
import os, sys, time
from snnlab.experiments.workers import ProcessWorker
worker = ProcessWorker(1)
worker.submit(os.getpid).result()
print("ready", flush=True)
time.sleep(60)
"""


def test_no_semaphore_is_left_where_all_processes_are_killed_at_once():
    shared = Path("/dev/shm")
    if not shared.is_dir():
        pytest.skip("named semaphores are no files here")
    with subprocess.Popen(
        [sys.executable, "-c", _KILLED], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGKILL)
    assert not list(shared.glob(f"sem.loky-{process.pid}-*"))
