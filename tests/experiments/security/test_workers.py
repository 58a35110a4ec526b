"""Worker processes run no code of the working folder; the files of jobs are the user's alone."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from snnlab.cli.main import shield_workers
from snnlab.experiments.workers import ProcessWorker, _submitit_executor


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


def test_the_folder_of_jobs_is_the_users_alone(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    (tmp_path / "jobs").mkdir(mode=0o777)
    (tmp_path / "jobs").chmod(0o777)
    _submitit_executor(tmp_path / "jobs", {"cluster": "local"}, ("sweep.engine", "sweep.submitit", "here"))
    assert (tmp_path / "jobs").stat().st_mode & 0o077 == 0
