"""What a run's files say while its training writes them: epochs, steps, time left, status."""

from __future__ import annotations

import csv
import re
import struct
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from threading import Lock
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

from snnlab.errors import RunFolderError, SnnlabError
from snnlab.printable import printable
from snnlab.runs.recorded import RecordedRun, read_config, read_run_if_ended, require_no_file
from snnlab.runs.run_folder import CONFIG, LOG, METRICS, RESULT, is_locked

_EPOCH = re.compile(r"(\S+ \S+),\d+ INFO snnlab\.training\.progress: epoch +(\d+)/(\d+|\?)")
_PROBLEM = re.compile(r"\S+ \S+ (?:WARNING|ERROR) snnlab\.\S+: (.*)")
_LOSS = "train/loss_step"
_LATEST, _MOST_LINES = 5, 4
# An event of TensorBoard: its length, a checksum of that, the event, a checksum of it. TensorBoard's own reader
# computes the checksums in Python, also those of images: some 0.1 s a MB.
_HEAD, _TAIL, _LARGEST = struct.Struct("<QI"), 4, 1 << 28
_FILES = (METRICS, RESULT, LOG, "steps.csv", "tensorboard")


class WatchedRun:
    """Reads a run's files again and again.

    Args:
        folder: The run's folder; its training may have ended.

    Raises:
        RunFolderError: if it is no run's folder, or its training was not recorded.
    """

    def __init__(self, folder: Path) -> None:
        require_no_file(folder)
        if not (folder / CONFIG).is_file():
            raise RunFolderError(folder, f"is not a run folder, there is no {CONFIG} in it")
        if (folder / RESULT).is_file() and not (folder / METRICS).is_file():
            raise RunFolderError(folder, f"has no {METRICS}: no training was recorded in it")
        config = read_config(folder)
        name, trainer = config.get("name"), config.get("trainer")
        self.folder = folder
        self.name = name if isinstance(name, str) else folder.absolute().parent.name
        epochs = trainer.get("max_epochs") if isinstance(trainer, dict) else None
        self._num_epochs = epochs if isinstance(epochs, int) and epochs > 0 else None
        self._steps = StepLosses(folder)

    def signature(self) -> str:
        """Return a text that changes with the files."""
        found = [_stamp(path) for path in (*(self.folder / name for name in _FILES), *_event_files(self.folder))]
        return f"{is_locked(self.folder):d}-{hash(tuple(found)) & 0xFFFFFFFF:x}"

    def read(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return values, and the columns of the epochs as arrays; the loss of single steps is `steps` and `steps_loss`.

        A file that is damaged is a line, `problem`.
        """
        values: dict[str, Any] = {"name": self.name, "folder": str(self.folder), "problem": None}
        arrays: dict[str, np.ndarray] = {}
        values |= {"status": "running" if is_locked(self.folder) else "stopped", "error": None, "test": {}}
        try:
            ended = read_run_if_ended(self.folder)
            if ended is not None and values["status"] != "running":
                values |= {"status": ended.status, "error": ended.content.get("error")}
                values["test"] = {key: value for key, value in ended.metrics.items() if key.startswith("test/")}
                values["chosen"] = ended.selection.get("epoch")
            if (self.folder / METRICS).is_file():
                arrays = RecordedRun(self.folder, {}).epochs()
        except SnnlabError as error:
            values["problem"] = printable(str(error))
        log = _lines(self.folder / LOG)
        ends = [(datetime.fromisoformat(found[1]), found[3]) for line in log if (found := _EPOCH.match(line))]
        total = int(ends[-1][1]) if ends and ends[-1][1].isdigit() else self._num_epochs
        values |= {"num_epochs": total, "epoch_s": None, "left_s": None}
        done = len(arrays.get("epoch", ()))
        if len(ends) > 1:
            each = [(b - a).total_seconds() for (a, _), (b, _) in pairwise(ends)]
            values["epoch_s"] = median(each[-_LATEST:])
            since = (datetime.now() - ends[-1][0]).total_seconds()
            if total and values["status"] == "running":
                values["left_s"] = max(0.0, (total - done) * values["epoch_s"] - since)
        values["problems"] = [printable(found[1]) for line in log if (found := _PROBLEM.match(line))][-_MOST_LINES:]
        steps, losses = self._steps.read()
        return values, {**arrays, "steps": steps, "steps_loss": losses}


class StepLosses:
    """The loss of single steps, from `steps.csv`, or else TensorBoard's files; what was read is not read again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: dict[Path, int] = {}
        self._found: dict[int, float] = {}
        self._lock = Lock()  # each page asks in a thread of its own

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the steps and their losses."""
        with self._lock:
            self._read()
            steps = sorted(self._found)
            return np.array(steps, np.float64), np.array([self._found[step] for step in steps], np.float64)

    def _read(self) -> None:
        path = self._folder / "steps.csv"
        if path.is_file():
            rows = csv.reader(_lines(path)[1:])
            self._found = {
                int(row[0]): float(row[2]) for row in rows if len(row) == 3 and row[1] == _LOSS and row[0].isdigit()
            }
        else:
            for one in _event_files(self._folder):
                self._read_events(one)

    def _read_events(self, path: Path) -> None:
        """Read the events that a file has got since, whole ones only."""
        place = self._places.get(path, 0)
        try:
            with path.open("rb") as file:
                file.seek(place)
                while len(head := file.read(_HEAD.size)) == _HEAD.size:
                    size = _HEAD.unpack(head)[0]
                    if size > _LARGEST or len(content := file.read(size + _TAIL)) < size + _TAIL:
                        break
                    place = file.tell()
                    if _LOSS.encode() in content:
                        self._add(content[:size])
        except OSError:
            return
        self._places[path] = place

    def _add(self, content: bytes) -> None:
        try:
            event = Event.FromString(content)
        except DecodeError:
            return
        for value in event.summary.value:
            if value.tag == _LOSS:
                self._found[event.step] = value.simple_value


def _event_files(folder: Path) -> list[Path]:
    return sorted((folder / "tensorboard").glob("events.out.tfevents.*"))


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
