"""Processes that are started for a user run nothing of the folder where the user stands, and unpickle nobody else's."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from snnlab.cli import shield_workers
from snnlab.search.engines import Processes
from snnlab.search.spool import Spool

from .conftest import Evil


def test_a_worker_finds_no_module_in_the_working_folder(
    workplace: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pickle", "tempfile", "random", "queue", "numpy", "torch", "sitecustomize"):
        (workplace / f"{name}.py").write_text(f"open({str(canary)!r}, 'w').close()\n")
    monkeypatch.setenv("PYTHONSAFEPATH", "")  # so that it is put back
    monkeypatch.delenv("PYTHONSAFEPATH")
    shield_workers()
    engine = Processes(1)
    found = None
    with suppress(Exception):  # a module that is found instead has nothing of the real one
        found = engine.submit(0, os.getcwd).result()
    engine.close()
    assert not canary.exists()
    assert found == str(workplace)


def test_the_folder_of_tasks_is_the_users_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        spool = Spool(tmp_path / "jobs" / "spool")
    finally:
        os.umask(before)
    assert spool.folder.stat().st_mode & 0o077 == 0


def test_an_answer_of_another_user_is_not_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    canary = tmp_path / "canary"
    spool = Spool(tmp_path / "spool")
    (spool.folder / "1.done").write_bytes(pickle.dumps(Evil(canary)))
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(PermissionError):
        spool.answer(1)
    assert not canary.exists()
