"""Untrusted recordings, archives and folders run no code and show no other files."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from snnlab.data.fetching import unpack
from snnlab.data.formats import SUFFIXES, ReadOptions, read_file
from snnlab.data.hdf5_files import get_local
from snnlab.errors import DataError
from snnlab.runs.provenance import git_state

from ..refusals import assert_raises
from .conftest import Evil

SENSOR = (8, 8, 2)


def events(folder: Path, name: str, group: h5py.Group) -> None:
    for column in "txyp":
        group[column] = np.arange(8)


@pytest.mark.parametrize("how", ["link", "soft link", "group", "storage", "virtual", "one column"])
def test_a_file_of_events_shows_nothing_of_another_file(how: str, tmp_path: Path) -> None:
    private = tmp_path / "private.h5"
    with h5py.File(private, "w") as file:
        events(tmp_path, "private", file.create_group("events"))
    (tmp_path / "passwd").write_bytes(bytes(range(64)))
    path = tmp_path / "theirs.h5"
    with h5py.File(path, "w") as file:
        if how == "link":
            file["events"] = h5py.ExternalLink(str(private), "/events")
        elif how == "soft link":
            file["there"] = h5py.ExternalLink(str(private), "/")
            file["events"] = h5py.SoftLink("/there/events")
        elif how == "group":
            file.create_group("CD")["events"] = h5py.ExternalLink(str(private), "/events")
        else:
            group = file.create_group("events")
            for column in "txy":
                group[column] = np.arange(8)
            if how == "storage":
                group.create_dataset("p", (8,), "u1", external=[(str(tmp_path / "passwd"), 0, 8)])
            elif how == "virtual":
                layout = h5py.VirtualLayout((8,), "i8")
                layout[:] = h5py.VirtualSource(str(private), "events/p", (8,))
                group.create_virtual_dataset("p", layout)
            else:
                group["p"] = h5py.ExternalLink(str(private), "/events/p")
    with assert_raises(DataError, "theirs.h5"):
        read_file(path, ReadOptions("us", "zero", False), SENSOR)

    with h5py.File(private, "r") as file:
        assert get_local(get_local(file, "events"), "p")[()].size == 8


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_recording_is_not_unpickled(suffix: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    array = np.array([Evil(canary)], object)
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        np.save(path, array, allow_pickle=True)
    else:
        np.savez(path, t=array, x=array, y=array, p=array)
    with pytest.raises(DataError):
        read_file(path, ReadOptions(), SENSOR)
    assert not canary.exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_garbage_gives_one_line(suffix: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    heads = (
        b"",
        b"#!AER-DAT4.0\r\n",
        b"\x93NUMPY\x01\x00",
        b"PK\x03\x04",
        b"% evt 3.0\n",
        b"#!AER-DAT2.0\r\n",
        b"\x89HDF\r\n\x1a\n",
    )
    for number, head in enumerate(heads):
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(head + rng.bytes(4096 - len(head) + 3))
        with assert_raises(DataError, path):
            read_file(path, ReadOptions(), SENSOR)


def test_an_array_with_an_enormous_header_gives_one_line(tmp_path: Path) -> None:
    head = b"{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000, 4), }"
    head += b" " * (118 - len(head) - 1) + b"\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + b"x" * 32)
    with assert_raises(DataError, "a.npy"):
        read_file(tmp_path / "a.npy", ReadOptions(), SENSOR)


@pytest.mark.parametrize("kind", ["link", "hard link", "link in a folder", "device"])
def test_an_archive_makes_no_link_out_of_its_folder(kind: str, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.write_text("mine")
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        member = tarfile.TarInfo("evil")
        member.type = {"hard link": tarfile.LNKTYPE, "device": tarfile.CHRTYPE}.get(kind, tarfile.SYMTYPE)
        member.linkname = str(private) if kind != "link in a folder" else "../../private"
        file.addfile(member)
        if kind == "link in a folder":
            inner = tarfile.TarInfo("evil/x")
            inner.size = 4
            file.addfile(inner, io.BytesIO(b"evil"))
    (tmp_path / "in" / "folder").mkdir(parents=True)
    with pytest.raises(DataError):
        unpack(tmp_path / "a.tar", tmp_path / "in" / "folder")
    assert private.read_text() == "mine"
    assert not [path for path in (tmp_path / "in").rglob("*") if path.is_symlink()]


def git(folder: Path, *words: str) -> None:
    own = ["-c", "user.name=x", "-c", "user.email=x", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *own, "-C", str(folder), *words], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "theirs"
    folder.mkdir()
    git(folder, "init")
    (folder / "a.txt").write_text("a")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "x")
    return folder


@pytest.mark.parametrize("how", ["fsmonitor", "filter", "hook", "hooks path", "submodule", "included"])
def test_git_runs_no_command_of_the_repository_around_the_working_folder(
    how: str, repository: Path, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    script = tmp_path / "evil.sh"
    script.write_text(f"#!/bin/sh\ntouch {canary}\ncat\n")
    script.chmod(0o755)
    if how == "fsmonitor":
        git(repository, "config", "core.fsmonitor", str(script))
    elif how == "filter":
        git(repository, "config", "filter.evil.clean", str(script))
        (repository / ".gitattributes").write_text("*.txt filter=evil\n")
    elif how in ("hook", "hooks path"):
        hooks = repository / ".git" / "hooks" if how == "hook" else tmp_path / "hooks"
        hooks.mkdir(exist_ok=True)
        (hooks / "post-index-change").write_text(script.read_text())
        (hooks / "post-index-change").chmod(0o755)
        if how == "hooks path":
            git(repository, "config", "core.hooksPath", str(hooks))
    elif how == "submodule":
        inner = repository / "inner"
        inner.mkdir()
        git(inner, "init")
        (inner / "b.txt").write_text("b")
        git(inner, "add", ".")
        git(inner, "commit", "-m", "x")
        git(repository, "add", "inner")
        git(inner, "config", "core.fsmonitor", str(script))
    else:
        (repository / ".git" / "more").write_text(f'[filter "evil"]\n\tclean = {script}\n')
        git(repository, "config", "include.path", "more")
        (repository / ".gitattributes").write_text("*.txt filter=evil\n")
    (repository / "a.txt").write_text("b")  # so that git checks it
    canary.unlink(missing_ok=True)
    state = git_state(repository)
    assert state is not None
    assert len(state["commit"]) == 40
    assert state["dirty"] in (None, True)
    assert not canary.exists()


def test_values_that_were_never_written_take_no_memory(tmp_path: Path) -> None:
    """HDF5 would make 16 GB of zeros of a file of 2 kB."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in "txyp":
            file.create_dataset(name, (10**9,), np.int32, chunks=(10**6,))
    with assert_raises(DataError, "a.h5", "4,000,000,000 bytes"):
        read_file(tmp_path / "a.h5", ReadOptions(), SENSOR)
