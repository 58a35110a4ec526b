"""One job serves many tasks; here the job is a thread."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from snnlab.search import spool
from snnlab.search.spool import Serving, Spool


def wait(job: threading.Thread) -> None:
    job.join(10)
    assert not job.is_alive()


def answer(ours: Spool, number: int) -> object:
    end = time.monotonic() + 10
    while not ours.answered(number):
        assert time.monotonic() < end
        time.sleep(0.01)
    return ours.answer(number)


def test_a_job_does_one_task_after_another_until_it_is_over(tmp_path: Path):
    ours = Spool(tmp_path / "spool")
    job = threading.Thread(target=Serving(), args=(str(ours.folder),))
    job.start()
    assert answer(ours, ours.put(os.path.join, ("a", "b"))) == "a/b"
    assert answer(ours, ours.put(max, (1, 2))) == 2
    assert not ours.busy
    ours.end()
    wait(job)


def test_a_job_that_begins_anew_does_what_is_not_done(tmp_path: Path):
    ours = Spool(tmp_path / "spool")
    numbers = [ours.put(max, (1, 2)), ours.put(min, (1, 2))]
    (ours.folder / "1.done").write_bytes(b"not to be touched")
    assert ours.busy
    job = threading.Thread(target=Serving(), args=(str(ours.folder),))
    job.start()
    assert answer(ours, numbers[1]) == 1
    assert (ours.folder / "1.done").read_bytes() == b"not to be touched"
    ours.end()
    wait(job)


def test_a_job_ends_when_nobody_is_there_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spool, "PATIENCE_S", 0.2)
    ours = Spool(tmp_path / "spool")
    job = threading.Thread(target=Serving(), args=(str(ours.folder),))
    job.start()
    wait(job)


def test_after_its_time_it_is_put_into_the_queue_again(tmp_path: Path):
    pytest.importorskip("submitit")
    again = Serving().checkpoint(str(tmp_path))
    assert isinstance(again.function, Serving)
    assert again.args == (str(tmp_path),)
