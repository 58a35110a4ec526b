"""A mistake is answered with its key, and with the line of the user's file that set the key last."""

from __future__ import annotations

from pathlib import Path

import pytest

from snnlab.config.compose import compose_experiment
from snnlab.config.hydra_source import ConfigFiles
from snnlab.config.schema import Origin
from snnlab.errors import ConfigError, SnnlabError, UnknownSettingError
from snnlab.session.session import Session, compose_and_check

from ..marks import mostly_long
from ..refusals import assert_raises

HEAD = "# @package _global_\n"
MODEL = """# mine
layers:
  fc:
    type: linear
    out_featurs: 3
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def files(tmp_path: Path) -> ConfigFiles:
    write(tmp_path, "model/mine", MODEL)
    read = ConfigFiles(tmp_path)
    read.load("model/mine")
    return read


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("model.layers", 2),
        ("model.layers.fc", 3),
        ("model.layers.fc.out_featurs", 5),
        ("model.layers.lif", None),
        ("data.layers", None),
        ("modelling.layers", None),
    ],
)
def test_a_file_knows_the_lines_of_the_keys_of_its_package(files: ConfigFiles, place: str, line: int | None):
    assert files.own[0].line_of(place) == line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UnknownSettingError("model.layers.fc", "out_featurs"), 5),
        (ConfigError("model.layers.fc", "too small"), 3),
        (ConfigError("model.layers.fc.bias", "is missing"), 3),
        (ConfigError("", "something else"), None),
    ],
)
def test_a_mistake_is_located_by_its_key_or_the_one_above(files: ConfigFiles, error: SnnlabError, line: int | None):
    located = Origin(files, []).locate(error)
    assert located.origin == (line and (files.own[0].path, line))
    assert type(located) is type(error)


@pytest.mark.parametrize("key", ["model.layers.fc", "model.layers.fc.out_featurs"])
def test_a_typed_setting_has_no_file(files: ConfigFiles, key: str):
    error = UnknownSettingError("model.layers.fc", "out_featurs")
    assert Origin(files, [key]).locate(error) is error


FILES = {
    "experiment/mine": f"{HEAD}defaults:\n  - base\n  - override /data: own\n\nneuron:\n  v_threshold: 1.0\n",
    "experiment/base": f"{HEAD}\nseed: 1\n",
    "data/own": "defaults: [nmnist]\ndt: 20.0\nnum_bins: null\n",
}


@pytest.mark.parametrize(
    ("name", "added", "place", "line"),
    [
        ("experiment/mine", "  tau_mem: -3\n", "neuron.tau_mem", 8),
        ("experiment/mine", "seed: one\n", "seed", 8),
        ("experiment/base", "\nneuron: {tau_mem: -3}\n", "neuron.tau_mem", 5),
        ("experiment/base", "nothing: 3\n", "nothing", 4),
        ("data/own", "batch_size: 0\n", "data.batch_size", 4),
        ("data/own", "shuffle: 0\n", "data.shuffle", 4),
        (
            "data/own",
            "augment:\n  - {type: affine, shift: 1}\n  - {type: affine, shft: 1}\n",
            "data.augment[1].shft",
            6,
        ),
        ("experiment/base", "optimizer: {eps: fast}\n", "optimizer.eps", 4),
        ("experiment/base", "model:\n  layers: {conv1: {kernel: 3}}\n", "model.layers.conv1.kernel", 5),
    ],
)
@pytest.mark.parametrize("typed", mostly_long([[], ["optimizer.lr=0.1"]], 1))
def test_a_wrong_value_is_found_in_the_file_that_sets_it(
    name: str, added: str, place: str, line: int, typed: list[str], tmp_path: Path
):
    for other, text in FILES.items():
        write(tmp_path, other, text + added * (other == name))
    with pytest.raises(ConfigError) as caught:
        compose_and_check(["experiment=mine", *typed], tmp_path)
    assert caught.value.key == place
    assert caught.value.origin == (tmp_path / f"{name}.yaml", line)


def test_of_several_files_that_set_a_key_the_one_that_won_is_named(tmp_path: Path):
    write(tmp_path, "experiment/base", f"{HEAD}seed: one\n")
    write(tmp_path, "experiment/after", f"{HEAD}defaults: [base]\nseed: two\n")
    write(tmp_path, "experiment/before", f"{HEAD}defaults: [_self_, base]\nseed: two\n")
    for name, file, line in (("after", "after", 3), ("before", "base", 2)):
        with assert_raises(ConfigError, "seed") as caught:
            compose_experiment([f"experiment={name}"], tmp_path)
        assert caught.value.origin == (tmp_path / "experiment" / f"{file}.yaml", line)


def test_a_wrong_value_on_the_command_line_is_named_without_a_file(tmp_path: Path):
    for name, text in FILES.items():
        write(tmp_path, name, text)
    with assert_raises(ConfigError, "seed", "one") as caught:
        compose_experiment(["experiment=mine", "seed=one"], tmp_path)
    assert caught.value.origin is None


def test_a_mistake_that_only_building_finds_has_its_line_in_python_too(tmp_path: Path):
    write(tmp_path, "experiment/mine", f"{HEAD}optimizer:\n  betas: [0.9, 2.0]\n")
    session = Session.composed("experiment=mine", config_dir=tmp_path)
    for part in ("optimization", "check"):
        with pytest.raises(ConfigError) as caught:
            getattr(session, part)()  # the property raises before it can be called
        assert caught.value.key == "optimizer"
        assert caught.value.origin == (tmp_path / "experiment" / "mine.yaml", 2)


def test_a_packaged_setting_that_does_not_fit_is_explained_once():
    with assert_raises(UnknownSettingError, "neuron.tau_mem") as caught:
        compose_and_check(["experiment=nmnist_small", "neuron=psn"], None)
    assert caught.value.hint.count("~neuron.tau_mem") == 1


@pytest.mark.parametrize(
    ("text", "place", "line"),
    [
        ("plots: {recordings: 0}", "plots.recordings", 2),
        ("monitors:\n  every_step: 3", "monitors.every_step", 3),
        ("surrogate_annealing: {start: 2.0}", "surrogate_annealing", 2),
        ("data:\n  batch_size: none", "data.batch_size", 3),
        ("data:\n  folds: 1", "data.folds", 3),
        ("trainer:\n  max_epoch: 3", "trainer.max_epoch", 3),
        ("model:\n  weights: {fil: a.pt}", "model.weights.fil", 3),
    ],
)
def test_a_setting_within_a_part_is_checked_when_it_is_composed(text: str, place: str, line: int, tmp_path: Path):
    path = write(tmp_path, "experiment/mine", f"{HEAD}{text}\n")
    with pytest.raises(ConfigError) as caught:
        compose_experiment(["experiment=mine"], tmp_path)
    assert (caught.value.key, caught.value.origin) == (place, (path, line))
