from __future__ import annotations

from pathlib import Path

from snnlab.errors import ConfigError, RunFolderError
from snnlab.experiments.search_plan import check_full_names, read_sweep_yaml
from snnlab.experiments.space import Space

from ..refusals import assert_raises

SPACE = Space.parse({"optimizer.lr": [0.1, 0.2]})


def test_the_last_name_of_a_setting_is_not_its_place():
    settings = {"optimizer.lr": 0.1, "seed": 0}
    check_full_names(SPACE, settings)
    with assert_raises(ConfigError, "sweep.space.lr", "optimizer.lr"):
        check_full_names(Space.parse({"lr": [0.1]}), settings)


def test_the_folder_of_a_run_is_no_sweeps(tmp_path: Path):
    (tmp_path / "config.yaml").touch()
    with assert_raises(RunFolderError, tmp_path, "snnlab"):
        read_sweep_yaml(tmp_path)
