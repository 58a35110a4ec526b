"""Tensors in files of the format safetensors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from snnlab.errors import DataError
from snnlab.safe_tensors import read_safe_tensors, write_safe_tensors

from .refusals import assert_raises

TENSORS = {
    "conv.weight": torch.randn(4, 2, 3, 3),
    "norm.num_batches_tracked": torch.tensor(7),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "mask": torch.tensor([True, False, True]),
    "none": torch.empty(0, 5),
}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write_safe_tensors(tmp_path / "w.safetensors", TENSORS)
    found = read_safe_tensors(tmp_path / "w.safetensors")
    assert found.keys() == TENSORS.keys()
    assert all(found[name].dtype == value.dtype and torch.equal(found[name], value) for name, value in TENSORS.items())


def test_a_file_written_by_hand_from_the_description_of_the_format_is_read(tmp_path: Path) -> None:
    header = b'{"__metadata__":{"by":"hand"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    values = torch.tensor([1.5, -2.0]).numpy().tobytes()
    (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + values)
    assert read_safe_tensors(tmp_path / "w.safetensors")["a"].tolist() == [1.5, -2.0]


def written(header: object, values: bytes = b"\0" * 8) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + values


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
DAMAGED = {
    "empty": b"",
    "a header longer than the file": (2**40).to_bytes(8, "little") + b"{}",
    "no JSON": (4).to_bytes(8, "little") + b"nope",
    "a list": written([]),
    "an unknown type": written({"a": {**ENTRY, "dtype": "OBJECT"}}),
    "a shape that is too large": written({"a": {**ENTRY, "shape": [10**12]}}),
    "a negative size": written({"a": {**ENTRY, "shape": [-1, -2]}}),
    "values past the end": written({"a": {**ENTRY, "data_offsets": [8, 16]}}),
    "truncated values": written({"a": ENTRY}, b"\0" * 7),
    "more values than tensors": written({"a": ENTRY}, b"\0" * 9),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_refused_in_a_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with assert_raises(DataError, path):
        read_safe_tensors(path)
