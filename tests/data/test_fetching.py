from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from snnlab.data import fetching
from snnlab.data.fetching import fetch_missing
from snnlab.errors import DataError

from ..refusals import assert_text_has


def packed(folder: Path, *names: str) -> dict[str, Any]:
    """Make an archive, and return how a YAML names it."""
    path = folder / f"{names[0]}.zip"
    with ZipFile(path, "w") as file:
        for name in names:
            file.writestr(f"{name}/1.bin", name)
    return {"name": path.name, "md5": hashlib.md5(path.read_bytes()).hexdigest(), "url": path.as_uri()}


def fetch(nodes: list[dict[str, Any]], folder: Path, download: bool = True) -> dict[str, int]:
    def count() -> dict[str, int]:
        return {part: len(list((folder / part).glob("*.bin"))) for part in ("train", "test")}

    fetch_missing(nodes, folder, count, {"train": 1, "test": 1}, download=download)
    return count()


def test_archives_are_fetched_until_nothing_is_missing(tmp_path: Path) -> None:
    nodes = [packed(tmp_path, "train"), packed(tmp_path, "test"), packed(tmp_path, "more")]
    assert fetch(nodes, tmp_path / "mine") == {"train": 1, "test": 1}
    assert sorted(path.name for path in (tmp_path / "mine").glob("*.zip")) == ["test.zip", "train.zip"]


def test_nothing_is_fetched_if_all_exists_or_downloads_are_off(tmp_path: Path) -> None:
    node = packed(tmp_path, "train", "test")
    assert fetch([node], tmp_path / "mine", download=False) == {"train": 0, "test": 0}
    assert not (tmp_path / "mine").exists()
    fetch([node], tmp_path / "mine")
    (tmp_path / "train.zip").unlink()
    assert fetch([node | {"md5": "0" * 32}], tmp_path / "mine") == {"train": 1, "test": 1}


def test_a_folder_that_cannot_be_made_is_reported_with_a_hint(tmp_path: Path) -> None:
    node = packed(tmp_path, "train")
    (tmp_path / "mine").write_text("a file")
    with pytest.raises(DataError) as caught:
        fetch([node], tmp_path / "mine" / "DATA")
    folder = tmp_path / "mine" / "DATA"
    assert_text_has(str(caught.value), "data.root", "0 of 1", folder / "train", folder / "test")
    assert_text_has(caught.value.hint, "DATA", node["url"], folder / "train.zip")


def test_of_two_processes_one_fetches_and_the_other_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node, calls = packed(tmp_path, "train", "test"), []
    begun, go_on, really = threading.Event(), threading.Event(), fetching.fetch_archive

    def fetch_archive(archive: fetching.Archive, folder: Path) -> Path:
        calls.append(archive.name)
        begun.set()
        go_on.wait(60)
        return really(archive, folder)

    monkeypatch.setattr(fetching, "fetch_archive", fetch_archive)
    both = [threading.Thread(target=fetch, args=([node], tmp_path / "mine")) for _ in range(2)]
    both[0].start()
    assert begun.wait(60)
    both[1].start()
    both[1].join(0.1)
    go_on.set()
    for one in both:
        one.join(60)
    assert calls == ["train.zip"]
