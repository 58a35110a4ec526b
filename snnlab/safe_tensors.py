"""Tensors in a file of the format safetensors: no code, the size of every tensor is checked before it is read.

The file has 8 bytes, the length of its header (little-endian), then the header, JSON with type, shape and place of each
tensor, then the values.

Source: github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snnlab.errors import DataError
from snnlab.files import write_atomically

_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {kind: name for name, kind in _TYPES.items()}
_LENGTH_BYTES = 8
_MOST_HEADER_BYTES = 10_000_000
_METADATA = "__metadata__"


def write_safe_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by name into a file.

    Args:
        path: The file, which is replaced if it exists.
        tensors: Dense tensors on the CPU.
    """
    header: dict[str, Any] = {}
    parts: list[bytes] = []
    end = 0
    for name, tensor in tensors.items():
        part = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [end, end + len(part)],
        }
        parts.append(part)
        end += len(part)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)  # so that the values are aligned
    content = len(text).to_bytes(_LENGTH_BYTES, "little") + text + b"".join(parts)
    write_atomically(path, lambda file: file.write(content))


def read_safe_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name, on the CPU.

    Raises:
        DataError: if it is missing or damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror or error})") from error
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    if len(content) < _LENGTH_BYTES or length > min(len(content) - _LENGTH_BYTES, _MOST_HEADER_BYTES):
        raise _damaged(path, "its header is longer than the file")
    values = content[_LENGTH_BYTES + length :]
    try:
        header = json.loads(content[_LENGTH_BYTES : _LENGTH_BYTES + length])
        entries = {str(name): entry for name, entry in header.items() if name != _METADATA}
    except (ValueError, RecursionError, AttributeError) as error:
        raise _damaged(path, "its header is not a table of tensors") from error
    tensors = {name: _tensor(path, name, entry, values) for name, entry in entries.items()}
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) != len(values):
        raise _damaged(path, "its tensors are not as long as the file")
    return tensors


def _tensor(path: Path, name: str, entry: Any, values: bytes) -> Tensor:
    try:
        kind, shape, (start, end) = _TYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
        numbers = [*shape, start, end]
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"the entry of {name} is not that of a tensor") from error
    whole = all(isinstance(number, int) and number >= 0 for number in numbers)
    if not whole or end > len(values) or end - start != prod(shape) * kind.itemsize:
        raise _damaged(path, f"{name} has another size than its type and shape say")
    if start == end:
        return torch.empty(shape, dtype=kind)
    return torch.frombuffer(bytearray(values[start:end]), dtype=kind).reshape(shape)


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(path, f"is not a whole file of safetensors: {reason}")
