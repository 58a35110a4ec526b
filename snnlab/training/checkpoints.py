"""Reads checkpoints, verifies them, and never executes their contents; writes those of weights alone."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from snnlab.errors import DataError, RunFolderError, one_line
from snnlab.files import open_regular, write_atomically
from snnlab.safe_tensors import read_safe_tensors

if TYPE_CHECKING:
    from torch import Tensor


_UNSAFE = "Weights only load failed"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the contents of a checkpoint, tensors on the CPU; nothing in the file is executed.

    Raises:
        RunFolderError: if it is damaged, truncated, or not a checkpoint of snnlab.
    """
    try:
        with (
            open_regular(path) as file,
            zipfile.ZipFile(file) as parts,
        ):  # torch writes checksums, but does not verify them
            damaged = parts.testzip()
        if damaged is not None:
            raise RunFolderError(path, "is damaged", f"the checksum of {damaged} does not match")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise RunFolderError(path, "is not there") from error
    except (OSError, RuntimeError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError, ValueError) as error:
        raise RunFolderError(path, f"cannot be read as a checkpoint ({_reason_text(error)})") from error
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise RunFolderError(path, "is not a checkpoint of a run")
    return content


def network_weights(path: Path) -> dict[str, Tensor]:
    """Return the network's weights of a checkpoint, or their average if the run has one, on the CPU.

    Nothing in the file is executed. A file of the format safetensors has the weights alone.

    Raises:
        RunFolderError: if the file cannot be read.
    """
    if path.suffix == ".safetensors":
        try:
            return read_safe_tensors(path)
        except DataError as error:
            raise RunFolderError(error.place, error.message) from error
    state = read_checkpoint(path)["state_dict"]
    return {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}


def write_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write a network's weights as a checkpoint that `network_weights` reads, and that nothing resumes from."""
    state = {f"network.{name}": value.clone() for name, value in weights.items()}
    write_atomically(path, lambda file: torch.save({"state_dict": state, "epoch": 0}, file))


def weights_hash(path: Path) -> str:
    """Return the `tensors_hash` of a checkpoint's weights."""
    return tensors_hash(network_weights(path))


def tensors_hash(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors with their names and types."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        values = weights[name].contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes() if values.numel() else b"")
    return digest.hexdigest()


def _reason_text(error: Exception) -> str:
    first = one_line(error)
    return "it contains objects other than numbers and plain values, not loaded" if _UNSAFE in first else first
