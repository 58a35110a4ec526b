from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from snnlab import console
from snnlab.cli import main
from snnlab.errors import SnnlabError

# A run of seconds: two small batches of a small network, one epoch.
FAST = (
    "model=mlp_lif",
    "model.layers.fc1.out_features=16",
    "data.num_bins=4",
    "data.batch_size=8",
    "trainer.max_epochs=1",
    "+trainer.limit_train_batches=2",
    "+trainer.limit_val_batches=1",
    "+trainer.limit_test_batches=1",
    "trainer.accelerator=cpu",
)


class Outcome(NamedTuple):
    """The result of a command; `error` is the last error that `err` reports."""

    status: int
    out: str
    err: str
    error: SnnlabError | None = None


@pytest.fixture(scope="session")
def digits_store(digits_folder: Path) -> str:
    """Return the setting of the folder where saccade_digits is packed."""
    return f"data.store_dir={digits_folder}"


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the empty folder that a command runs in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def reported_errors(monkeypatch: pytest.MonkeyPatch) -> list[SnnlabError]:
    """Return a list to which each reported error of a command is appended."""
    reported: list[SnnlabError] = []
    say = console.say_error

    def say_error(error: SnnlabError) -> None:
        reported.append(error)
        say(error)

    monkeypatch.setattr(console, "say_error", say_error)
    return reported


@pytest.fixture
def snnlab(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Return a function that runs the command line in this process."""

    reported = reported_errors(monkeypatch)

    def call(*arguments: str) -> Outcome:
        reported.clear()
        monkeypatch.setattr(sys, "argv", ["snnlab", *arguments])
        capfd.readouterr()
        status = main.main()
        captured = capfd.readouterr()
        return Outcome(status, captured.out, captured.err, reported[-1] if reported else None)

    return call
