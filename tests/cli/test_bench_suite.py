"""A suite from the command line: the smoke suite with its controls, errors, signals."""

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

from ..refusals import assert_error_has, assert_text_has
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


def test_the_smoke_suite_ends_with_all_controls_passed_and_is_not_done_twice(
    workplace: Path, store: str, snnlab: Snnlab
):
    done = snnlab(*SMOKE, store, "seeds=[0,1]")
    assert done.status == 0, done.err
    folder = Path(done.out.splitlines()[-1])
    assert folder == workplace / "outputs" / "suite_smoke"
    found = page(folder)
    assert [cell["status"] for cell in found["cells"]] == ["completed"] * 8
    assert {one["name"]: one["passed"] for one in found["controls"]} == {
        "duplicates": True,
        "shuffled_labels": True,
        "permuted_test_labels": True,
        "shuffled_time": None,
        "counts_only": None,
    }
    assert found["match"]["spike_patterns"]["linear_counts"]["beyond"] is True
    assert all((folder / cell["folder"] / "predictions.npz").is_file() for cell in found["cells"])
    assert_text_has(done.out, "8 of 8 trainings", "0 failed", "0 are missing")
    assert_text_has(" ".join(done.out.split()), "params")
    assert all((folder / f"table.{form}").stat().st_size for form in ("md", "csv", "json", "tex"))
    assert "</html>" in (folder / "report.html").read_text()
    assert done.err.count("  | ") == 8  # a line per run
    again = snnlab(*SMOKE, store, "seeds=[0,1]")
    assert again.err.count("  | ") == 0
    assert page(folder) == found
    shown = snnlab("bench", "suite=smoke", "threads=1", store, "seeds=[0,1]", "--dry-run")
    assert "recurrent: 2 of 2 done" in shown.out
    assert_text_has(shown.out, "counts_only", "recurrent: 1 of 1")
    other = snnlab(*SMOKE, store, "seeds=[0,1]", "trainer.max_epochs=3")
    assert other.status == 2
    assert_error_has(other.error, "outputs/suite_smoke", "trainer.max_epochs=3", "folder=FOLDER")


def test_without_a_suite_they_are_listed(workplace: Path, snnlab: Snnlab):
    done = snnlab("bench")
    assert done.status == 0
    assert "suite=smoke " in done.out
    assert "suite=nmnist " in done.out


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["suite=wrong", "--config-dir", "mine"], ("model=mlp_liff", "file")),
        (["suite=smoke", "folder=run"], ("folder", "run")),
        (["suite=smoke", "folder=run/inner"], ("folder", "run")),
    ],
)
def test_a_mistake_is_found_before_anything_runs(workplace: Path, snnlab: Snnlab, arguments: list[str], facts: tuple):
    (workplace / "run" / "checkpoints").mkdir(parents=True)
    (workplace / "run" / "config.yaml").write_text("")
    (workplace / "mine" / "suite").mkdir(parents=True)
    methods = "{good: [model=mlp_lif], bad: [model=mlp_liff]}"
    (workplace / "mine" / "suite" / "wrong.yaml").write_text(
        f"methods: {methods}\ndatasets: {{p: [data=spike_patterns]}}\n"
    )
    before = set(workplace.rglob("*"))
    done = snnlab("bench", *arguments)
    assert done.status == 2
    assert_error_has(done.error, *facts)
    assert set(workplace.rglob("*")) == before


def test_a_setting_that_no_training_can_have_ends_it_at_once_and_can_be_corrected(
    workplace: Path, store: str, snnlab: Snnlab
):
    for mistake, *facts in [
        ("trainer.max_epoch=3", "trainer.max_epoch", "max_epochs"),
        ("threads=0", "threads", 1, 0),
    ]:
        done = snnlab(*SMOKE, store, mistake)
        assert done.status == 2
        assert_error_has(done.error, *facts)
        assert "  | " not in done.err  # no run was started
    assert snnlab(*SMOKE, store, "trainer.max_epochs=3", "--dry-run").status == 0


def test_a_dry_run_says_which_methods_do_not_build(workplace: Path, snnlab: Snnlab):
    (workplace / "suite").mkdir()
    methods = (
        "{good: [model=mlp_lif], bad: [model=mlp_liff], tuned: {overrides: [], tune: {space: {optimizer.lrr: [1]}}}}"
    )
    text = f"methods: {methods}\ndatasets: {{p: [data=spike_patterns]}}\n"
    text += "tune: {trials: 1, space: {optimizer.lr: [1]}}\n"
    (workplace / "suite" / "mine.yaml").write_text(text)
    done = snnlab("bench", "suite=mine", "--config-dir", str(workplace), "--dry-run")
    lines = done.out.splitlines()
    assert done.status == 0
    assert lines[2] == "  good: 0 of 3 done"
    assert [line.partition(": ")[0].split() for line in lines[5:]] == [["bad", "on", "p"], ["tuned", "on", "p"]]
    assert_text_has(lines[5], "'mlp_lif'")
    assert_text_has(lines[6], "tuned", "p: tune.space: optimizer", "'lrr'")


def test_a_dataset_that_is_missing_is_a_gap(workplace: Path, snnlab: Snnlab):
    (workplace / "suite").mkdir()
    text = "methods: {a: []}\ndatasets: {nmnist: [data=nmnist, data.root=nowhere, data.download=false]}\nengine: here\n"
    (workplace / "suite" / "mine.yaml").write_text(text)
    done = snnlab("bench", "suite=mine", "--config-dir", str(workplace))
    assert done.status == 2
    assert_error_has(done.error, "bench")
    assert_text_has(done.out, "0 of 3 trainings", "0 failed", "3 are")
    assert {cell["error"].partition(":")[0] for cell in page(workplace / "outputs/suite_mine")["cells"]} == {
        "data.root"
    }


def test_a_copied_suite_belongs_to_the_user(workplace: Path, snnlab: Snnlab):
    copied = snnlab("cp", "suite/smoke", "mine/suite/own.yaml")
    assert_text_has(copied.out.strip(), "snnlab bench --config-dir mine suite=own")
    assert (workplace / "mine/suite/own.yaml").read_text().startswith(f"# {copied.out.strip()}\n")
    shown = snnlab(*copied.out.split()[1:], "--dry-run")
    assert "recurrent: 0 of 5 done" in shown.out
    assert "suite=own " in snnlab("bench", "--config-dir", "mine").out


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
