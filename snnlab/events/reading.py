"""Read and check a source's recordings in order, here or in a few processes."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING

from snnlab.errors import DataError
from snnlab.events.recording import Events, Unusable, check_events

if TYPE_CHECKING:
    from collections.abc import Generator

    from snnlab.events.build import Source

_TRIED_S = 1.0
# How long a worker goes on after SIGTERM, for the parent to end it.
_GRACE_S = 5
_CHUNK = 16
_CHUNKS_IN_FLIGHT = 3
"""Per worker: enough to keep it busy, few enough to keep memory bounded when writing is slower."""

_source: Source | None = None


def read_all(source: Source, workers: int = 0, alone_s: float = 0.0) -> Generator[Events | Unusable]:
    """Yield every recording, checked, in the source's order, or why it cannot be used.

    Args:
        source: The dataset.
        workers: Processes that read; 0 and 1 read here.
        alone_s: Processes are started only when those that were read here for a second foretell so many more (s).

    Raises:
        DataError: If a worker was killed.
    """
    done, started = 0, time.perf_counter()
    while done < len(source) and (workers <= 1 or not _worth_it(done, len(source), started, alone_s)):
        yield _read(source, done)
        done += 1
    if done == len(source):
        return
    # Not forked: a fork inherits locks of the threads that numba and PyTorch have started.
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(source,)
    )
    try:
        yield from _in_order(pool, range(done, len(source)), workers * _CHUNKS_IN_FLIGHT)
    except BrokenProcessPool as error:
        raise DataError(
            f"{source.label}: a reading process died (out of memory?, or a script without "
            "`if __name__ == '__main__':`); read with workers=0"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _worth_it(done: int, size: int, started: float, alone_s: float) -> bool:
    passed = time.perf_counter() - started
    return alone_s == 0 or (done > 0 and passed > _TRIED_S and passed / done * (size - done) > alone_s)


def _in_order(pool: ProcessPoolExecutor, places: range, in_flight: int) -> Iterator[Events | Unusable]:
    pending: deque[Future[list[Events | Unusable]]] = deque()
    for start in places[::_CHUNK]:
        pending.append(pool.submit(_read_chunk, start, min(start + _CHUNK, places.stop)))
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


def _read_chunk(start: int, stop: int) -> list[Events | Unusable]:
    assert _source is not None
    return [_read(_source, index) for index in range(start, stop)]


def _read(source: Source, index: int) -> Events | Unusable:
    try:
        events = source.read(index)
        check_events(events, source.sensor_size, source.name(index))
    except DataError as error:
        return Unusable(str(error))
    return events
