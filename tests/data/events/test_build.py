from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from processes import start
from toy_source import ToySource

from snnlab.data.events import Events, open_or_build, packing
from snnlab.data.events.packing import Recordings
from snnlab.errors import DataError, StoreError

from ...refusals import assert_raises


def _folders(store_dir: Path) -> list[str]:
    return sorted(path.name for path in store_dir.iterdir() if path.is_dir())


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_second_call_opens_without_reading(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    source = ToySource(journal=journal)
    open_or_build(source, tmp_path / "stores")
    journal.unlink()
    open_or_build(source, tmp_path / "stores")
    assert not journal.exists()


def test_any_number_of_workers_writes_the_same_bytes(tmp_path: Path) -> None:
    stores = [open_or_build(ToySource(70), tmp_path / str(n), workers=n) for n in (0, 2)]
    assert _bytes(stores[0].path) == _bytes(stores[1].path)


@pytest.mark.parametrize(("patience", "reads_here"), [(0.0, 0), (1e-9, 1), (1e9, 70)])
def test_workers_are_started_when_reading_here_would_take_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: float, reads_here: int
) -> None:
    whole = open_or_build(ToySource(70), tmp_path / "none").path
    monkeypatch.setattr(packing, "_MEASURED_S", 0.0)
    source, here = ToySource(70), []
    read = packing._read_checked
    monkeypatch.setattr(packing, "_read_checked", lambda source, index: here.append(index) or read(source, index))
    store = open_or_build(source, tmp_path / "some", workers=2, max_serial_s=patience)
    assert here == list(range(reads_here))
    assert _bytes(store.path) == _bytes(whole)


def test_a_mistake_in_a_worker_arrives_as_it_was(tmp_path: Path) -> None:
    with assert_raises(ValueError, "half"):
        open_or_build(ToySource(failing=(20, ValueError("half-way"))), tmp_path, workers=2)
    assert _folders(tmp_path) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_recording_is_skipped_on_request_without_packing_again(tmp_path: Path, workers: int) -> None:
    source = ToySource(failing=(20, DataError("", "broken")), journal=tmp_path / "journal")
    with assert_raises(DataError, "", "data.on_bad=skip"):
        open_or_build(source, tmp_path / "stores", workers=workers)
    read = (tmp_path / "journal").read_text()
    store = open_or_build(source, tmp_path / "stores", on_bad="skip")
    assert (tmp_path / "journal").read_text() == read
    store.verify()
    assert store.bad == {20: "broken"}
    assert len(store) == 37
    assert store.sizes[20] == 0
    whole = open_or_build(ToySource(), tmp_path / "whole")
    others = np.delete(np.arange(37), 20).tolist()
    assert all(np.array_equal(store[i].t, whole[i].t) for i in others)
    assert np.array_equal(store.hashes[others], whole.hashes[others])


class _AllBad(ToySource):
    def read(self, index: int) -> Events:
        super().read(index)
        raise DataError("", f"{index} is broken")


@pytest.mark.parametrize(("size", "message_parts"), [(1, ("", "recording")), (20, ("", "others")), (37, ("", 17))])
def test_if_no_first_recording_can_be_read_the_rest_is_not_tried(
    tmp_path: Path, size: int, message_parts: tuple
) -> None:
    source = _AllBad(size, journal=tmp_path / "journal")
    with assert_raises(DataError, *message_parts):
        open_or_build(source, tmp_path / "stores")
    assert len((tmp_path / "journal").read_text().split()) == min(size, 20)
    assert _folders(tmp_path / "stores") == []


def test_what_is_shown_has_ended_before_an_error_is_printed(tmp_path: Path) -> None:
    shown: list[str] = []

    def progress(recordings: Recordings, total: int, text: str) -> Recordings:
        shown.append(text)
        try:
            yield from recordings
        finally:
            shown.append("end")

    with pytest.raises(DataError) as caught:
        open_or_build(_AllBad(30), tmp_path, progress=progress)
    assert shown == ["packing toy", "end"]
    assert caught.tb is not None  # which has kept the frames until now


