"""Ctrl-C, SIGTERM and a closed terminal during `snnlab train`: what docs/runs.md promises of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from snnlab import train
from snnlab.errors import Interrupted

from ..cli import killing
from ..refusals import assert_raises, assert_text_has
from .conftest import FAST

# Long enough to last until the signal.
LONG = [text for text in FAST if "max_epochs" not in text] + [
    "trainer.max_epochs=100000",
    "logger=none",
]


def stopped(*arguments: str, signals: list[int], after: str = "epoch      2/") -> tuple[int, str, str]:
    """Run `snnlab train`, send the signals once it prints `after`; return exit status, stdout, stderr."""
    with subprocess.Popen(
        [sys.executable, "-m", "snnlab", "train", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell may ignore Ctrl-C for tests in the background, and child processes inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stderr is not None
        said = ""
        while after not in said and (line := process.stderr.readline()):
            said += line
        for number in signals:
            os.killpg(process.pid, number)  # like a terminal: to the workers too
            time.sleep(0.1)
        out, err = process.communicate(timeout=60)
    return process.returncode, out, said + err


@pytest.mark.parametrize(
    ("signals", "status", "workers"),
    [
        pytest.param([signal.SIGINT], 130, 0, marks=pytest.mark.slow),
        pytest.param([signal.SIGINT] * 2, 130, 1, marks=pytest.mark.long),
        pytest.param([signal.SIGTERM] * 2, 143, 0, marks=pytest.mark.slow),
        pytest.param([signal.SIGHUP] * 2, 129, 1, marks=pytest.mark.slow),
    ],
    ids=["ctrl_c", "ctrl_c_twice_with_a_worker", "sigterm", "a_closed_terminal_with_a_worker"],
)
def test_a_signal_ends_the_training_with_a_message_and_a_run_folder(
    workplace: Path, digits_store: str, signals: list[int], status: int, workers: int
):
    code, out, err = stopped(*LONG, digits_store, f"data.num_workers={workers}", signals=signals)
    assert code == status, err
    assert "Traceback" not in err
    assert not out
    (record,) = workplace.glob("outputs/*/*/result.json")
    assert "SIG" not in err
    line, hint = err.splitlines()[-2:]
    assert_text_has(line, "interrupted")
    assert_text_has(hint, f"snnlab train resume={record.parent}")
    assert_text_has(line, record.parent, "weights", "last", "best")
    result = json.loads(record.read_text())
    assert result["status"] == "interrupted"
    assert_text_has(result["error"], signal.Signals(signals[0]).name)
    assert result["selection"]["epochs"] >= 1  # the second epoch's line comes before its checkpoints
    assert result["timing"]["fit_s"] > 0
    assert set(result["metrics"]) == {"val/loss", "val/accuracy"}  # of the chosen epoch; there is no test
    assert not (record.parent / "predictions.npz").exists()
    assert {path.name for path in (record.parent / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


KILLED = ("plugins=[tests.cli.killing]", "+callbacks.kill={_target_: tests.cli.killing.Kill}")


@pytest.mark.parametrize("name", ["TERM", pytest.param("HUP", marks=pytest.mark.long)])
def test_a_signal_before_the_run_exists_writes_only_a_message(workplace: Path, digits_store: str, name: str):
    status = killing.run(["train", *LONG, *KILLED, digits_store], workplace / "log", f"{name}@built")
    assert status == 128 + signal.Signals[f"SIG{name}"]
    assert_text_has((workplace / "log").read_text().splitlines()[-1], f"SIG{name}")
    assert [path.name for path in workplace.iterdir()] == ["log"]


def test_a_signal_before_the_first_batch_records_an_interrupted_run(workplace: Path, digits_store: str):
    status = killing.run(["train", *LONG, *KILLED, digits_store], workplace / "log", "TERM@setup")
    assert status == 143
    (record,) = workplace.glob("outputs/*/*/result.json")
    assert json.loads(record.read_text())["status"] == "interrupted"
    line, hint = (workplace / "log").read_text().splitlines()[-2:]
    assert_text_has(line, "0 of 100000 epochs")
    assert_text_has(hint, f"snnlab train resume={record.parent}")


@pytest.mark.slow
def test_ctrl_c_stops_a_grid_and_not_only_its_run(workplace: Path, digits_store: str):
    code, _, err = stopped("-m", "seed=0,1", *LONG, digits_store, signals=[signal.SIGINT])
    assert code == 130, err
    assert len(list(workplace.glob("outputs/*/*_sweep/*/result.json"))) == 1


def test_from_python_it_is_a_keyboard_interrupt_and_ctrl_c_works_afterwards(
    workplace: Path, digits_store: str, monkeypatch: pytest.MonkeyPatch
):
    from snnlab.training.module import SpikingModule

    def ctrl_c(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(SpikingModule, "training_step", ctrl_c)
    with assert_raises(Interrupted, "epoch") as caught:
        train(*FAST, digits_store, "logger=none")
    assert isinstance(caught.value, KeyboardInterrupt)
    assert signal.getsignal(signal.SIGINT) is before
    (record,) = workplace.glob("outputs/*/*/result.json")
    assert json.loads(record.read_text())["status"] == "interrupted"


def test_a_plugin_that_exits_is_a_failure_and_no_interruption(
    workplace: Path, digits_store: str, monkeypatch: pytest.MonkeyPatch
):
    from snnlab.training.module import SpikingModule

    def leave(*_: Any) -> None:
        sys.exit(3)

    monkeypatch.setattr(SpikingModule, "training_step", leave)
    with pytest.raises(SystemExit):
        train(*FAST, digits_store, "logger=none")
    (record,) = workplace.glob("outputs/*/*/result.json")
    assert json.loads(record.read_text())["status"] == "failed"


def test_a_signal_in_a_validation_reports_the_epochs_to_train_again(
    workplace: Path, digits_store: str, monkeypatch: pytest.MonkeyPatch
):
    from snnlab.training.module import SpikingModule

    validate, times = SpikingModule.validation_step, iter(range(9))

    def signalled(*arguments: Any) -> Any:
        if next(times) == 2:  # in the second epoch, whose first batch was saved
            os.kill(os.getpid(), signal.SIGINT)
        return validate(*arguments)

    monkeypatch.setattr(SpikingModule, "validation_step", signalled)
    two = [text.replace("limit_val_batches=1", "limit_val_batches=2") for text in LONG]
    with pytest.raises(Interrupted) as caught:
        train(*two, digits_store, "checkpoint_every_s=null")
    _, again, hint = str(caught.value).splitlines()
    assert_text_has(again, "epoch 2", "batch 1")
    assert_text_has(hint, "snnlab train resume=")
