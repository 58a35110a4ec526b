"""Finds or packs the store of a dataset, under a lock; lists and deletes packed copies."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import shutil
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeAlias

import filelock
import numpy as np
from platformdirs import user_cache_path

from snnlab.data.events.recording import Events, SensorSize, Unusable, check_events, check_sensor_size, empty_events
from snnlab.data.events.store import FORMAT, INDEX, Labels, Manifest, Store, canonical_hash, checksum, column_types
from snnlab.errors import DataError, StoreError
from snnlab.experiment_fields import OnBad
from snnlab.target_kinds import kind_of, targets_problem

_log = logging.getLogger(__name__)

_MEASURED_S = 1.0
# Time that a worker continues after SIGTERM, so that the parent can end it.
_GRACE_S = 5
_CHUNK = 16
_CHUNKS_IN_FLIGHT = 3
"""Per worker: enough to keep it busy, few enough to keep memory bounded when writing is slower."""
_source: Source | None = None

Recording: TypeAlias = "Events | Unusable"
Recordings = Iterable[Recording]
Progress = Callable[[Recordings, int, str], Recordings]
"""Wraps the recordings to show progress; its other arguments are their number and a title."""


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


# If all of so many first recordings are bad, the rest is not read.
_MAX_BAD_FROM_START = 20
# Reasons that a message lists.
_FEW = 10
# The end of a store's name: the first characters of a checksum.
_KEY = "?" * 12
_BUILDING = ".building"


class Source(Protocol):
    """The interface of a dataset that can be packed; for several workers it must be picklable.

    Optional attributes: `origin`, the folder of the recordings; and `display_name`, their name for users.

    Attributes:
        label: Short name of the dataset; the store's folder begins with it.
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).
        targets: Class of each recording, `[R]`, int64; or values float32 `[R, D]` or `[R, T, D]`, or segments
            int64 `[S, 4]`.
        split: Part of each recording, `[R]`: 0 training, 1 test, 2 validation, if the dataset has such a part.
        groups: User or speaker of each recording, `[R]`, int64, or None.
    """

    @property
    def label(self) -> str: ...
    @property
    def sensor_size(self) -> SensorSize: ...
    @property
    def targets(self) -> np.ndarray: ...
    @property
    def split(self) -> np.ndarray: ...
    @property
    def groups(self) -> np.ndarray | None: ...

    def fingerprint(self) -> dict[str, Any]:
        """Return all settings and files that determine the events, as JSON; it differs if the events differ."""
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
    """Return the folder of the store: its name ends in a checksum of all that decides the events."""
    content = {"source": source.fingerprint(), "sensor_size": list(source.sensor_size), "recordings": len(source)}
    return store_dir / f"{source.label}-{canonical_hash({'format': FORMAT, **content})[:12]}"


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
    """Open the source's packed store; pack the recordings first if there is none, or if it does not open.

    Recordings that cannot be used are packed without events, with the reason in the manifest: to skip them later,
    nothing has to be packed again.

    Args:
        source: The dataset.
        store_dir: Folder of the stores.
        progress: Shows progress, for example a wrapper of tqdm.
        workers: Number of reading processes; 0 and 1 read in this process. The result is the same for any number.
        max_serial_s: See `read_all`.
        on_bad: Reaction to recordings that cannot be used: `fail`, or `skip` them, so that splits leave them out.

    Raises:
        StoreError: If the folder cannot be read or written.
        DataError: If recordings cannot be used.
    """
    labels, path = _labels(source), store_path(source, store_dir)
    store = _open(path, labels)
    if store is None:
        with _store_lock(path):
            store = _open(path, labels)  # another process may have packed it meanwhile
            if store is None:
                _build(source, path, progress, read_all(source, workers, max_serial_s), on_bad)
                store = Store(path, labels)
    if store.bad and on_bad == "fail":
        raise DataError("", _format_bad(store))
    return store


def _labels(source: Source) -> Labels:
    check_sensor_size(source.sensor_size)
    if problem := targets_problem(source.targets, len(source)):
        raise DataError(source.label, f"targets {problem}")
    for key, values in (("split", source.split), ("groups", source.groups)):
        if values is not None and not (values.shape == (len(source),) and np.issubdtype(values.dtype, np.integer)):
            raise DataError(source.label, f"{key} is {values.dtype} {values.shape}, expected integers ({len(source)},)")
    if not np.isin(source.split, (0, 1, 2)).all():
        raise DataError(source.label, "split must be 0 (training), 1 (test) or 2 (validation)")
    return Labels(
        sensor_size=(*source.sensor_size,),
        targets=np.ascontiguousarray(source.targets, "<i8" if kind_of(source.targets) in ("class", "steps") else "<f4"),
        split=np.ascontiguousarray(source.split, "|u1"),
        groups=None if source.groups is None else np.ascontiguousarray(source.groups, "<i8"),
    )


def _open(path: Path, labels: Labels) -> Store | None:
    if not path.exists():
        return None
    try:
        return Store(path, labels)
    except StoreError as error:
        if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, FileNotFoundError):
            raise  # of this machine, such as too little memory, and not of the files
        _log.warning(f"{path}: {error.message}: the recordings are packed again")
        return None


def _build(source: Source, path: Path, progress: Progress | None, reading: Generator[Recording], on_bad: OnBad) -> None:
    building = path.with_name(path.name + _BUILDING)
    # Under the lock no other process builds here: existing folders are damaged, or were left by a killed process.
    shutil.rmtree(building, ignore_errors=True)
    try:
        with _write_errors(path):
            building.mkdir()
        _pack(source, building, progress, reading, on_bad)
        with _write_errors(path):
            if path.exists():
                shutil.rmtree(path)
            building.rename(path)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _pack(
    source: Source, folder: Path, progress: Progress | None, reading: Generator[Recording], on_bad: OnBad
) -> None:
    types, empty = column_types(source.sensor_size), empty_events(source.sensor_size)
    hashes = {key: hashlib.sha256() for key in types}
    sizes, last_t, contents, bad = list[int](), list[int](), list[int](), list[tuple[int, str]]()
    max_bad = len(source) if on_bad == "skip" else min(_MAX_BAD_FROM_START, len(source))
    with closing(reading), ExitStack() as opened:
        with _write_errors(folder):
            files = {key: (folder / f"{key}.bin").open("wb") for key in types}
        for file in files.values():
            opened.callback(_close, file)
        recordings: Recordings = reading
        if progress:
            recordings = progress(reading, len(source), f"packing {getattr(source, 'display_name', source.label)}")
            if isinstance(recordings, Generator):  # it ends what it shows, before an error is printed
                opened.enter_context(closing(recordings))
        for index, recording in enumerate(recordings):
            if isinstance(recording, Unusable):
                bad.append((index, recording.reason))
                if len(bad) == index + 1 == max_bad:
                    raise DataError("", f"{bad[0][1]}\n  and so are {_format_others(index, len(source))}")
            events = empty if isinstance(recording, Unusable) else recording
            content = hashlib.blake2b(digest_size=8)
            with _write_errors(folder):
                for key, kind in types.items():
                    column = np.ascontiguousarray(getattr(events, key), kind)
                    files[key].write(column.data)
                    hashes[key].update(column.data)
                    content.update(column.data)
            sizes.append(events.t.size)
            last_t.append(int(events.t[-1]) if events.t.size else -1)
            contents.append(int.from_bytes(content.digest(), "little"))
        with _write_errors(folder):
            for file in files.values():
                file.flush()
    offsets = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    arrays = (offsets, np.array(last_t, np.int64), np.array(contents, np.uint64))
    sha256 = {key: value.hexdigest() for key, value in hashes.items()} | {"offsets": checksum(offsets)}
    with _write_errors(folder):
        for key, array in zip(INDEX, arrays, strict=True):
            np.save(folder / f"{key}.npy", array)
        Manifest(source.fingerprint(), origin_of(source), sha256, bad).write(folder)


def _close(file: BinaryIO) -> None:
    with suppress(OSError):  # on a full disk, closing fails for the same reason as the write before
        file.close()


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
def _store_lock(path: Path) -> Iterator[None]:
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


class Copy(NamedTuple):
    """A packed copy of a dataset: its folder, size (bytes), short name, and the folder of the recordings if known."""

    path: Path
    label: str
    origin: str | None
    size: int


def copies(store_dir: Path) -> list[Copy]:
    """Return all packed copies in a folder, and unfinished ones of killed processes, sorted by path."""
    paths = sorted([*store_dir.glob(f"*-{_KEY}"), *store_dir.glob(f"*-{_KEY}{_BUILDING}")])
    return [
        Copy(path, path.name.rpartition("-")[0], _read_origin(path), folder_size(path))
        for path in paths
        if path.is_dir()
    ]


def copies_of(store_dir: Path, label: str, origin: str | None) -> list[Copy]:
    """Return all packed copies of a dataset, also of older versions of its recordings or without a known origin."""
    return [copy for copy in copies(store_dir) if copy.label == label and copy.origin in (None, origin)]


def remove(path: Path) -> bool:
    """Delete a packed copy, and return whether there was one; raise a StoreError if it cannot be deleted."""
    if not path.exists():
        return False
    with _store_lock(path.with_name(path.name.removesuffix(_BUILDING))):
        try:
            shutil.rmtree(path)
        except FileNotFoundError:  # another process deleted it first
            return False
        except OSError as error:
            raise StoreError(path, f"cannot be deleted ({error.strerror or error})") from error
    return True


def folder_size(path: Path) -> int:
    """Return the total size of the files of a folder, bytes."""
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else 0


def _read_origin(path: Path) -> str | None:
    try:
        return Manifest.read(path).origin
    except (OSError, ValueError, TypeError):
        return None
