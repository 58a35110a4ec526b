"""The user's files are checked before Hydra composes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from snnlab.config.folders import config_folder, groups
from snnlab.config.own_files import check_chosen, check_file, files_and_packages
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
    base = write(tmp_path, "experiment/base", f"{HEAD}seed: 1\n")
    net = write(tmp_path, "model/net", "layers: {}\n")
    found = check_chosen(tmp_path, ["experiment=one", "seed=3"], GROUPS)
    assert [(file.path.stem, file.group, file.package) for file in found] == [
        ("one", "experiment", ""),
        ("base", "experiment", ""),
        ("net", "model", "model"),
    ]
    assert [path for path, _ in files_and_packages(found)] == [net, base, tmp_path / "experiment" / "one.yaml"]
    base.write_text("seed: 1\n")
    with assert_raises(ConfigError, "", "seed"):
        check_chosen(tmp_path, ["experiment=one"], GROUPS)


def test_packaged_files_and_others_of_the_folder_are_left_alone(tmp_path: Path):
    write(tmp_path, "experiment/other", "seed: [\n")
    assert check_chosen(tmp_path, ["experiment=nmnist", "model=conv_lif"], GROUPS) == []
    assert check_chosen(None, ["experiment=other"], GROUPS) == []


def test_a_cycle_through_several_files_is_named(tmp_path: Path):
    write(tmp_path, "experiment/one", f"{HEAD}defaults: [two]\n")
    write(tmp_path, "experiment/two", f"{HEAD}defaults: [one]\n")
    with assert_raises(ConfigError, "experiment/one.yaml"):
        check_chosen(tmp_path, ["experiment=one"], GROUPS)


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
        (f"{HEAD}seed: 1\nseed: 2\n", ("mine.yaml, line 3, column 1", "duplicate", "seed")),
        (f"{HEAD}seed: !!python/object/apply:os.system ['true']\n", ("mine.yaml, line 2, column 7", "os.system")),
        (f"{HEAD}defaults: [3]\n", ("defaults", "3")),
        (f"{HEAD}defaults: [{{a: b, c: d}}]\n", ("defaults", "{'a': 'b', 'c': 'd'}")),
    ],
)
def test_a_file_is_accepted_or_refused_with_a_reason(tmp_path: Path, text: str, facts: tuple | None):
    path = write(tmp_path, "experiment/mine", text)
    if facts is None:
        check_file(path, "experiment")
        return
    with assert_raises(ConfigError, *facts):
        check_file(path, "experiment")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    (tmp_path / "gone.yaml").symlink_to(tmp_path / "nowhere")
    with assert_raises(ConfigError, "gone.yaml", "read"):
        check_file(tmp_path / "gone.yaml", "model")
