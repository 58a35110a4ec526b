from __future__ import annotations

import pytest
import torch

from snnlab.runs import profile
from snnlab.runs.profile import Stopwatch


def test_time_goes_to_the_name_that_ends_it_and_pauses_to_none(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([1.0, 1.5, 3.5, 10.0, 10.25, 11.0])
    monkeypatch.setattr(profile.time, "perf_counter", lambda: next(moments))
    stopwatch = Stopwatch(torch.device("cpu"))
    stopwatch.start()
    stopwatch.mark("a")
    stopwatch.mark("b")
    stopwatch.start()
    stopwatch.mark("a")
    stopwatch.mark("c")
    assert stopwatch.milliseconds() == {"a": 750.0, "b": 2000.0, "c": 750.0}


def test_a_watch_that_never_ran_has_no_times() -> None:
    assert Stopwatch(torch.device("cpu")).milliseconds() == {}


@pytest.mark.gpu
def test_on_a_gpu_the_work_is_timed_and_not_the_launch() -> None:
    device = torch.device("cuda")
    x = torch.rand(4096, 4096, device=device)
    stopwatch = Stopwatch(device)
    for _ in range(2):  # the first loads the library
        stopwatch.start()
        for _ in range(20):
            torch.mm(x, x)
        stopwatch.mark("product")
        stopwatch.mark("nothing")
    times = stopwatch.milliseconds()
    assert times["product"] > 10 * times["nothing"]
