"""Networks in one file: what is written, and what is refused."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from snnlab.bundles import bundle_folder
from snnlab.errors import RunFolderError
from snnlab.session.bundle_export import write_bundle

from .refusals import assert_raises

WEIGHTS = "weights.safetensors"
NEEDED = {"config.yaml": b"a: 1\n", "result.json": b"{}", WEIGHTS: save({"w": np.zeros(1200, np.float32)})}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "snnlab" / "bundles"


def test_the_files_come_back_and_are_unpacked_once(tmp_path: Path, cache: Path) -> None:
    write_bundle(tmp_path / "a.snn", NEEDED)
    write_bundle(tmp_path / "b.snn", dict(reversed(NEEDED.items())))
    assert (tmp_path / "a.snn").read_bytes() == (tmp_path / "b.snn").read_bytes()
    folder = bundle_folder(tmp_path / "a.snn")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == NEEDED
    before = folder.stat().st_mtime_ns
    assert bundle_folder(tmp_path / "a.snn") == folder
    assert folder.stat().st_mtime_ns == before
    assert [*cache.iterdir()] == [folder.parent]
    assert bundle_folder(tmp_path / "b.snn") == folder.parent / "b"


def zipped(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content, zipfile.ZIP_STORED if name == WEIGHTS else None)
    return file.getvalue()


def packed(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


BAD: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "no zip": lambda: b"x" * 1000,
    "a path out of the folder": lambda: zipped(*NEEDED.items(), ("../../evil.py", b"x")),
    "code": lambda: zipped(*NEEDED.items(), ("plugin.py", b"x")),
    "no weights": lambda: zipped(*list(NEEDED.items())[:2]),
    "a file twice": lambda: zipped(*NEEDED.items(), ("card.yaml", b"a"), ("card.yaml", b"b")),
    "cut": lambda: zipped(*NEEDED.items())[:-30],
    "packed weights": lambda: packed(NEEDED | {WEIGHTS: save({"w": np.zeros(10**7, np.float32)})}),
    "weights of another size than their header says": lambda: zipped(
        *(NEEDED | {WEIGHTS: NEEDED[WEIGHTS][:-4]}).items()
    ),
    "a bomb": lambda: zipped(*NEEDED.items(), ("card.yaml", bytes(60_000_000))),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", BAD)
def test_other_files_are_refused_and_leave_nothing(name: str, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "a.snn").write_bytes(BAD[name]())
    with assert_raises(RunFolderError, tmp_path / "a.snn"):
        bundle_folder(tmp_path / "a.snn")
    assert not cache.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a.snn"]


def test_changed_bytes_are_named_or_harmless(tmp_path: Path) -> None:
    whole = bytearray(zipped(*NEEDED.items()))
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        (tmp_path / "a.snn").write_bytes(damaged)
        with suppress(RunFolderError):
            assert {path.name for path in bundle_folder(tmp_path / "a.snn").iterdir()} == NEEDED.keys()
