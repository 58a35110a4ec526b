from __future__ import annotations

import gzip
import io
import shutil
import tarfile
from contextlib import suppress
from pathlib import Path
from zipfile import ZipFile

import pytest

from snnlab.data.fetching import is_packed, unpack
from snnlab.errors import DataError

from ..refusals import assert_raises


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("kind", "end"), [("zip", "zip"), ("gztar", "tar.gz"), ("tar", "tar")])
def test_files_come_to_those_that_are_there(kind: str, end: str, tmp_path: Path) -> None:
    for name, text in (("a/x.txt", "new"), ("a/b/y.txt", "y")):
        (tmp_path / "packed" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "packed" / name).write_text(text)
    archive = Path(shutil.make_archive(str(tmp_path / "all"), kind, tmp_path / "packed"))
    assert is_packed(archive)
    assert archive.name == f"all.{end}"
    there = tmp_path / "there"
    (there / "a").mkdir(parents=True)
    (there / "a" / "x.txt").write_text("old")
    (there / "a" / "z.txt").write_text("z")
    (there / f"{archive.name}.unpacking").mkdir()
    unpack(archive, there)
    assert contents(there) == {"a/x.txt": "new", "a/b/y.txt": "y", "a/z.txt": "z"}
    assert sorted(path.name for path in there.iterdir()) == ["a"]


def test_archives_in_an_archive_are_unpacked_where_they_lie(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "cat.zip", "w") as inner:
        inner.writestr("cat/1.txt", "1")
        inner.writestr("__MACOSX/cat/._1.txt", "no recording")
    with ZipFile(tmp_path / "all.zip", "w") as outer:
        outer.write(tmp_path / "cat.zip", "animals/cat.zip")
    unpack(tmp_path / "all.zip", tmp_path / "there")
    assert contents(tmp_path / "there") == {"animals/cat/1.txt": "1"}


@pytest.mark.parametrize("name", ["../out.txt", "/out.txt", "a/../../out.txt"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_no_file_is_written_outside_the_folder(kind: str, name: str, tmp_path: Path) -> None:
    archive = tmp_path / f"bad.{kind}"
    if kind == "zip":
        with ZipFile(archive, "w") as file:
            file.writestr(name, "out")
    else:
        with tarfile.open(archive, "w") as file:
            file.addfile(tarfile.TarInfo(name), io.BytesIO())
    with suppress(DataError):  # a zip file's, and tar's with a leading slash, lies inside; the others are refused
        unpack(archive, tmp_path / "there")
    assert sorted(path.name for path in tmp_path.iterdir()) == [archive.name, "there"]


@pytest.mark.parametrize("keep", [0, 0.5])
def test_a_damaged_archive_is_reported(keep: float, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x" * 100)
    archive = Path(shutil.make_archive(str(tmp_path / "all"), "gztar", tmp_path, "x.txt"))
    archive.write_bytes(archive.read_bytes()[: int(keep * archive.stat().st_size)])
    with assert_raises(DataError, "all.tar.gz"):
        unpack(archive, tmp_path / "there")


def test_a_gzip_file_is_unpacked_next_to_it(tmp_path: Path) -> None:
    archive = tmp_path / "digits-ubyte.gz"
    archive.write_bytes(gzip.compress(b"digits"))
    unpack(archive, tmp_path)
    assert (tmp_path / "digits-ubyte").read_bytes() == b"digits"
    archive.write_bytes(gzip.compress(b"digits")[:-4])
    with assert_raises(DataError, "digits-ubyte.gz", "unpacked"):
        unpack(archive, tmp_path)
