"""Plugins of a run that is restarted without the user's key."""

from __future__ import annotations

from pathlib import Path

import pytest

import snnlab as package
from snnlab.errors import ConfigError
from snnlab.experiments.session.trial import train_task
from snnlab.experiments.workers import RunTask

from ...refusals import assert_raises
from ...security.conftest import GAIN, SHORT


@pytest.mark.long
def test_a_restarted_command_needs_no_key(workplace: Path, digits_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job restarted by SLURM and a worker of a search work without a writable home."""
    (workplace / "file").write_text("")
    (workplace / "attacked_home.py").write_text(GAIN.format(name="attacked_home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(workplace / "file"))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    layer = "+model.layers.gain={type: attacked_home, after: flatten}"
    words = (*SHORT, f"data.store_dir={digits_store}", "plugins=[attacked_home]", layer)
    run = package.train(*words).folder
    assert not (run / "signature.json").exists()
    with assert_raises(ConfigError, run, "plugins"):
        package.train(f"resume={run}")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert package.train(*words).folder == run
    monkeypatch.delenv("SLURM_JOB_ID")
    outcome = train_task(RunTask(str(run), words, None, str(workplace)))
    assert (outcome["status"], outcome["error"]) == ("completed", None)
    other = train_task(RunTask(str(run), [*words, "seed=1"], None, str(workplace)))
    assert other["status"] == "failed"
    assert "plugins=" in str(other["error"])
