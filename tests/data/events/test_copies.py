"""Packed copies of current and of older versions of recordings."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_source import ToySource

from snnlab.data.events import open_or_build
from snnlab.data.events.packing import copies, copies_of, folder_size, remove


class Placed(ToySource):
    """A toy whose recordings are files of a folder."""

    def __init__(self, origin: Path, version: int) -> None:
        super().__init__(version=version)
        self.origin = origin


@pytest.fixture
def stores(tmp_path: Path) -> Path:
    for origin, version in (("here", 1), ("here", 2), ("there", 3)):
        open_or_build(Placed(tmp_path / origin, version), tmp_path / "stores")
    return tmp_path / "stores"


def test_copies_name_the_folder_of_their_recordings(stores: Path, tmp_path: Path) -> None:
    found = copies(stores)
    assert [copy.label for copy in found] == ["toy"] * 3
    assert sorted(str(copy.origin) for copy in found) == [
        *[str((tmp_path / "here").resolve())] * 2,
        str((tmp_path / "there").resolve()),
    ]
    assert all(copy.size == folder_size(copy.path) > 1000 for copy in found)


def test_copies_of_other_folders_and_datasets_are_separate(stores: Path, tmp_path: Path) -> None:
    origin = str((tmp_path / "here").resolve())
    assert len(copies_of(stores, "toy", origin)) == 2
    assert copies_of(stores, "to", origin) == []
    # A copy without a recorded origin, and leftovers of a killed process, are included.
    old = copies_of(stores, "toy", str((tmp_path / "there").resolve()))[0].path
    (old / "manifest.json").unlink()
    (stores / "toy-0123456789ab.building").mkdir()
    found = copies_of(stores, "toy", origin)
    assert len(found) == 4
    assert [remove(copy.path) for copy in found] == [True] * 4
    assert list(stores.iterdir()) == []
    assert not remove(old)


def test_a_folder_that_is_not_there_has_none(tmp_path: Path) -> None:
    assert copies(tmp_path / "nowhere") == []
