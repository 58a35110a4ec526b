from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from snnlab.errors import RunFolderError
from snnlab.runs.run_folder import LOCK, is_locked, locked

from ..refusals import assert_raises

_OTHER = "import sys, pathlib; from snnlab.runs.run_folder import locked\nwith locked(pathlib.Path(sys.argv[1])): pass"


def test_a_lock_that_its_owner_has_just_removed_is_not_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening the file and locking it, its owner ends, and a third process creates a new one."""
    real, path = fcntl.flock, tmp_path / LOCK
    raced: list[int] = []

    def slow(file: int, how: int) -> None:
        if not raced:
            raced.append(1)
            path.unlink()
            path.touch()
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", slow)
    with locked(tmp_path):
        assert raced
        done = subprocess.run([sys.executable, "-c", _OTHER, str(tmp_path)], capture_output=True, text=True)
        assert "RunFolderError" in done.stderr
        assert "process" in done.stderr
    assert not path.exists()


def _hold_and_fork(folder: Path, pipe: int) -> None:
    with locked(folder):
        worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        worker.start()
        os.write(pipe, f"{worker.pid}\n".encode())
        time.sleep(60)


def test_the_workers_of_a_killed_process_do_not_keep_its_lock(tmp_path: Path) -> None:
    reads, writes = os.pipe()
    owner = multiprocessing.get_context("fork").Process(target=_hold_and_fork, args=(tmp_path, writes))
    owner.start()
    worker = int(os.read(reads, 20))
    try:
        assert is_locked(tmp_path)
        owner.kill()
        owner.join()
        os.kill(worker, 0)  # it is still there
        assert not is_locked(tmp_path)
        with locked(tmp_path):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)


def test_the_lock_of_the_next_process_is_kept(tmp_path: Path) -> None:
    with locked(tmp_path):
        (tmp_path / LOCK).unlink()
        (tmp_path / LOCK).touch()
    assert (tmp_path / LOCK).exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with assert_raises(RunFolderError, "nowhere", "written"), locked(tmp_path / "nowhere"):
        pass
