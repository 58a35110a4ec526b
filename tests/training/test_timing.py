from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch

from snnlab.training import progress
from snnlab.training.progress import Timing

BATCH = SimpleNamespace(lengths=torch.zeros(4))


class _FakeTime:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def fake_time(monkeypatch: pytest.MonkeyPatch) -> _FakeTime:
    fake_time = _FakeTime()
    monkeypatch.setattr(progress.time, "perf_counter", fake_time)
    return fake_time


def _train(timing: Any, fake_time: _FakeTime, seconds: list[float]) -> None:
    timing.on_train_epoch_start(None, None)
    for n, each in enumerate(seconds, 1):
        fake_time.now += each
        timing.on_train_batch_end(SimpleNamespace(world_size=1), None, None, BATCH, n)


def test_training_is_timed_without_validation(fake_time: _FakeTime) -> None:
    timing: Any = Timing(started=90.0)
    timing.on_fit_start(None, None)
    for _ in range(2):
        fake_time.now += 1.0
        _train(timing, fake_time, [2.0, 1.0])
        assert timing.epoch_s == 3.0
        fake_time.now += 50.0  # validation
    timing.on_fit_end(None, None)
    summary = timing.summary()
    assert summary["first_step_s"] == 13.0  # from the command's start
    assert summary["fit_s"] == 108.0
    assert summary["samples_per_s"] == pytest.approx(16 / 6.0)


def test_an_interrupted_epoch_counts_until_its_last_batch(
    fit_scripted: Callable[..., Any], fake_time: _FakeTime
) -> None:
    class Batches(L.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            fake_time.now += 1.0

    timing = Timing(started=90.0)
    fit_scripted([Batches(), timing], [1.0, 1.0], enable_checkpointing=False, max_steps=5)  # 3 batches are an epoch
    assert (timing.samples, timing.epoch_s, timing.training_s) == (18, 2.0, 5.0)


def test_without_a_step_there_is_no_speed() -> None:
    summary = Timing(started=time.perf_counter()).summary()
    assert summary["samples_per_s"] is None
    assert summary["first_step_s"] is None


def test_a_failed_training_has_a_duration_and_a_finished_one_keeps_it(fake_time: _FakeTime) -> None:
    failed: Any = Timing(started=90.0)
    failed.on_exception(None, None, ValueError())  # before the fit began
    assert failed.fit_s == 0.0
    failed.on_fit_start(None, None)
    fake_time.now += 5.0
    failed.on_exception(None, None, ValueError())
    fake_time.now += 7.0
    failed.on_exception(None, None, ValueError())
    assert failed.fit_s == 5.0


def test_memory_is_in_megabytes() -> None:
    peak = Timing(started=0.0).summary()["peak_rss_mb"]
    assert peak is not None
    assert 50 < peak < 50_000  # torch alone is more than 50 MB
