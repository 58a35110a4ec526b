"""What docs/stream.md and `snnlab doctor --help` promise of `--stream`: a certificate, and an exit status."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnlab import train
from snnlab.streaming.event_stream import EventStream

from ...refusals import assert_error_has, assert_text_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]


SETTINGS = (
    "model=mlp_lif",
    "model.layers.fc1.out_features=16",
    "+model.layers.norm={type: batch_norm, after: fc1}",
    "data=saccade_digits",
    "data.num_bins=16",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, digits_store: str) -> str:
    """Return the folder of a run of one training step."""
    short = ("trainer.max_epochs=1", "+trainer.limit_train_batches=1", "plots=null", "monitors=null", "test=false")
    folder = tmp_path_factory.mktemp("certified")
    return str(train(*SETTINGS, digits_store, *short, f"output_dir={folder}").folder)


def test_a_stream_that_equals_dense_loops_is_certified(run: str, snnlab: Snnlab) -> None:
    done = snnlab("doctor", "--stream", run, "--fold-norm")
    assert done.status == 0, done.err
    lines = done.out.splitlines()
    assert_text_has(lines[0], "test recording", 16, 20)
    (bits,) = (line for line in lines if line.startswith("bits"))
    assert_text_has(bits, "equal", 0, 16 * (16 + 10), 16 * 10)
    assert any(line.startswith("spikes      0 of 256 ") for line in lines)
    assert any(line.startswith("batch norm  1 folded") for line in lines)
    assert any(line.startswith("time ") and "p99" in line for line in lines)


def test_a_broken_engine_ends_with_status_1(run: str, snnlab: Snnlab, monkeypatch: pytest.MonkeyPatch) -> None:
    right = EventStream.step
    monkeypatch.setattr(EventStream, "step", lambda *arguments: right(*arguments) + 1)
    done = snnlab("doctor", "--stream", run, "--fold-norm")
    assert done.status == 1
    assert_text_has(next(line for line in done.out.splitlines() if line.startswith("bits")), "DIFFER", "step 0", 160)


def test_a_recording_and_a_step_can_be_given(run: str, snnlab: Snnlab, tmp_path: Path) -> None:
    table = np.zeros(3, [(name, np.int64) for name in "txyp"])
    table["t"] = [0, 5_000, 90_000]
    np.save(tmp_path / "one.npy", table)
    done = snnlab("doctor", "--stream", run, str(tmp_path / "one.npy"), "--fold-norm", "--dt", "5")
    assert done.status == 0, done.err
    assert_text_has(done.out.splitlines()[0], "one.npy", 64, 5, 3)


@pytest.mark.parametrize(
    ("words", "place", "numbers"),
    [
        (("{run}", "nowhere.npy"), "doctor", ("nowhere.npy",)),
        (("{run}",), "model.layers.norm", ("--fold-norm",)),
        (("{run}", "--config-dir", "x"), "doctor", ("--config-dir",)),
    ],
)
def test_mistakes_are_refused(
    run: str, snnlab: Snnlab, words: tuple[str, ...], place: str, numbers: tuple[Any, ...]
) -> None:
    done = snnlab("doctor", "--stream", *(word.format(run=run) for word in words))
    assert done.status == 2
    assert_error_has(done.error, place, *numbers)
