"""A YAML file of the user is checked as it is read, and a file is read once."""

from __future__ import annotations

from pathlib import Path

import pytest

from snnlab import yaml_files
from snnlab.config import own_files
from snnlab.config.compose import compose_experiment
from snnlab.config.folders import config_folder, groups
from snnlab.config.own_files import read_own
from snnlab.errors import ConfigError

from ..refusals import assert_raises

GROUPS = groups(config_folder())
HEAD = "# @package _global_\n"


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_files_that_are_named_in_defaults_are_checked_too(tmp_path: Path):
    write(tmp_path, "experiment/one", f"{HEAD}defaults:\n  - base\n  - override /model: net\n")
    write(tmp_path, "experiment/base", "seed: 1\n")
    write(tmp_path, "model/net", "layers: {}\n")
    with assert_raises(ConfigError, "experiment/base.yaml:1", "seed"):
        compose_experiment(["experiment=one"], tmp_path)


def test_other_files_of_the_folder_are_left_alone(tmp_path: Path):
    write(tmp_path, "experiment/other", "seed: [\n")
    assert compose_experiment(["experiment=nmnist"], tmp_path)[0].name == "nmnist"


def test_each_file_is_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    parsed: list[str] = []

    def parse(text: str) -> yaml_files.Parsed:
        parsed.append(text)
        return yaml_files.parse(text)

    monkeypatch.setattr(own_files, "parse", parse)
    write(tmp_path, "experiment/mine", f"{HEAD}defaults: [base]\ndata: {{dt: 20.0}}\nseed: one\n")
    write(tmp_path, "experiment/base", f"{HEAD}tags: [base]\n")
    with assert_raises(ConfigError, "experiment/mine.yaml:4", "one"):
        compose_experiment(["experiment=mine"], tmp_path)
    assert len(parsed) == len(set(parsed))
    assert sum(text.startswith(HEAD) for text in parsed) == 2


def test_a_cycle_through_several_files_is_named(tmp_path: Path):
    write(tmp_path, "experiment/one", f"{HEAD}defaults: [two]\n")
    write(tmp_path, "experiment/two", f"{HEAD}defaults: [one]\n")
    with assert_raises(ConfigError, "experiment/one.yaml", "one > two > one"):
        compose_experiment(["experiment=one"], tmp_path)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("", None),
        (HEAD, None),
        (f"\n{HEAD}seed: 1\n", None),
        ("#@package _global_\nseed: 1\n", None),
        (f"{HEAD}# words\nseed: 1\n", None),
        ("# words\ndefaults:\n  - override /model: mlp_lif\n", None),
        ("- 1\n", ("mine.yaml", "list")),
        ("seed\n", ("mine.yaml", "seed")),
        (f"{HEAD}seed: 1\nseed: 2\n", ("mine.yaml:3", "duplicate", "seed")),
        (f"{HEAD}seed: !!python/object/apply:os.system ['true']\n", ("mine.yaml:2", "os.system")),
        (f"{HEAD}defaults: [3]\n", ("defaults", "3")),
        (f"{HEAD}defaults: [{{a: b, c: d}}]\n", ("defaults", "{'a': 'b', 'c': 'd'}")),
        (f"{HEAD}a: &a {{x: *a}}\n", ("mine.yaml:2", "inside")),
        (f"{HEAD}a: {'[' * 200}\n", ("mine.yaml:2", "100")),
        (f"{HEAD}a: 1\nb: 1{':1' * 4000}\n", ("mine.yaml:3", "digits")),
    ],
)
def test_a_file_is_accepted_or_refused_with_a_reason(tmp_path: Path, text: str, facts: tuple | None):
    path = write(tmp_path, "experiment/mine", text)
    if facts is None:
        read_own(path, "experiment", GROUPS)
        return
    with assert_raises(ConfigError, *facts):
        read_own(path, "experiment", GROUPS)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    (tmp_path / "gone.yaml").symlink_to(tmp_path / "nowhere")
    with assert_raises(ConfigError, "gone.yaml", "read"):
        read_own(tmp_path / "gone.yaml", "model", GROUPS)


@pytest.mark.parametrize("entry", ["override /callbacks: ../../outside/other", "/../outside/other", "/{outside}/other"])
def test_a_harmless_file_outside_of_the_folders_is_not_read_either(entry: str, tmp_path: Path):
    outside = write(tmp_path, "outside/other", "mine: {_target_: lightning.pytorch.callbacks.Timer}\n").parent
    write(tmp_path, "own/experiment/mine", f"{HEAD}defaults:\n  - {entry.format(outside=outside)}\n")
    with pytest.raises(ConfigError) as caught:
        compose_experiment(["experiment=mine"], tmp_path / "own")
    assert "outside/other" in caught.value.place
