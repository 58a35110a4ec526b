"""Tasks handed to a job of a cluster's queue through files: one job serves many, so that imports are paid once.

beat          touched by whoever gives the tasks, as long as it lives
NUMBER.task   a function and its arguments, pickled
over          made when the job is to end
NUMBER.done   what it returned, pickled

A folder is listed and no file of it asked for: on a network's file system only that shows what others have written.
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from snnlab.files import write_atomically

_BEAT, _OVER = "beat", "over"
_POLL_S = 0.05
_BEAT_S = 2.0
# A job that has heard nothing for so long ends; its queue may be for others.
PATIENCE_S = 60.0


class Spool:
    """The end of whoever gives the tasks.

    Args:
        folder: A new one, which the job sees too.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, mode=0o700)  # what lies in it is unpickled
        self.folder, self._number, self._beat = folder, 0, 0.0
        self.beat()

    def beat(self) -> None:
        """Say that somebody is there."""
        if time.monotonic() - self._beat > _BEAT_S or not self._beat:
            (self.folder / _BEAT).touch()
            self._beat = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether a task is not done yet."""
        return self._number > 0 and f"{self._number}.done" not in os.listdir(self.folder)

    def end(self) -> None:
        """Let the job end, after what it is at."""
        (self.folder / _OVER).touch()

    def put(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> int:
        """Give a task; return its number."""
        self._number += 1
        _dump(self.folder / f"{self._number}.task", (function, arguments))
        return self._number

    def answered(self, number: int) -> bool:
        """Return whether a task is done."""
        self.beat()
        return f"{number}.done" in os.listdir(self.folder)

    def answer(self, number: int) -> Any:
        """Return what a task came to."""
        return _load(self.folder / f"{number}.done")


class Serving:
    """What a job runs: the tasks of a folder; one that was put off by its queue goes on with what is not done."""

    def __call__(self, folder: str) -> None:
        """Serve until it is over, or nobody is there any more."""
        seen, since = -1.0, time.monotonic()
        while time.monotonic() - since < PATIENCE_S and _OVER not in os.listdir(folder):
            if (task := _next(Path(folder))) is not None:
                function, arguments = _load(task)
                _dump(task.with_suffix(".done"), function(*arguments))
                since = time.monotonic()
                continue
            if (beat := (Path(folder) / _BEAT).stat().st_mtime) != seen:
                seen, since = beat, time.monotonic()
            time.sleep(_POLL_S)

    def checkpoint(self, folder: str) -> Any:
        """Return what submitit puts into the queue again, when the time of a job is over."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, folder)


def _next(folder: Path) -> Path | None:
    there = set(os.listdir(folder))
    waiting = [name for name in there if name.endswith(".task") and name.replace(".task", ".done") not in there]
    return folder / min(waiting, key=lambda name: int(name.partition(".")[0])) if waiting else None


def _load(path: Path) -> Any:
    """Return what a process of the same user has dumped.

    Raises:
        PermissionError: if it is another's.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        if os.fstat(file.fileno()).st_uid != os.geteuid():
            raise PermissionError(f"{path}: was written by another user, and is not unpickled")
        return pickle.loads(file.read())


def _dump(path: Path, value: Any) -> None:
    write_atomically(path, lambda file: file.write(pickle.dumps(value)))
