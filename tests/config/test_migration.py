"""A run that an older snnlab recorded keeps its meaning."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from snnlab.config import recorded_run
from snnlab.config.compose import compose_experiment
from snnlab.config.recorded_run import compose_run, recorded_config
from snnlab.errors import ConfigError
from snnlab.runs.renamed_settings import RENAMED
from snnlab.session import Session

from ..refusals import assert_raises, assert_text_has

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
    assert_text_has(line, run / "config.yaml", "model.layers.readout", "input_gain is 1.0")
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


def test_settings_have_their_names_of_today_and_references_lead_there(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _rewritten(run, "backend=auto", "recompute=3", "tbptt_steps=${recompute}", "data.num_bins=${data.outputs}")
    _rewritten(run, "data.outputs=12", "first_layer=events", "loss.parts.few={type: spikes, weight: 1e-4}")
    with caplog.at_level("INFO"):
        cfg = recorded_config(run)
    assert "tbptt_steps: ${checkpoint_segments}" in OmegaConf.to_yaml(cfg)
    assert (cfg.checkpoint_segments, cfg.tbptt_steps, cfg.sparse_input, cfg.data.num_bins) == (3, 3, True, 12)
    assert (cfg.loss.readout, cfg.loss.regularizers.few.type) == ("mean", "spikes")
    assert not {"recompute", "first_layer"} & set(cfg)
    assert not {"over_time", "parts"} & set(cfg.loss)
    (line,) = caplog.messages
    assert_text_has(line, run / "config.yaml", "recompute", "checkpoint_segments")


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_older_name_that_is_typed_or_written_is_refused_with_the_one_of_today(
    old: str, new: str, tmp_path: Path
) -> None:
    with assert_raises(ConfigError, old, new):
        compose_experiment([f"{old}=1"], None)
    group, _, name = old.rpartition(".")
    (tmp_path / "experiment").mkdir()
    text = f"# @package _global_\n{group}:\n  {name}: 1\n" if group else f"# @package _global_\n{name}: 1\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    with assert_raises(ConfigError, old, new):
        compose_experiment(["experiment=mine"], tmp_path)


def test_a_run_with_a_removed_backend_opens_with_the_current_one(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    _rewritten(run, "backend=eager")
    assert compose_run(run).backend == "auto"
    (line,) = caplog.messages
    assert_text_has(line, "backend", "eager", "auto")
    assert recorded_run.current_value("backend", "eager") == "auto"
    assert recorded_run.current_value("backend", "numba") == "numba"
