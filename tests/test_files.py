from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

from snnlab.errors import RecordError
from snnlab.files import require_writable, unwritable, write_atomically, write_json, write_npz, write_text


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "result.json"
    write_text(path, "old")

    def fail(file: BinaryIO) -> None:
        file.write(b"half of the n")
        raise error

    with pytest.raises(type(error)):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_text(path, "old")

    def look(file: BinaryIO) -> None:
        file.write(b"new")
        assert path.read_text() == "old"

    write_atomically(path, look)
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_value_that_json_lacks_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_json(path, 1)
    with pytest.raises(TypeError):
        write_json(path, {"what": object()})
    assert list(tmp_path.iterdir()) == [path]
    assert json.loads(path.read_text()) == 1


def test_text_is_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "τ → 10 ms\n")
    assert (tmp_path / "a").read_bytes() == "τ → 10 ms\n".encode()


def test_what_is_not_finite_becomes_null_at_any_depth(tmp_path: Path) -> None:
    value: Any = {"a": math.nan, "b": [math.inf, (1.5, -math.inf)], "c": {"d": np.float64("nan")}, "e": "nan", "f": 2}
    write_json(tmp_path / "a.json", value)
    expected = {"a": None, "b": [None, [1.5, None]], "c": {"d": None}, "e": "nan", "f": 2}

    def refuse(word: str) -> None:
        pytest.fail(f"{word} is not JSON")

    assert json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse) == expected


def test_numbers_come_back_as_they_were(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", [0.1 + 0.2, 1e-300, 2**53 + 1, True, None])
    assert json.loads((tmp_path / "a.json").read_text()) == [0.1 + 0.2, 1e-300, 2**53 + 1, True, None]


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    arrays = {"test_target": np.arange(3), "layers": np.array(["lif1", "block.lif"])}
    write_npz(tmp_path / "a.npz", arrays)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as found:
        assert set(found) == set(arrays)
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_a_folder_that_cannot_be_written_names_the_setting() -> None:
    error = unwritable(Path("runs/a"), PermissionError(13, "Permission denied"))
    assert isinstance(error, RecordError)
    assert str(error) == "output_dir: cannot write runs/a: Permission denied; set output_dir=FOLDER"


@pytest.mark.parametrize("place", ["new", "new/deep/er", "there", "there/new"])
def test_a_folder_that_can_be_written_is_left_as_it_was(tmp_path: Path, place: str) -> None:
    (tmp_path / "there").mkdir()
    require_writable(tmp_path / place)
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_what_stands_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        RecordError, match=r"^output_dir: cannot write \S*/file: Not a directory; set output_dir=FOLDER"
    ):
        require_writable(tmp_path / "file" / "name" / "run")
    assert [path.name for path in tmp_path.rglob("*")] == ["file"]
