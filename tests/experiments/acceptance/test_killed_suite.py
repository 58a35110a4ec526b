"""The processes of a suite: killed, interrupted, two at once. What a suite does: test_bench.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ...refusals import assert_error_has, assert_text_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]
SMOKE = ("bench", "suite=smoke", "engine=here", "threads=1")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"data.store_dir={tmp_path_factory.mktemp('patterns')}"


def page(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "suite.json").read_text())


def wait_until(process: subprocess.Popen[str], found: Callable[[], Any]) -> None:
    end = time.monotonic() + 300
    while not found():
        assert process.poll() is None, process.communicate()
        if time.monotonic() > end:
            process.kill()
            raise AssertionError(process.communicate())
        time.sleep(0.05)


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "snnlab", "bench", "suite=smoke", "threads=1", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def results(folder: Path) -> list[Path]:
    return list(folder.glob("runs/*/*/*/result.json"))


def running(folder: Path) -> bool:
    paths = folder.glob("runs/*/*/*/metrics.csv")
    return any(not (path.parent / "result.json").exists() for path in paths)


@pytest.mark.slow
def test_killed_twice_the_same_command_continues_and_repeats_nothing(workplace: Path, store: str, snnlab: Snnlab):
    arguments = ("seeds=[0,1]", "trainer.max_epochs=40", "checkpoint_every_s=0", "controls=[]", store)
    folder = workplace / "outputs" / "suite_smoke"
    written: dict[Path, int] = {}
    for more in (1, 2):
        with started(*arguments) as process:
            wait_until(process, lambda: len(results(folder)) >= more and running(folder))  # noqa: B023
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        written |= {path: path.stat().st_mtime_ns for path in results(folder)}
    with started(*arguments) as process:
        out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert_text_has(out, "4 of 4 trainings", "0 failed")
    assert {path: path.stat().st_mtime_ns for path in written} == written
    resumed = [json.loads(path.read_text())["resumed"] for path in results(folder)]
    assert any(resumed)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["here", "joblib"])
def test_ctrl_c_ends_it_with_a_line_that_says_how_to_continue(workplace: Path, store: str, engine: str):
    folder = workplace / "outputs" / "suite_smoke"
    with started("trainer.max_epochs=100000", f"engine={engine}", store) as process:
        wait_until(process, lambda: running(folder))
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "0 of 14" in err
    assert {cell["status"] for cell in page(folder)["cells"]} == {"missing"}


@pytest.mark.slow
def test_two_at_once_in_a_folder_are_refused(workplace: Path, store: str, snnlab: Snnlab):
    folder = workplace / "outputs" / "suite_smoke"
    with started("trainer.max_epochs=100000", "engine=here", store) as process:
        wait_until(process, lambda: running(folder))
        second = snnlab(*SMOKE, store, "trainer.max_epochs=100000")
        process.kill()
        process.communicate()
    assert second.status == 2
    assert_error_has(second.error, workplace / "outputs" / "suite_smoke", "process")
