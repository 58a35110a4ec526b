"""Fixtures for all tests: the real recordings; independence of the user's cache and number of cores."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from platformdirs import user_cache_path

ROOT = Path(__file__).resolve().parents[1]

# Before anything imports torch or numba, and for the processes that tests start: sums over one thread differ in their
# last digits from sums over eight, small tensors are slower on many, and there is a test process for each core.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"
# Rendered loops are compiled once for all runs of the tests; their files are named by a hash of their dependencies.
os.environ.setdefault("SNNLAB_CACHE", str(user_cache_path("snnlab")))
# Tests run in several processes at a time, and OpenMP's threads would wait for each other by spinning.
os.environ.setdefault("GOMP_SPINCOUNT", "0")
# A shell lets what it starts in the background ignore Ctrl+C, and so would the processes that tests start and signal.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Garbage is searched for rarely: usually this takes an eighth of the time of compiling and of trainings.
gc.set_threshold(100_000, 20, 100)


def pytest_collection_finish() -> None:
    """Never search what was imported for garbage."""
    gc.freeze()
    # At its end the interpreter frees all of it, without a word of bindings that something leaked. Not before: pytest
    # searches five times when its session ends.
    atexit.register(gc.unfreeze)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Use empty folders for the user's cache, which all test processes share, and the user's key."""
    own = tmp_path_factory.getbasetemp()  # within the folder of all test processes, if there are several
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared / "cache"))
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(autouse=True)
def _own_signals() -> Iterator[None]:
    """Restore the process's signal handlers: a command that a signal ended ignores further ones."""
    which = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {one: signal.getsignal(one) for one in which}
    yield
    for one, handler in before.items():
        if signal.getsignal(one) is not handler:
            signal.signal(one, handler)


@pytest.fixture
def store_dir(tmp_path: Path) -> Path:
    """Return an empty folder for `data.store_dir`, one for each test."""
    path = tmp_path / "store"
    path.mkdir()
    return path


@pytest.fixture(scope="session")
def digits_folder(_own_cache: None) -> Path:
    """Return the cache's stores, where saccade_digits, which takes five seconds to make, is packed once for all."""
    from snnlab.data.events.packing import default_store_dir  # numba reads the environment when it is imported

    return default_store_dir()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real recordings, laid out as tonic does: SNNLAB_DATA, or ../shared/data."""
    named = os.environ.get("SNNLAB_DATA")
    path = Path(named).resolve() if named else ROOT.parent / "shared" / "data"
    if path.is_dir():
        return path
    if named:
        pytest.fail(f"SNNLAB_DATA names {path}, which is not a folder")
    pytest.skip(f"no real recordings: {path} is missing and SNNLAB_DATA is not set")


@pytest.fixture
def stand_in_aedat(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Replace the package aedat, which tonic reads with, by the stand-in."""
    monkeypatch.syspath_prepend(ROOT / "tests" / "fixtures" / "stand_ins")
    monkeypatch.delitem(sys.modules, "aedat", raising=False)
    yield
    sys.modules.pop("aedat", None)


@pytest.fixture
def quiet_trainer(tmp_path: Path) -> Callable[..., Any]:
    """Return a function that makes a trainer for a few steps on the CPU, without files and output."""

    import lightning as L

    def make(**settings: Any) -> Any:
        quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        return L.Trainer(
            accelerator="cpu",
            enable_model_summary=False,
            num_sanity_val_steps=0,
            default_root_dir=tmp_path,
            **{**quiet, **settings},
        )

    return make
