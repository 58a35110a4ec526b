"""The QT Database of electrocardiograms as spikes, with a label at each step.

Axes: R recordings, T steps, C channels, K classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from snnlab.data.dataset import DATASETS
from snnlab.data.events import Events, SensorSize
from snnlab.data.fetching import fetch_missing
from snnlab.data.reading_process import read_apart
from snnlab.data.splits import TEST, TRAIN
from snnlab.errors import ConfigError, DataError
from snnlab.spec.interval import NonNegative, between

FOLDER = "ecg_qtdb"
FILES = {"QTDB_train.mat": TRAIN, "QTDB_test.mat": TEST}
STEPS = 1300  # of 1301: the authors of both papers leave out the last one, which has no events
NAMES = ("P", "PQ", "QR", "RS", "ST", "TP")
_CHANNELS = 4


@DATASETS.register("ecg_qtdb")
class QTDatabase:
    """Electrocardiograms of two leads, level-crossing coded, with the wave of the heartbeat at each step.

    A channel is the rise or the fall of a lead; a recording has 1,300 steps, 618 are for training and validation, 141
    for testing.

    Args:
        root: Folder that holds `ecg_qtdb/QTDB_train.mat` and `QTDB_test.mat`.
        step_ms: Length of a step (ms): at 4 ms, a rate of 250 Hz, a heart beats about once a second.
        unlabelled: Class of the steps without a label, such as 0, which the argmax of the authors' code gives them;
            null: they have none, and count neither in the loss nor in the accuracy.
        targets: `steps`, the only kind.
        download: Whether missing files are downloaded.
        archives: Files to download: a name, an md5 and a url each.

    Raises:
        DataError: if a file is missing or damaged, or has other arrays.

    Source: Laguna et al., A database for evaluation of algorithms for measurement of QT and other waveform intervals in
        the ECG, Computers in Cardiology 24, 1997; coded by Yin, Corradi, Bohte, Accurate and efficient time-domain
        classification with adaptive spiking recurrent neural networks, Nature Machine Intelligence 3, 2021.
    """

    label = "ecg_qtdb"
    sensor_size: SensorSize = (_CHANNELS, 1, 1)
    num_classes = len(NAMES)
    class_names = NAMES
    groups = None

    def __init__(
        self,
        root: str | None,
        step_ms: Annotated[float, "ms", between(0.001, 1e6)] = 4.0,
        unlabelled: NonNegative | None = None,
        targets: Literal["steps"] = "steps",
        download: bool = True,
        archives: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        if unlabelled is not None and unlabelled >= len(NAMES):
            raise ConfigError("unlabelled", f"must be below the {len(NAMES)} classes, got {unlabelled}")
        self.step_us = round(1000 * step_ms)
        self.folder = self.origin = Path(root or "data").expanduser() / FOLDER
        fetch_missing(
            archives,
            self.folder,
            lambda: {name: int((self.folder / name).is_file()) for name in FILES},
            dict.fromkeys(FILES, 1),
            download=download,
        )
        if missing := [name for name in FILES if not (self.folder / name).is_file()]:
            hint = f"set data.root to the folder that holds {FOLDER}"
            raise DataError("data.root", f"{self.folder} lacks {missing[0]}", hint)
        parts = {name: _read_part(self.folder / name) for name in FILES}
        self._spikes = np.concatenate([spikes for spikes, _ in parts.values()])
        labels = np.concatenate([labels for _, labels in parts.values()])
        self.split = np.repeat(np.array(list(FILES.values()), np.uint8), [len(one) for one, _ in parts.values()])
        self.targets = _segments(labels, self.step_us, unlabelled)
        self.notes: list[str] = []

    def fingerprint(self) -> dict[str, Any]:
        """Return the files' checksums and the length of a step."""
        files = {name: hashlib.sha256((self.folder / name).read_bytes()).hexdigest() for name in FILES}
        return {"dataset": self.label, "files": files, "step_us": self.step_us}

    def __len__(self) -> int:
        return len(self._spikes)

    def name(self, index: int) -> str:
        """Return the file, and the number of the recording in it."""
        first = int((self.split == TRAIN).sum())
        file, number = ("QTDB_train.mat", index) if index < first else ("QTDB_test.mat", index - first)
        return f"{self.folder / file}, recording {number}"

    def read(self, index: int) -> Events:
        """Return the events of one recording, in the middle of their steps."""
        step, channel = np.nonzero(self._spikes[index])
        t = step.astype(np.int64) * self.step_us + self.step_us // 2
        return Events(t, channel.astype(np.int16), None, np.zeros(len(t), bool))


def _read_part(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the spikes of a file, bool `[R, T, C]`, and the class at each step, -1 for none, int64 `[R, T]`."""
    arrays = read_apart(path, "mat")
    if missing := [name for name in ("x", "y") if name not in arrays]:
        raise DataError(path, f"has no array {missing[0]} of numbers")
    x, y = arrays["x"], arrays["y"]
    for name, array, last in (("x", x, _CHANNELS), ("y", y, len(NAMES))):
        if array.ndim != 3 or array.shape[1:] != (STEPS + 1, last) or len(array) != len(x) or not len(x):
            raise DataError(path, f"{name} has shape {list(array.shape)}, expected [R, {STEPS + 1}, {last}]")
    x, y = x[:, :STEPS], y[:, :STEPS]
    if not np.isin(x, (0, 1)).all() or not np.isin(y, (0, 1)).all() or (y.sum(2, dtype=np.int64) > 1).any():
        raise DataError(path, "has other values than 0 and 1, or a step with two labels")
    return x.astype(bool), np.where(y.any(2), y.argmax(2), -1)


def _segments(labels: np.ndarray, step_us: int, unlabelled: int | None) -> np.ndarray:
    """Return the segments of equal labels, int64 `[S, 4]`: recording, start (us), end (us), label.

    Shape:
        labels: the class at each step, -1 for none, `[R, T]`.
    """
    labels = labels if unlabelled is None else np.where(labels < 0, unlabelled, labels)
    new = np.ones(labels.shape, bool)
    new[:, 1:] = labels[:, 1:] != labels[:, :-1]
    recording, start = np.nonzero(new)
    last = np.append(recording[1:] != recording[:-1], True)
    end = np.where(last, labels.shape[1], np.append(start[1:], 0))
    segments = np.stack([recording, start * step_us, end * step_us, labels[new]], 1)
    return segments[segments[:, 3] >= 0]
