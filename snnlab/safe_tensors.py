"""Tensors in a file of the format safetensors, which holds no code; with the errors of this package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from snnlab.errors import DataError, one_line
from snnlab.files import open_regular, write_atomically


def write_safe_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by name into a file.

    Args:
        path: The file, which is replaced if it exists.
        tensors: Tensors of any layout and device.
    """
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    write_atomically(path, lambda file: file.write(content))


def read_safe_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name, on the CPU.

    Raises:
        DataError: if it is missing or damaged.
    """
    try:
        with open_regular(path) as file:
            return load(file.read())
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror or error})") from error
    except (SafetensorError, KeyError) as error:
        raise DataError(path, f"is not a whole file of safetensors: {one_line(error)}") from error
