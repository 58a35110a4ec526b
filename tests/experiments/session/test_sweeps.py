from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from snnlab.config.folders import config_folder
from snnlab.errors import ConfigError
from snnlab.experiments.cli.sweep import sweep_command
from snnlab.experiments.search_plan import check_common_overrides
from snnlab.experiments.session.experiment_files import read_sweep, split_sweep_settings, sweep_settings
from snnlab.experiments.space import overrides
from snnlab.experiments.sweep_settings import parse_settings
from snnlab.session.session import compose_and_check

from ...refusals import assert_raises

PAGE = (Path(__file__).parents[3] / "docs" / "search.md").read_text(encoding="utf-8")
SHOWN = [
    line.partition(" #")[0].strip()
    for line in f"{PAGE}{sweep_command.__doc__}".splitlines()
    if re.match(r" *snnlab sweep(?! *\[)(?!.*resume)", line)
]


@pytest.mark.parametrize("line", SHOWN)
def test_a_search_that_the_documentation_or_help_shows_is_right(line: str):
    settings, common = sweep_settings(shlex.split(line)[2:], None)
    _, space = parse_settings(settings)
    check_common_overrides(common, space)
    assert space.parameters.keys() == settings["space"].keys()


def test_the_documentation_and_help_show_searches():
    assert len(SHOWN) >= 8


def test_a_file_is_read_and_its_values_are_replaced():
    settings, others = sweep_settings(["sweep=pareto", "sweep.trials=5", "model=mlp_lif"], None)
    assert settings["trials"] == 5
    assert list(settings["objectives"]) == ["val/accuracy", "val/spikes_per_sample"]
    assert others == ["model=mlp_lif"]


def test_one_entry_of_a_mapping_is_set():
    settings, _ = sweep_settings(["sweep.submitit.cluster=local", "sweep.submitit.timeout_min=5"], None)
    assert settings["submitit"] == {"cluster": "local", "timeout_min": 5}


def test_the_users_own_file_is_found(tmp_path: Path):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "mine.yaml").write_text("space: {optimizer.lr: [0.1, 0.2]}\ntrials: 2\n")
    assert read_sweep("mine", tmp_path)["trials"] == 2


@pytest.mark.parametrize(
    ("overrides", "facts"),
    [
        (["sweep=defualt"], ("sweep=defualt", "default")),
        (["sweep=default", "sweep=pareto"], ("sweep", "choose")),
        (["sweep.trials=1,2"], ("sweep.trials=1,2", "takes")),
        (["sweep.space={a: "], ("sweep.space={a: ", "key=value")),
        (["sweep.trials.x=1"], ("trials.x", "trials=VALUE")),
        (["trials=3"], ("trials=3", "sweep.trials=3")),
        (["sweeps.trials=3"], ("sweeps.trials=3", "mean")),
        (["resum=FOLDER"], ("resum=FOLDER", "resume")),
        (["neuron.tau_mem=5,10"], ("neuron.tau_mem=5,10", "sweep.space={neuron.tau_mem: [5,10]}")),
    ],
)
def test_a_mistake_is_named(overrides: list[str], facts: tuple):
    with assert_raises(ConfigError, *facts):
        sweep_settings(overrides, None)


def test_other_settings_are_those_of_the_trials():
    assert split_sweep_settings(["seed=3", "sweep.seed=4"]) == ({"seed": 4}, ["seed=3"])


@pytest.mark.parametrize("override", ["seed=3", "data.dims=[1,2]", "name='a,b'", "model=mlp_lif", "+trainer.x=1"])
def test_overrides_of_a_training_are_accepted(override: str):
    assert sweep_settings([override], None)[1] == [override]


SWEEPS = sorted((config_folder() / "sweep").glob("*.yaml"))


@pytest.mark.long
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_is_valid_and_all_its_values_build(path: Path):
    _, space = parse_settings(read_sweep(path.stem, None))
    for values in space.probes():
        compose_and_check(overrides(values), None)
