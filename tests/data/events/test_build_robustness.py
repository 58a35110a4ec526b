"""A store is absent or complete: after kills, with parallel processes, for much data."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from processes import start
from rough_sources import Deadly
from toy_source import ToySource

from snnlab.data.events import open_or_build
from snnlab.data.events.packing import store_path
from snnlab.errors import DataError

from ...refusals import assert_raises, assert_text_has

MEGABYTE = 2**20
BUILD = """
    from pathlib import Path
    from snnlab.data.events import open_or_build
    from rough_sources import Slow
    if __name__ == "__main__":
        print("begins", flush=True)
        open_or_build(Slow(pause=float(sys.argv[3])), Path(sys.argv[1]), workers=int(sys.argv[2]))
    """


def folders(store_dir: Path) -> list[str]:
    return sorted(path.name for path in store_dir.iterdir() if path.is_dir())


@contextmanager
def killed_at_the_end(store_dir: Path, workers: int, pause: float) -> Iterator[None]:
    """Start packing 37 recordings, with a pause at each; kill it and its workers when the block ends."""
    process = start(BUILD, store_dir, workers, pause)
    assert process.stdout is not None
    assert process.stdout.readline() == "begins\n"
    yield
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def wait_for_a_half(store_dir: Path) -> None:
    deadline = time.monotonic() + 60
    while not any(path.name.endswith(".building") for path in store_dir.glob("*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def assert_absent_or_whole_and_built(store_dir: Path) -> list[str]:
    """Return the folders that the killed process had left, after the next one has built or opened the store."""
    path, left = store_path(ToySource(), store_dir), folders(store_dir)
    store = open_or_build(ToySource(), store_dir)
    store.verify()
    assert len(store) == 37
    assert folders(store_dir) == [path.name]
    return left


@pytest.mark.parametrize(
    ("times", "workers"),
    [
        pytest.param(4, 0, marks=pytest.mark.long),
        *(pytest.param(20, workers, marks=pytest.mark.slow) for workers in (0, 2)),
    ],
)
def test_whenever_it_is_killed_the_store_is_absent_or_whole(tmp_path: Path, times: int, workers: int) -> None:
    delays = random.Random(times + workers)
    for number in range(times):
        store_dir = tmp_path / str(number)
        for _ in range(1 + number % 2):  # some are killed again, on what the first one left
            with killed_at_the_end(store_dir, workers, pause=0.01):
                time.sleep(delays.uniform(0, 2.0 if workers else 0.5))
        store_dir.mkdir(exist_ok=True)  # it may not have been made
        assert_absent_or_whole_and_built(store_dir)


def test_a_half_that_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    with killed_at_the_end(tmp_path, 0, pause=10):
        wait_for_a_half(tmp_path)
    left = assert_absent_or_whole_and_built(tmp_path)
    assert [name.endswith(".building") for name in left] == [True]


@pytest.mark.long
def test_four_processes_at_once_open_one_store_that_was_built_once(tmp_path: Path) -> None:
    code = """
        from pathlib import Path
        from snnlab.data.events import open_or_build
        from rough_sources import Slow
        store = open_or_build(Slow(journal=Path(sys.argv[2])), Path(sys.argv[1]))
        store.verify()
        print(store.fingerprint)
        """
    processes = [start(code, tmp_path / "stores", tmp_path / "journal") for _ in range(4)]
    answers = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, answers
    assert len(set(answers)) == 1
    assert len((tmp_path / "journal").read_text().split()) == 37
    assert len(folders(tmp_path / "stores")) == 1


def test_a_reading_process_that_is_killed_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with assert_raises(DataError, "toy", "workers=0"):
        open_or_build(Deadly(), tmp_path, workers=2)
    assert folders(tmp_path) == []
    assert multiprocessing.active_children() == []
    open_or_build(ToySource(), tmp_path).verify()


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="root's right to write everywhere is given up by a Linux call")
def test_a_read_only_folder_is_read_and_cannot_be_built_in(tmp_path: Path) -> None:
    built = open_or_build(ToySource(), tmp_path)
    code = """
        import ctypes
        from pathlib import Path
        from snnlab.errors import StoreError
        from snnlab.data.events import open_or_build
        from toy_source import ToySource
        # Version 3, this process; none effective, permitted, inheritable.
        ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
        print(open_or_build(ToySource(), Path(sys.argv[1])).fingerprint)
        try:
            open_or_build(ToySource(version=2), Path(sys.argv[1]))
        except StoreError as error:
            print(error)
        """
    tmp_path.chmod(0o500)
    try:
        answer = start(code, tmp_path).communicate(timeout=60)[0].splitlines()
    finally:
        tmp_path.chmod(0o700)
    assert answer[0] == built.fingerprint
    assert_text_has(answer[1], tmp_path, "Permission")
    assert folders(tmp_path) == [built.path.name]


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted as Linux does")
def test_twenty_million_events_are_packed_gathered_and_verified_in_little_memory(tmp_path: Path) -> None:
    """The columns take 260 MB; their maps, which are only read, are not the process's own memory."""
    code = """
        import resource
        from pathlib import Path
        import numpy as np
        from snnlab.data.events import open_or_build
        from rough_sources import Large
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        own = lambda: int(Path("/proc/self/status").read_text().split("VmData:")[1].split()[0])
        before = peak()
        store = open_or_build(Large(), Path(sys.argv[1]))
        print(peak() - before)
        # From here on the system limits memory: 64 MB more than in use.
        resource.setrlimit(resource.RLIMIT_DATA, (1024 * own() + 2**26,) * 2)
        packed = store.gather(np.array([199, 0, 17, 17]))
        print(packed.t.size, packed.t[0])
        store.verify()
        print(store.num_events)
        print(peak() - before)
        """
    process = start(code, tmp_path)
    answer = process.communicate(timeout=300)[0]
    shutil.rmtree(tmp_path)
    assert process.returncode == 0, answer
    grown, gathered, verified, grown_after = answer.splitlines()
    assert int(grown) * 1024 < 64 * MEGABYTE
    assert gathered == "400000 1990"
    assert verified == "20000000"
    assert int(grown_after) * 1024 < 96 * MEGABYTE
