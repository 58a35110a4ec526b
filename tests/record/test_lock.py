from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from snnlab.errors import RecordError
from snnlab.record import lock
from snnlab.record.lock import LOCK, locked

_OTHER = "import sys, pathlib; from snnlab.record.lock import locked\nwith locked(pathlib.Path(sys.argv[1])): pass"


def test_a_lock_that_its_owner_has_just_removed_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening the file and locking it, its owner ends, and a third process makes a new one."""
    real, path = lock.fcntl.lockf, tmp_path / LOCK
    raced: list[int] = []

    def slow(file: object, *how: int) -> None:
        if not raced:
            raced.append(1)
            path.unlink()
            path.touch()
        real(file, *how)  # type: ignore[arg-type]

    monkeypatch.setattr(lock.fcntl, "lockf", slow)
    with locked(tmp_path):
        done = subprocess.run([sys.executable, "-c", _OTHER, str(tmp_path)], capture_output=True, text=True)
        assert "RecordError" in done.stderr
        assert "another process trains in it" in done.stderr
    assert not path.exists()


def test_the_lock_of_the_next_process_is_left_alone(tmp_path: Path) -> None:
    with locked(tmp_path):
        (tmp_path / LOCK).unlink()
        (tmp_path / LOCK).touch()
    assert (tmp_path / LOCK).exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="nowhere: cannot be written"), locked(tmp_path / "nowhere"):
        pass
