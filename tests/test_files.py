from __future__ import annotations

import json
import math
import os
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from platformdirs import user_data_path

from snnlab.data.formats import ReadOptions, read_file
from snnlab.data.sources.label_table import discover_table
from snnlab.data.sources.mnist import pixel_order
from snnlab.data.splits import read_split
from snnlab.errors import DataError, RunFolderError
from snnlab.files import (
    files_below,
    folders_at,
    load_array,
    load_arrays,
    open_regular,
    remove_empty,
    require_writable,
    write_atomically,
    write_json,
    write_npz,
    write_text,
)
from snnlab.runs.signature import FILE, read_signature, sign
from snnlab.training.checkpoints import network_weights, read_checkpoint

from .refusals import assert_raises


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


def test_a_value_that_json_lacks_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_json(path, 1)
    with pytest.raises(TypeError):
        write_json(path, {"what": object()})
    assert list(tmp_path.iterdir()) == [path]
    assert json.loads(path.read_text()) == 1


def test_nan_and_infinity_become_null_at_any_depth(tmp_path: Path) -> None:
    value: Any = {"a": math.nan, "b": [math.inf, (1.5, -math.inf)], "c": {"d": np.float64("nan")}, "e": "nan", "f": 2}
    write_json(tmp_path / "a.json", value)
    expected = {"a": None, "b": [None, [1.5, None]], "c": {"d": None}, "e": "nan", "f": 2}

    def refuse(word: str) -> None:
        pytest.fail(f"{word} is not JSON")

    assert json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse) == expected


@pytest.mark.parametrize("place", ["new", "new/deep/er", "there", "there/new"])
def test_a_folder_that_can_be_written_is_left_as_it_was(tmp_path: Path, place: str) -> None:
    (tmp_path / "there").mkdir()
    require_writable(tmp_path / place)
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_empty_folders_are_removed_up_to_the_given_depth(tmp_path: Path) -> None:
    run = tmp_path / "outputs" / "name" / "run"
    run.mkdir(parents=True)
    remove_empty(run, parents=1)
    assert (tmp_path / "outputs").is_dir()
    assert not (tmp_path / "outputs" / "name").exists()


@pytest.mark.parametrize("kept", ["run/log.txt", "name.txt", "run/empty"])
def test_a_folder_that_holds_anything_stays(tmp_path: Path, kept: str) -> None:
    name = tmp_path / "name"
    (name / "run").mkdir(parents=True)
    if kept.endswith("empty"):
        (name / kept).mkdir()
    else:
        (name / kept).write_text("")
    remove_empty(name / "run", parents=1)
    assert (name / kept).exists()
    assert (name / "run").exists() == kept.startswith("run/")


def test_processes_that_write_the_same_file_at_once_do_not_interfere(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"

    def in_between(file: BinaryIO) -> None:
        file.write(b"first")
        file.flush()
        write_text(path, "second")  # begun later, and over earlier
        assert path.read_text() == "second"

    write_atomically(path, in_between)
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_many_processes_write_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    children = []
    for _ in range(4):
        if not (child := os.fork()):
            try:
                for number in range(50):
                    write_text(path, f"{number}" * 5000)
            except BaseException:
                os._exit(1)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert path.read_text() == "49" * 5000
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def dead() -> int:
    """Return the id of a process that has ended."""
    if not (child := os.fork()):
        os._exit(0)
    os.waitpid(child, 0)
    return child


def test_files_of_a_killed_process_are_removed_and_those_of_others_are_not(tmp_path: Path, dead: int) -> None:
    path = tmp_path / "metrics.csv"
    names: list[str] = []
    write_atomically(path, lambda file: names.append(file.name))
    mine = Path(names[0])
    assert str(os.getpid()) in mine.name
    host = mine.name.removeprefix(".metrics.csv.").partition(f"_{os.getpid()}_")[0]
    left = [tmp_path / f".metrics.csv.{host}_{dead}_0123abcd.writing", tmp_path / ".metrics.csv.far_1_0123abcd.writing"]
    kept = [
        mine,
        tmp_path / ".metrics.csv.away_1_0123abcd.writing",  # of another machine, a moment ago
        tmp_path / f".other.csv.{host}_{dead}_0123abcd.writing",
        tmp_path / ".metrics.csv.swp",
    ]
    for file in (*left, *kept):
        file.touch()
    os.utime(left[1], (0, 0))
    write_text(path, "epoch\n")
    assert set(tmp_path.iterdir()) == {path, *kept}


@pytest.mark.parametrize("name", ["a" * 255, "ü" * 127])
def test_a_name_may_be_as_long_as_names_are(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, "long")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def damaged_headers(whole: bytes) -> Iterator[bytes]:
    rng = np.random.default_rng(0)
    for number in range(500):
        damaged = np.frombuffer(whole, np.uint8).copy()
        places = rng.integers(8 if number % 2 else 0, 128, size=rng.integers(1, 4))
        damaged[places] = rng.integers(256, size=places.size)
        yield damaged.tobytes()


@pytest.mark.parametrize(
    "kind", [np.dtype("<i8"), np.dtype([("t", "<u4"), ("x", "<u2", (2,))])], ids=["plain", "named"]
)
def test_an_array_with_a_damaged_header_is_a_value_error_of_one_line(tmp_path: Path, kind: np.dtype) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros(40, kind))
    for damaged in damaged_headers(path.read_bytes()):
        path.write_bytes(damaged)
        reason = "it was read"
        try:
            load_array(path)
        except ValueError as error:
            reason = str(error)
        assert reason
        assert "\n" not in reason
        assert "allow_pickle" not in reason


