from __future__ import annotations

from pathlib import Path

import pytest

from snnlab.data.sources.folder import discover_folders
from snnlab.data.sources.label_table import Entry
from snnlab.data.splits import TEST, TRAIN, VAL
from snnlab.errors import DataError

from ..refusals import assert_lines_have, assert_raises


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_a_folder_is_a_class_and_its_files_are_recordings(tmp_path: Path) -> None:
    touch(tmp_path, "wave/b.npy", "wave/deep/a.h5", "clap/1.NPY", ".cache/x.npy")
    assert discover_folders(tmp_path) == (
        [
            Entry(tmp_path / "clap/1.NPY", "clap"),
            Entry(tmp_path / "wave/b.npy", "wave"),
            Entry(tmp_path / "wave/deep/a.h5", "wave"),
        ],
        [],
    )


@pytest.mark.parametrize("val", ["val", "Valid", "validation"])
def test_folders_of_parts_define_the_split(val: str, tmp_path: Path) -> None:
    touch(tmp_path, "Train/0/a.npy", "Test/0/b.npy", f"{val}/0/c.npy")
    found = discover_folders(tmp_path)
    assert {(entry.path.name, entry.label, entry.part) for entry in found.entries} == {
        ("a.npy", "0", TRAIN), ("b.npy", "0", TEST), ("c.npy", "0", VAL),
    }  # fmt: skip
    assert found.notes == []


def test_skipped_files_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "train/0/a.npy", "train/0/a.mat", "train/0/._a.npy", "train/0/.git/b.npy", "train/b.npy")
    touch(tmp_path, "train/2/deep/notes.md", "notes/plan.md")
    (tmp_path / "train" / "0" / "c.npy").symlink_to(tmp_path / "gone.npy")
    (tmp_path / "train" / "1").symlink_to(tmp_path / "gone")
    found = discover_folders(tmp_path)
    assert [entry.path.name for entry in found.entries] == ["a.npy"]
    assert_lines_have(
        found.notes,
        ("train", "notes"),
        (tmp_path / "train" / "2",),
        ("train/b.npy",),
        ("links", "train/1, train/0/c.npy"),
        ("endings", "train/0/a.mat, train/2/deep/notes.md"),
    )


def test_many_skipped_files_are_counted(tmp_path: Path) -> None:
    touch(tmp_path, "up/a.npy", *(f"up/{n}.mat" for n in range(9)))
    assert_lines_have(discover_folders(tmp_path).notes, ("endings", "up/0.mat, up/1.mat, up/2.mat and 6"))


def test_a_class_may_have_the_name_of_a_part(tmp_path: Path) -> None:
    touch(tmp_path, "wave/a.npy", "train/b.npy", "test/c.npy")
    found = discover_folders(tmp_path)
    assert [(entry.label, entry.part) for entry in found.entries] == [("test", None), ("train", None), ("wave", None)]
    assert_lines_have(found.notes, ("class", "test, train"))


@pytest.mark.parametrize(
    ("names", "message_parts"),
    [
        (["wave/a.npy", "clap/a.npy", "train/session/b.npy"], ("data.root", "addition")),
        (["train/0/a.npy", "test/0/b.npy", "extra/c.npy"], ("data.root", "addition")),
        (["train/0/a.npy", "test/b.npy"], ("data.root", "test/CLASS")),
        (["val/0/a.npy", "test/0/b.npy"], ("data.root", "train")),
        (["a.npy"], ("data.root", "recordings")),
        (["up/._a.npy", "up/notes.md"], ("data.root", "recordings")),
    ],
    ids=str,
)
def test_ambiguous_folders_are_refused(names: list[str], message_parts: tuple, tmp_path: Path) -> None:
    touch(tmp_path, *names)
    with assert_raises(DataError, *message_parts):
        discover_folders(tmp_path)
