"""Worker processes run no code of the working folder, and unpickle no data of other users."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from snnlab.cli.main import shield_workers
from snnlab.experiments.workers import ProcessWorker, SubmititWorker, TaskServer

from .conftest import Evil


def test_a_worker_finds_no_module_in_the_working_folder(
    workplace: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pickle", "tempfile", "random", "queue", "numpy", "torch", "sitecustomize"):
        (workplace / f"{name}.py").write_text(f"open({str(canary)!r}, 'w').close()\n")
    monkeypatch.setenv("PYTHONSAFEPATH", "")  # so that it is put back
    monkeypatch.delenv("PYTHONSAFEPATH")
    shield_workers()
    worker = ProcessWorker(1)
    found = None
    with suppress(Exception):  # a module that is found instead has nothing of the real one
        found = worker.submit(os.getcwd).result()
    worker.close()
    assert not canary.exists()
    assert found == str(workplace)


class Queue:
    """A submitit queue whose jobs never start."""

    def submit(self, function: TaskServer, folder: str) -> Queue:
        return self

    def done(self) -> bool:
        return False


def test_the_folder_of_tasks_is_the_users_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        SubmititWorker(Queue(), tmp_path / "jobs", local=True)
    finally:
        os.umask(before)
    (folder,) = (tmp_path / "jobs").iterdir()
    assert folder.stat().st_mode & 0o077 == 0


def test_an_answer_of_another_user_is_not_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    canary = tmp_path / "canary"
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    answer = SubmititWorker(Queue(), tmp_path / "jobs", local=True).submit(max, 1, 2)
    (folder,) = (tmp_path / "jobs").iterdir()
    (folder / "whole").write_bytes(pickle.dumps(Evil(canary)))
    (folder / "whole").rename(folder / "1.done")
    with pytest.raises(PermissionError):
        answer.result(30)
    assert not canary.exists()