def test_arrays_and_archives_are_not_taken_for_each_other(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(3))
    np.savez(tmp_path / "b.npz", x=np.arange(3), y=np.zeros(2))
    assert load_array(tmp_path / "a.npy").tolist() == [0, 1, 2]
    assert {name: array.size for name, array in load_arrays(tmp_path / "b.npz").items()} == {"x": 3, "y": 2}
    for load, name in ((load_array, "b.npz"), (load_arrays, "a.npy")):
        with pytest.raises(ValueError, match="name ends in"):
            load(tmp_path / name)


def test_objects_pipes_and_bombs_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}]), allow_pickle=True)
    with assert_raises(ValueError, "numbers"):
        load_array(tmp_path / "a.npy")
    os.mkfifo(tmp_path / "b.npy")
    with pytest.raises(OSError, match="regular file"):
        load_array(tmp_path / "b.npy")
    with zipfile.ZipFile(tmp_path / "c.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x.npy", bytes(10**7))
    with assert_raises(ValueError, "10,000,000"):
        load_arrays(tmp_path / "c.npz")


def made_tree(root: Path) -> Path:
    for name in ("a/b/c", "a/d", "e"):
        (root / name).mkdir(parents=True)
    (root / "a" / "file").touch()
    (root / "linked").symlink_to(root / "a")
    (root / "loop").symlink_to(root / "loop")
    (root / "gone").symlink_to(root / "nowhere")
    return root


def test_folders_are_found_at_a_depth_also_through_links(tmp_path: Path) -> None:
    root = made_tree(tmp_path)
    found = [{str(path.relative_to(root)) for path in folders_at(root, depth)} for depth in (1, 2, 3)]
    assert found == [{"a", "e", "linked"}, {"a/b", "a/d", "linked/b", "linked/d"}, {"a/b/c", "linked/b/c"}]
    assert folders_at(root / "nowhere", 2) == []
    assert {path.name for path in files_below(root)} == {"file", "loop", "gone"}


def test_folders_that_vanish_or_cannot_be_read_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, listed = made_tree(tmp_path), os.listdir
    problems = {root / "a": FileNotFoundError(2, "No such file"), root / "linked": PermissionError(13, "Denied")}

    def listdir(folder: Path) -> list[str]:
        if folder in problems:
            raise problems[folder]
        return listed(folder)

    monkeypatch.setattr(os, "listdir", listdir)
    assert folders_at(root, 2) == []
    assert len(folders_at(root, 1)) == 3
    problems[root] = PermissionError(13, "Denied")
    with assert_raises(RunFolderError, root, "Denied"):
        folders_at(root, 1)


@pytest.fixture
def no_waiting() -> Iterator[None]:
    """Raise an error in a test that waits for 10 s."""

    def stop(*_: object) -> None:
        raise TimeoutError("it waits for a writer")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("no_waiting")
def test_only_a_regular_file_is_opened_and_nothing_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "fifo")
    for name in ("file", "link"):
        with open_regular(tmp_path / name) as file:
            assert file.read() == b"content"
    for path in (tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(OSError, match="regular"):
            open_regular(path)
    for path, error in ((tmp_path, IsADirectoryError), (tmp_path / "none", FileNotFoundError)):
        with pytest.raises(error):
            open_regular(path)


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".bin", ".dat", ".raw", ".h5"])
def test_a_pipe_in_place_of_a_recording_is_not_waited_for(tmp_path: Path, suffix: str) -> None:

    path = tmp_path / f"fifo{suffix}"
    os.mkfifo(path)
    with assert_raises(DataError, path, "regular"):
        read_file(path, ReadOptions(), (8, 8, 2))


@pytest.mark.usefixtures("no_waiting")
def test_a_pipe_in_place_of_the_key_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    (tmp_path / "config.yaml").write_text("a: 1\n")
    sign(tmp_path, "config.yaml", "a: 1\n", {})
    assert read_signature(tmp_path, "config.yaml") is not None
    key = user_data_path("snnlab") / "key"
    key.unlink()
    os.mkfifo(key, 0o600)
    assert (tmp_path / FILE).exists()
    assert read_signature(tmp_path, "config.yaml") is None
    sign(tmp_path, "config.yaml", "a: 1\n", {})


@pytest.mark.usefixtures("no_waiting")
def test_a_pipe_in_place_of_a_table_is_not_waited_for(tmp_path: Path) -> None:

    path = tmp_path / "fifo.csv"
    os.mkfifo(path)
    with assert_raises(DataError, "data.split_file", path, "regular"):
        read_split(path, ["a"], np.zeros(1, np.int64))
    with assert_raises(DataError, "data.labels", path, "regular"):
        discover_table(tmp_path, path)
    with assert_raises(DataError, "data.permutation", path, "regular"):
        pixel_order(str(path), 4)


@pytest.mark.usefixtures("no_waiting")
def test_a_pipe_in_place_of_weights_is_not_waited_for(tmp_path: Path) -> None:

    for read, suffix in (
        (network_weights, ".safetensors"),
        (read_checkpoint, ".ckpt"),
    ):
        path = tmp_path / f"{read.__name__}{suffix}"
        os.mkfifo(path)
        with assert_raises((DataError, RunFolderError), path, "regular"):
            read(path)


def test_text_is_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "τ → 10 ms\n")
    assert (tmp_path / "a").read_bytes() == "τ → 10 ms\n".encode()


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


def test_a_folder_that_is_not_there_is_no_mistake(tmp_path: Path) -> None:
    remove_empty(tmp_path / "name" / "run", parents=1)
    assert tmp_path.is_dir()
