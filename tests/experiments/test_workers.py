"""Workers that run many tasks: this process, and processes of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import BrokenExecutor, Future
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from snnlab.errors import ConfigError
from snnlab.experiments.workers import InProcessWorker, ProcessWorker, worker_factory

from ..refusals import assert_raises


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
