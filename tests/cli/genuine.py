"""Small data sets in the published file formats, with random events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np

from ..fixtures.camera_files import COLUMNS, write_aedat4

PICTURES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def nmnist(root: Path, rng: np.random.Generator) -> None:
    """Write N-MNIST: 5 bytes per event, a file per recording, a folder per digit."""
    for part, number in (("Train", 4), ("Test", 1)):
        for digit in range(10):
            folder = root / "NMNIST" / part / str(digit)
            folder.mkdir(parents=True)
            for k in range(number):
                t, (x, y), p = np.sort(rng.integers(0, 316_000, 900)), rng.integers(0, 34, (2, 900)), rng.integers(0, 2)
                columns = np.stack((x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255), 1)
                (folder / f"{k:05d}.bin").write_bytes(columns.astype(np.uint8).tobytes())


def dvsgesture(root: Path, rng: np.random.Generator) -> None:
    """Write DVS128 Gesture in tonic's format: columns x, y, p, t (ms), a file per gesture, a folder per person."""
    for user in range(1, 9):
        part = "ibmGestureTest" if user > 6 else "ibmGestureTrain"
        folder = root / "DVSGesture" / part / f"user{user:02d}_natural"
        folder.mkdir(parents=True)
        for gesture in (0, 10):
            t = np.sort(rng.integers(0, 6000, 2000))
            np.save(
                folder / f"{gesture}.npy", np.stack((*rng.integers(0, 128, (2, 2000)), rng.integers(0, 2, 2000), t), 1)
            )


def cifar10dvs(root: Path, rng: np.random.Generator) -> None:
    """Write CIFAR10-DVS's folders, files of AEDAT 4."""
    for name in PICTURES:
        (root / "CIFAR10DVS" / name).mkdir(parents=True)
        for number in range(11):
            events = np.zeros(500, COLUMNS)
            events["t"] = 1_605_537_493_718_345 + np.sort(rng.integers(0, 1_200_000, 500))
            events["x"], events["y"] = rng.integers(0, 128, (2, 500))
            events["p"] = rng.random(500) < 0.5
            write_aedat4(root / "CIFAR10DVS" / name / f"cifar10_{name}_{number}.aedat4", events)


def shd(root: Path, rng: np.random.Generator) -> None:
    """Write SHD: a file per split, ragged times (s) and channels, labels and speakers."""
    _spoken(root / "SHD", "shd", ("train", "test"), 20, rng)


def ssc(root: Path, rng: np.random.Generator) -> None:
    """Write SSC, which has a file for validation too."""
    _spoken(root / "SSC", "ssc", ("train", "valid", "test"), 35, rng)


def _spoken(folder: Path, name: str, parts: Sequence[str], classes: int, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    for part in parts:
        with h5py.File(folder / f"{name}_{part}.h5", "w") as file:
            ragged = {"times": h5py.vlen_dtype(np.float16), "units": h5py.vlen_dtype(np.uint16)}
            columns = {kind: file.create_dataset(f"spikes/{kind}", (classes,), of) for kind, of in ragged.items()}
            for k in range(classes):
                columns["times"][k] = np.sort(rng.random(3000)).astype(np.float16)
                columns["units"][k] = rng.integers(0, 700, 3000).astype(np.uint16)
            file["labels"] = np.arange(classes, dtype=np.uint16)
            file["extra/speaker"] = np.arange(classes, dtype=np.uint16) % 10
            file["extra/keys"] = [f"word {k}".encode() for k in range(classes)]


def smnist(root: Path, rng: np.random.Generator) -> None:
    """Write MNIST's idx files, with runs of black and of white as digits have."""
    (root / "smnist").mkdir(parents=True)
    for part, size in (("train", 120), ("t10k", 10)):
        images = rng.integers(-300, 500, (size, 28, 28)).clip(0, 255).astype(np.uint8)
        labels = np.arange(size, dtype=np.uint8) % 10
        for form, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = np.array([0x0800 + array.ndim, *array.shape], ">u4")
            (root / "smnist" / f"{part}-{form}-ubyte").write_bytes(head.tobytes() + array.tobytes())


WRITERS: dict[str, Callable[[Path, np.random.Generator], None]] = {
    "nmnist": nmnist,
    "dvsgesture": dvsgesture,
    "cifar10dvs": cifar10dvs,
    "shd": shd,
    "ssc": ssc,
    "smnist": smnist,
}
