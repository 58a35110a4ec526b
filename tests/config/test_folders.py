from __future__ import annotations

from pathlib import Path

import pytest

from snnlab.config.folders import config_folder, find_file, groups, user_folder
from snnlab.errors import ConfigError

from ..refusals import assert_raises


def test_the_packaged_folder_holds_the_root_and_the_groups():
    assert (config_folder() / "train.yaml").is_file()
    assert {"model", "data", "neuron", "experiment"} <= groups(config_folder(), None)


def test_the_environment_names_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SNNLAB_CONFIG_DIR", raising=False)
    assert user_folder() is None
    monkeypatch.setenv("SNNLAB_CONFIG_DIR", str(tmp_path))
    assert user_folder() == tmp_path


def test_a_folder_that_is_not_there_is_named_with_where_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with assert_raises(ConfigError, "--config-dir", "folder"):
        user_folder(tmp_path / "no")
    monkeypatch.setenv("SNNLAB_CONFIG_DIR", str(tmp_path / "no"))
    with assert_raises(ConfigError, "SNNLAB_CONFIG_DIR", "folder"):
        user_folder()


def test_a_file_that_hydra_would_ignore_is_refused(tmp_path: Path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "conv_lif.yaml").write_text("layers: {}\n")
    with assert_raises(ConfigError, "model/conv_lif.yaml", "snnlab"):
        user_folder(tmp_path)


def test_a_packaged_file_is_found_by_group_and_name():
    assert find_file("model/conv_lif") == config_folder() / "model" / "conv_lif.yaml"


@pytest.mark.parametrize(
    ("name", "facts"),
    [("modl/conv_lif", ("modl/conv_lif", "model")), ("model/conv_li", ("model/conv_li", "conv_lif"))],
)
def test_a_misspelt_file_gets_a_proposal(name: str, facts: tuple):
    with assert_raises(ConfigError, *facts):
        find_file(name)