class _FirstBad(ToySource):
    def read(self, index: int) -> Events:
        if index < 25:
            raise DataError("", f"{index} is broken")
        return super().read(index)


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_recordings_are_skipped_however_many_come_first(tmp_path: Path, workers: int) -> None:
    store = open_or_build(_FirstBad(), tmp_path / "skipped", on_bad="skip", workers=workers)
    assert list(store.bad) == list(range(25))
    assert store.sizes[25:].any()
    with assert_raises(DataError, "", 17, "data.on_bad=skip"):
        open_or_build(_FirstBad(), tmp_path)
    with assert_raises(DataError, "", 0):
        open_or_build(_AllBad(), tmp_path / "all", on_bad="skip")


def test_many_bad_recordings_are_counted_and_some_named(tmp_path: Path) -> None:
    source = ToySource()
    good = source.read
    source.read = lambda index: good(index)._replace(x=good(index).x - 9 * (index > 20))
    with assert_raises(DataError, "", 12, 37, "toy/021.bin", "and", 2):
        open_or_build(source, tmp_path)
    assert len(open_or_build(source, tmp_path, on_bad="skip").bad) == 12


@pytest.mark.parametrize("error", [ValueError("half-way"), KeyboardInterrupt(), OSError("cannot read")])
def test_a_build_that_ends_early_leaves_nothing_and_passes_the_error_on(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        open_or_build(ToySource(failing=(20, error)), tmp_path)
    assert caught.value is error
    assert _folders(tmp_path) == []
    assert len(open_or_build(ToySource(), tmp_path)) == 37


@pytest.mark.parametrize(
    ("key", "values"), [("targets", np.zeros(3, int)), ("targets", np.zeros(37)), ("split", np.full(37, 3))]
)
def test_arrays_that_do_not_fit_are_refused_before_reading(tmp_path: Path, key: str, values: np.ndarray) -> None:
    source = ToySource(journal=tmp_path / "journal")
    setattr(source, key, values)
    with assert_raises(DataError, "toy", key):
        open_or_build(source, tmp_path / "stores")
    assert not (tmp_path / "journal").exists()


def test_a_folder_that_cannot_be_written_is_reported_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with assert_raises(StoreError, "file/stores", "data.store_dir"):
        open_or_build(ToySource(), tmp_path / "file" / "stores")


def test_a_full_disk_gives_a_hint_and_leaves_nothing(tmp_path: Path) -> None:
    process = start(
        """
        import resource
        from pathlib import Path
        from snnlab.errors import StoreError
        from snnlab.data.events import open_or_build
        from toy_source import ToySource
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            open_or_build(ToySource(), Path(sys.argv[1]))
        except StoreError as error:
            print(error)
        """,
        tmp_path,
    )
    answer = process.communicate(timeout=20)[0]
    assert "data.store_dir=" in answer
    assert "Traceback" not in answer
    assert _folders(tmp_path) == []


def test_progress_sees_every_recording(tmp_path: Path) -> None:
    seen: list[tuple[int, str]] = []

    def progress(recordings: Recordings, total: int, words: str) -> Recordings:
        for number, events in enumerate(recordings, 1):
            seen.append((number, f"{words} {total}"))
            yield events

    open_or_build(ToySource(), tmp_path, progress=progress)
    assert seen[-1] == (37, "packing toy 37")


def test_packing_needs_neither_torch_nor_the_frameworks() -> None:
    process = start(
        """
        import snnlab.data.events, snnlab.data.events.simulators
        print(sorted({"torch", "tonic", "hydra", "lightning", "pytorch_lightning"} & set(sys.modules)))
        """
    )
    assert process.communicate(timeout=30)[0].strip() == "[]"
