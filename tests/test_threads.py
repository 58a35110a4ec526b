"""Each task runs once, in any thread, and an error in a thread is raised."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from snnlab import threads
from snnlab.cli.main import let_openmp_sleep
from snnlab.compat import openmp
from snnlab.threads import BLOCK_VALUES, BLOCKS_PER_THREAD, MIN_VALUES, openmp_spin_count, share

from .refusals import assert_raises


@pytest.fixture(params=["torch's threads", "threads of our own"], autouse=True)
def _either_library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(threads, "openmp_sleeps_soon", lambda: False)
    if request.param == "threads of our own":
        monkeypatch.setattr(threads, "run_in_openmp", lambda *_: False)
    elif openmp() is None:
        pytest.skip("torch's OpenMP library has no entry point that is known")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("tasks", [1, 2, 3, 17])
def test_each_task_is_done_once(tasks: int) -> None:
    parts: list[tuple[int, int]] = []
    share(lambda first, last: parts.append((first, last)), tasks, 2 * BLOCKS_PER_THREAD * BLOCK_VALUES)
    assert sorted(task for part in parts for task in range(*part)) == [*range(tasks)]
    assert len(parts) == min(2 * BLOCKS_PER_THREAD, tasks)


def test_pieces_are_not_made_small() -> None:
    parts: list[tuple[int, int]] = []
    share(lambda first, last: parts.append((first, last)), 30, 3 * BLOCK_VALUES)
    assert len(parts) == 3


def test_few_values_are_not_shared() -> None:
    parts: list[tuple[int, int]] = []
    share(lambda first, last: parts.append((first, last)), 8, MIN_VALUES - 1)
    assert parts == [(0, 8)]


@pytest.mark.parametrize("wrong", [0, 1])
def test_an_error_in_any_thread_is_raised(wrong: int) -> None:
    def run(first: int, last: int) -> None:
        if wrong in range(first, last):
            raise ValueError(f"task {wrong}")

    with assert_raises(ValueError, "task", wrong):
        share(run, 2, MIN_VALUES)


def test_a_thread_without_a_core_leaves_its_blocks_to_the_other() -> None:
    done: dict[int, int] = {}
    held = threading.Event()

    def run(first: int, last: int) -> None:
        done[threading.get_ident()] = done.get(threading.get_ident(), 0) + last - first
        if first == 0:
            held.wait(10.0)  # until all others are done
        elif sum(done.values()) == 2 * BLOCKS_PER_THREAD:
            held.set()

    share(run, 2 * BLOCKS_PER_THREAD, 2 * BLOCKS_PER_THREAD * BLOCK_VALUES)
    assert sorted(done.values()) == [1, 2 * BLOCKS_PER_THREAD - 1]


@pytest.mark.parametrize(
    ("environment", "count", "ours"),
    [
        ({}, None, False),
        ({"GOMP_SPINCOUNT": "0"}, 0, True),
        ({"GOMP_SPINCOUNT": "1000"}, 1000, True),
        ({"GOMP_SPINCOUNT": "100000"}, 100_000, False),
        ({"GOMP_SPINCOUNT": "infinite"}, None, False),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, 0, True),
        ({"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "100000"}, 100_000, False),
        ({"OMP_WAIT_POLICY": "active"}, None, False),
    ],
)
def test_our_own_threads_run_where_openmps_sleep_soon(
    environment: dict[str, str], count: int | None, ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    used: list[bool] = []
    monkeypatch.setattr(threads, "run_in_openmp", lambda *_: used.append(True) or False)
    openmp_spin_count.cache_clear()
    found = openmp_spin_count()
    share(lambda first, last: None, 2, MIN_VALUES)
    openmp_spin_count.cache_clear()
    assert found == count
    assert bool(used) is not ours


@pytest.mark.parametrize(
    ("environment", "left"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "500"}, "500"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_the_command_line_lets_openmp_sleep_unless_the_environment_has_a_value(
    environment: dict[str, str], left: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(environment))
    let_openmp_sleep()
    assert os.environ.get("GOMP_SPINCOUNT") == left


@pytest.mark.long
def test_openmp_reads_the_command_lines_value_when_torch_is_imported() -> None:
    if next((Path(torch.__file__).parent / "lib").glob("libgomp*"), None) is None:
        pytest.skip("torch's OpenMP library is not GNU's")
    env = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = "from snnlab.cli.main import let_openmp_sleep; let_openmp_sleep(); import torch"
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        env=env | {"OMP_DISPLAY_ENV": "VERBOSE"},
        capture_output=True,
        text=True,
    )
    assert "GOMP_SPINCOUNT = '1000'" in done.stderr, done.stderr
