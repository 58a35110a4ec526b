"""A run that an older snnlab recorded keeps its meaning."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from snnlab.config import recorded_run
from snnlab.config.recorded_run import compose_run, recorded_config
from snnlab.session import Session

from ..refusals import assert_says

# The config.yaml of conv_lif at 0850f3c, the first commit that recorded runs, without paths of a machine.
FIRST = Path(__file__).parent / "recorded" / "first.yaml"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    shutil.copy(FIRST, tmp_path / "config.yaml")
    return tmp_path


def _rewritten(run: Path, *changes: str) -> None:
    cfg = OmegaConf.merge(OmegaConf.load(run / "config.yaml"), OmegaConf.from_dotlist(list(changes)))
    OmegaConf.save(cfg, run / "config.yaml")


def test_the_first_recorded_run_composes_with_the_defaults_of_its_time(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = compose_run(run)
    assert experiment.model["layers"]["readout"] == {"type": "li", "tau_mem": 20.0, "input_gain": 1.0}
    (line,) = caplog.messages
    assert_says(line, run / "config.yaml", "model.layers.readout", "input_gain is 1.0")
    Session(experiment).build("built")


def test_settings_of_an_older_run_are_kept(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    _rewritten(run, "model.layers.readout.input_gain=average", "model.layers.lif1.type=cuba_lif")
    layers = recorded_config(run).model.layers
    assert (layers.readout.input_gain, layers.lif1.input_gain) == ("average", 1.0)
    assert not caplog.messages


@pytest.mark.parametrize("newer", ["backend=auto", "model.layers.lif1.learn=null"])
def test_a_run_with_newer_settings_has_the_newer_default(
    run: Path, newer: str, caplog: pytest.LogCaptureFixture
) -> None:
    _rewritten(run, newer)
    assert "input_gain" not in recorded_config(run).model.layers.readout
    assert not caplog.messages


def test_a_renamed_setting_is_reported_and_its_reference_kept(
    run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _rewritten(run, "backend=auto", "data.outputs=10")
    _rewritten(run, "data.num_classes=${data.outputs}", "model.layers.out.outputs=${data.num_classes}")
    names = {"data.outputs": "data.num_classes", "model.layers.out.outputs": "model.layers.out.out_features"}
    monkeypatch.setattr(recorded_run, "RENAMED", {**names, "data.never": "data.there"})
    cfg = recorded_config(run)
    assert "outputs" not in cfg.data
    assert OmegaConf.to_container(cfg.model.layers.out) == {"type": "linear", "out_features": "${data.num_classes}"}
    assert cfg.model.layers.out.out_features == 10
    assert [text.split(": ", 1)[1] for text in caplog.messages] == [
        f"{old} is now called {new}" for old, new in names.items()
    ]


def test_a_run_with_a_removed_backend_opens_with_the_current_one(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    _rewritten(run, "backend=eager")
    assert compose_run(run).backend == "auto"
    (line,) = caplog.messages
    assert_says(line, "backend", "eager", "auto")
    assert recorded_run.today("backend", "eager") == "auto"
    assert recorded_run.today("backend", "numba") == "numba"
