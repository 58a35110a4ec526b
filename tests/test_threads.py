"""Tasks are done once each, whoever does them, and what goes wrong in a thread is heard of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from snnlab import threads
from snnlab.compat import openmp
from snnlab.threads import ALONE, share


@pytest.fixture(params=["torch's threads", "threads of our own"], autouse=True)
def _either_library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "threads of our own":
        monkeypatch.setattr(threads, "run_in_team", lambda *_: False)
    elif openmp() is None:
        pytest.skip("torch's OpenMP library has no entry point that is known")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("tasks", [1, 2, 3, 17])
def test_each_task_is_done_once(tasks: int) -> None:
    parts: list[tuple[int, int]] = []
    share(lambda first, last: parts.append((first, last)), tasks, ALONE)
    assert sorted(task for part in parts for task in range(*part)) == [*range(tasks)]
    assert len(parts) == min(2, tasks)


def test_few_values_are_not_shared() -> None:
    parts: list[tuple[int, int]] = []
    share(lambda first, last: parts.append((first, last)), 8, ALONE - 1)
    assert parts == [(0, 8)]


@pytest.mark.parametrize("wrong", [0, 1])
def test_an_error_in_any_thread_is_raised(wrong: int) -> None:
    def run(first: int, last: int) -> None:
        if wrong in range(first, last):
            raise ValueError(f"task {wrong}")

    with pytest.raises(ValueError, match=f"task {wrong}"):
        share(run, 2, ALONE)
