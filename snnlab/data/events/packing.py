"""Finds or builds the packed store of a dataset, under a lock; lists and deletes older copies."""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import shutil
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import filelock
import numpy as np
from platformdirs import user_cache_path

from snnlab import __version__
from snnlab.data.events.recording import Events, SensorSize, Unusable, check_events, check_sensor_size, empty_events
from snnlab.data.events.store import (
    ARRAYS,
    FORMAT,
    REBUILD_HINT,
    VALUES,
    Manifest,
    Store,
    canonical_hash,
    column_types,
    content_hash,
)
from snnlab.errors import DataError, StoreError
from snnlab.experiment_fields import OnBad
from snnlab.target_kinds import kind_of, targets_problem

if TYPE_CHECKING:
    from collections.abc import Generator

_log = logging.getLogger(__name__)

_MEASURED_S = 1.0
# Time that a worker continues after SIGTERM, so that the parent can end it.
_GRACE_S = 5
_CHUNK = 16
_CHUNKS_IN_FLIGHT = 3
"""Per worker: enough to keep it busy, few enough to keep memory bounded when writing is slower."""
_source: Source | None = None


Recording: TypeAlias = "Events | Unusable"
"""A recording, or the reason why it cannot be used."""


def read_all(source: Source, workers: int = 0, max_serial_s: float = 0.0) -> Generator[Recording]:
    """Yield every recording, checked, in the source's order, or the reason why it cannot be used.

    Args:
        source: The dataset.
        workers: Number of reading processes; 0 and 1 read in this process.
        max_serial_s: Workers start only if one second of reading estimates a longer remaining time than this (s).

    Raises:
        DataError: If a worker was killed.
    """
    done, started = 0, time.perf_counter()
    while done < len(source) and (workers <= 1 or not _should_start_workers(done, len(source), started, max_serial_s)):
        yield _read_checked(source, done)
        done += 1
    if done == len(source):
        return
    # Not forked: a fork inherits locks of the threads that numba and PyTorch have started.
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(source,)
    )
    try:
        yield from _read_in_order(pool, range(done, len(source)), workers * _CHUNKS_IN_FLIGHT)
    except BrokenProcessPool as error:
        raise DataError(
            source.label,
            "a reading process died (out of memory?, or a script without `if __name__ == '__main__':`)",
            "read with workers=0",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _should_start_workers(done: int, size: int, started: float, max_serial_s: float) -> bool:
    passed = time.perf_counter() - started
    return max_serial_s == 0 or (done > 0 and passed > _MEASURED_S and passed / done * (size - done) > max_serial_s)


def _read_in_order(pool: ProcessPoolExecutor, indices: range, in_flight: int) -> Iterator[Recording]:
    pending: deque[Future[list[Recording]]] = deque()
    for start in indices[::_CHUNK]:
        pending.append(pool.submit(_read_chunk, start, min(start + _CHUNK, indices.stop)))
        if len(pending) == in_flight:
            yield from pending.popleft().result()
    while pending:
        yield from pending.popleft().result()


def _start_worker(source: Source) -> None:
    global _source
    _source = source
    # Ctrl-C, and often SIGTERM, reach the whole process group; the parent decides, workers would only add tracebacks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE_S))


def _read_chunk(start: int, stop: int) -> list[Recording]:
    assert _source is not None
    return [_read_checked(_source, index) for index in range(start, stop)]


def _read_checked(source: Source, index: int) -> Recording:
    try:
        events = source.read(index)
        check_events(events, source.sensor_size, source.name(index))
    except DataError as error:
        return Unusable(str(error))
    return events


class StoreWriter:
    """Append recordings to the columns of a new store, one at a time, in bounded memory.

    Args:
        folder: An empty folder.
        sensor_size: `[W, H, P]` (pixels, pixels, polarities); y is kept for H > 1.
    """

    def __init__(self, folder: Path, sensor_size: SensorSize) -> None:
        self.folder = folder
        self.sensor_size = sensor_size
        self._types = column_types(sensor_size[2])
        keys = [key for key in self._types if key != "y" or sensor_size[1] > 1]
        self._files = {key: (folder / f"{key}.bin").open("wb") for key in keys}
        self._hashes = {key: hashlib.sha256() for key in keys}
        self._sizes: list[int] = []
        self._last_t: list[int] = []
        self._contents: list[int] = []
        self._bad: list[tuple[int, str]] = []

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # `finish` has flushed; after an error, closing would only fail for the same reason and hide it.
        for file in self._files.values():
            with suppress(OSError):
                file.close()

    def append(self, events: Events) -> None:
        """Write one checked recording."""
        digest = hashlib.blake2b(digest_size=8)
        for key, file in self._files.items():
            column = np.ascontiguousarray(getattr(events, key), dtype=self._types[key])
            file.write(column.data)
            self._hashes[key].update(column.data)
            digest.update(column.data)
        self._contents.append(int.from_bytes(digest.digest(), "little"))
        self._sizes.append(events.t.size)
        self._last_t.append(int(events.t[-1]) if events.t.size else -1)

    def append_bad(self, reason: str) -> None:
        """Write a recording without events in place of one that cannot be used."""
        self._bad.append((len(self._sizes), reason))
        self.append(empty_events(self.sensor_size))

    def finish(self, source: dict[str, Any], targets: np.ndarray, split: np.ndarray, groups: np.ndarray | None) -> None:
        """Write the arrays per recording, and then the manifest."""
        for file in self._files.values():
            file.flush()
        values = {
            "offsets": np.concatenate([[0], np.cumsum(self._sizes)]),
            "targets": targets,
            "split": split,
            "groups": groups,
            "last_t": self._last_t,
            "hashes": self._contents,
        }
        types = ARRAYS | ({"targets": VALUES} if kind_of(targets) in ("value", "series") else {})
        arrays = {key: np.ascontiguousarray(value, types[key]) for key, value in values.items() if value is not None}
        for key, array in arrays.items():
            np.save(self.folder / f"{key}.npy", array, allow_pickle=False)
        sha256 = {key: value.hexdigest() for key, value in self._hashes.items()}
        sha256 |= {key: hashlib.sha256(array.data).hexdigest() for key, array in arrays.items()}
        Manifest(
            format=FORMAT,
            source=source,
            recordings=len(self._sizes),
            events=sum(self._sizes),
            sensor_size=self.sensor_size,
            dtypes={key: (self._types | types)[key] for key in sha256},
            sha256=sha256,
            content=content_hash(sha256),
            bad=self._bad,
            versions={"snnlab": __version__, "numpy": np.__version__},
        ).write(self.folder)


# If all of so many first recordings are bad, the rest is not read.
_MAX_BAD_FROM_START = 20
# Reasons that a message lists.
_FEW = 10
# File in a store: the folder of the original recordings.
ORIGIN = "origin.txt"
Recordings = Iterable[Recording]
Progress = Callable[[Recordings, int, str], Recordings]
"""Wraps the recordings to show progress; its other arguments are their number and a title."""


class Source(Protocol):
    """The interface of a dataset that can be packed; for several workers it must be picklable.

    Optional attributes: `origin`, the folder of the recordings; `display_name`, their name for users; and
    `split_not_packed`, True if split and groups are not in the fingerprint and may differ from those at packing.
    """

    @property
    def label(self) -> str:
        """Short name of the dataset; the store's folder begins with it."""
        ...

    @property
    def sensor_size(self) -> SensorSize:
        """`[W, H, P]` (pixels, pixels, polarities)."""
        ...

    @property
    def targets(self) -> np.ndarray:
        """Class of each recording, `[R]`, int64; or values float32 `[R, D]`, or segments int64 `[S, 4]`."""
        ...

    @property
    def split(self) -> np.ndarray:
        """Part of each recording, `[R]`, uint8: 0 training, 1 test, 2 validation, if the dataset has such a part."""
        ...

    @property
    def groups(self) -> np.ndarray | None:
        """User or speaker of each recording, `[R]`, int64, or None."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """Return all settings and files that determine the recordings, as JSON; it differs if the recordings differ."""
        ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Return the name of a recording in messages, such as its file."""
        ...

    def read(self, index: int) -> Events:
        """Return one recording, sorted by time; raises a DataError with the reason if it cannot be used."""
        ...


def default_store_dir() -> Path:
    """Return the folder of packed stores where `data.store_dir` names none: in the user's cache."""
    return user_cache_path("snnlab") / "stores"


def store_path(source: Source, store_dir: Path) -> Path:
    """Return the folder of the store for this source's fingerprint and this format."""
    key = canonical_hash({"format": FORMAT, "source": source.fingerprint()})
    return store_dir / f"{source.label}-{key[:12]}"


def origin_of(source: Source) -> str | None:
    """Return the folder of a source's recordings, or None if it has none."""
    origin = getattr(source, "origin", None)
    return None if origin is None else str(Path(origin).resolve())


def open_or_build(
    source: Source,
    store_dir: Path,
    *,
    progress: Progress | None = None,
    workers: int = 0,
    max_serial_s: float = 0.0,
    on_bad: OnBad = "fail",
) -> Store:
    """Open the source's packed store; pack the recordings first if there is none.

    Recordings that cannot be used are packed without events, with the reason in the manifest: to skip them later,
    nothing has to be packed again.

    Args:
        source: The dataset.
        store_dir: Folder of the stores.
        progress: Shows progress, for example a wrapper of tqdm.
        workers: Number of reading processes; 0 and 1 read in this process. The result is the same for any number.
        max_serial_s: Workers start only if one second of reading estimates a longer remaining time than this (s).
        on_bad: Reaction to recordings that cannot be used: `fail`, or `skip` them, so that splits leave them out.

    Raises:
        StoreError: If the store is damaged or is that of another source, or the folder cannot be written.
        DataError: If recordings cannot be used.
    """
    path = store_path(source, store_dir)
    if not os.path.exists(path):
        with store_lock(path):
            if not os.path.exists(path):
                _build(source, path, progress, workers, max_serial_s, on_bad)
    store = Store.open(path)
    if getattr(source, "split_not_packed", False):
        store = store.with_split(source.split, source.groups)
    _check_unchanged(source, store)
    if store.bad and on_bad == "fail":
        raise DataError("", _format_bad(store))
    return store


def remove(source: Source, store_dir: Path) -> Path | None:
    """Delete the source's packed store and return its path; None if there is none.

    Raises:
        StoreError: If the folder cannot be deleted.
    """
    path = store_path(source, store_dir)
    if not path.exists():
        return None
    with store_lock(path), _write_errors(path):
        shutil.rmtree(path)
    return path


def _build(
    source: Source, path: Path, progress: Progress | None, workers: int, max_serial_s: float, on_bad: OnBad
) -> None:
    _check_source(source)
    building = path.with_name(path.name + ".building")
    # Under the lock no other process builds here: an existing folder was left by a killed process.
    shutil.rmtree(building, ignore_errors=True)
    try:
        with _write_errors(path):
            building.mkdir()
        _pack(source, building, progress, read_all(source, workers, max_serial_s), on_bad)
        with _write_errors(path):
            building.rename(path)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _pack(
    source: Source, folder: Path, progress: Progress | None, reading: Generator[Recording], on_bad: OnBad
) -> None:
    with _write_errors(folder):
        writer = StoreWriter(folder, source.sensor_size)
    reasons: list[str] = []
    max_bad = len(source) if on_bad == "skip" else min(_MAX_BAD_FROM_START, len(source))
    with writer, closing(reading) as recordings, ExitStack() as shown:
        iterator: Recordings = recordings
        if progress:
            iterator = progress(recordings, len(source), f"packing {getattr(source, 'display_name', source.label)}")
            if isinstance(iterator, Generator):  # it ends what it shows, before an error is printed
                shown.enter_context(closing(iterator))
        for index, events in enumerate(iterator):
            with _write_errors(folder):
                if isinstance(events, Unusable):
                    reasons.append(events.reason)
                    writer.append_bad(events.reason)
                else:
                    writer.append(events)
            if len(reasons) == index + 1 == max_bad:
                raise DataError("", f"{reasons[0]}\n  and so are {_format_others(index, len(source))}")
        with _write_errors(folder):
            if (origin := origin_of(source)) is not None:
                (folder / ORIGIN).write_text(origin, encoding="utf-8", errors="surrogateescape")
            writer.finish(source.fingerprint(), source.targets, source.split, source.groups)


def _format_bad(store: Store) -> str:
    reasons = list(store.bad.values())
    head = f"{len(reasons):,} of {len(store):,} recordings cannot be used:\n  " if len(reasons) > 1 else ""
    more = f"\n  and {len(reasons) - _FEW:,} more; snnlab data inspect lists them" if len(reasons) > _FEW else ""
    return (
        head + "\n  ".join(reasons[:_FEW]) + more + "\n  data.on_bad=skip drops recordings that cannot be used;"
        " repaired files are read again, and all files are after snnlab data clean"
    )


def _format_others(last: int, total: int) -> str:
    if total == 1:
        return "no others: it is the only recording"
    return (
        "all others"
        if last + 1 == total
        else f"the next {last}; the other {total - last - 1:,} are not read; data.on_bad=skip reads all"
    )


@contextmanager
def store_lock(path: Path) -> Iterator[None]:
    """Keep other processes from packing or deleting a store."""
    with _write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_name(path.name + ".lock")
        lock = filelock.FileLock(file)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            _log.info("another process is packing %s; waiting for it", path)
            lock.acquire()
    try:
        yield
    finally:
        file.unlink(missing_ok=True)  # while it is held: a waiting process notices and creates it again
        lock.release()


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    """Turn an OSError on writing into a StoreError with a hint; never used around a source's own reading."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(
            path.parent,
            f"cannot be written ({reason})",
            "choose another folder with data.store_dir=... or free disk space",
        ) from error


def _check_source(source: Source) -> None:
    check_sensor_size(source.sensor_size)
    if problem := targets_problem(source.targets, len(source)):
        raise DataError(source.label, f"targets {problem}")
    for key, values in _per_recording(source).items():
        if values is None or key == "targets":
            continue
        if values.shape != (len(source),) or not np.issubdtype(values.dtype, np.integer):
            found = f"{values.dtype} {values.shape}"
            raise DataError(source.label, f"{key} is {found}, expected integers ({len(source)},)")
    if not np.isin(source.split, (0, 1, 2)).all():
        raise DataError(source.label, "split must be 0 (training), 1 (test) or 2 (validation)")


def _check_unchanged(source: Source, store: Store) -> None:
    """Raise if a store's folder has the right name but its content differs from the source."""
    fingerprint = json.loads(json.dumps(source.fingerprint()))
    same = {"fingerprint": store.manifest.source == fingerprint}
    same["sensor_size"] = store.sensor_size == tuple(source.sensor_size)
    same["number of recordings"] = len(store) == len(source)
    stored = _per_recording(store)
    same |= {key: _equal(stored[key], value) for key, value in _per_recording(source).items()}
    different = [key for key, is_same in same.items() if not is_same]
    if different:
        raise StoreError(store.path, f"its {different[0]} is not that of {source.label}", REBUILD_HINT)


def _per_recording(owner: Source | Store) -> dict[str, np.ndarray | None]:
    return {"targets": owner.targets, "split": owner.split, "groups": owner.groups}


def _equal(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)


# The end of a store's name: the first characters of a fingerprint.
_KEY = "?" * 12
_BUILDING = ".building"


class Copy(NamedTuple):
    """A packed copy of a dataset.

    Attributes:
        path: Its folder.
        label: The dataset's short name.
        origin: The folder of the original recordings; None if it is not recorded.
        size: Size, bytes.
    """

    path: Path
    label: str
    origin: str | None
    size: int


def copies(store_dir: Path) -> list[Copy]:
    """Return all packed copies in a folder, and unfinished ones of killed processes, sorted by path."""
    found = sorted([*store_dir.glob(f"*-{_KEY}"), *store_dir.glob(f"*-{_KEY}{_BUILDING}")])
    return [
        Copy(path, path.name.rpartition("-")[0], _read_origin(path), folder_size(path))
        for path in found
        if path.is_dir()
    ]


def copies_of(store_dir: Path, label: str, origin: str | None) -> list[Copy]:
    """Return all packed copies of a dataset, also of older versions of its recordings.

    Args:
        store_dir: Folder of the stores.
        label: The dataset's short name.
        origin: The folder of the recordings; copies of the same label without a recorded origin are included.
    """
    return [copy for copy in copies(store_dir) if copy.label == label and copy.origin in (None, origin)]


def remove_copies(found: list[Copy]) -> Iterator[Copy]:
    """Delete packed copies, and yield each deleted one.

    Raises:
        StoreError: if one cannot be deleted.
    """
    for copy in found:
        try:
            with store_lock(copy.path.with_name(copy.path.name.removesuffix(_BUILDING))):
                shutil.rmtree(copy.path)
        except FileNotFoundError:  # another process deleted it first
            continue
        except OSError as error:
            raise StoreError(copy.path, f"cannot be deleted ({error.strerror or error})") from error
        yield copy


def folder_size(path: Path) -> int:
    """Return the total size of the files of a folder, bytes."""
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else 0


def _read_origin(path: Path) -> str | None:
    try:
        return (path / ORIGIN).read_text(encoding="utf-8", errors="surrogateescape")
    except (OSError, ValueError):
        return None
