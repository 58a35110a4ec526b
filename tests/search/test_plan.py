from __future__ import annotations

from pathlib import Path

import pytest

from snnlab.errors import ConfigError, RecordError
from snnlab.search.plan import check_names, read_page
from snnlab.search.space import Space

SPACE = Space.parsed({"optimizer.lr": [0.1, 0.2]})


def test_the_last_name_of_a_setting_is_not_its_place():
    settings = {"optimizer.lr": 0.1, "seed": 0}
    check_names(SPACE, settings)
    with pytest.raises(ConfigError, match=r"sweep.space.lr: there is no such setting. Did you mean 'optimizer.lr'\?"):
        check_names(Space.parsed({"lr": [0.1]}), settings)


def test_the_folder_of_a_run_is_no_sweeps(tmp_path: Path):
    (tmp_path / "config.yaml").touch()
    with pytest.raises(RecordError, match="it is a run's: snnlab train resume="):
        read_page(tmp_path)
