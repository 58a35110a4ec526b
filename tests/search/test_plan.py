from __future__ import annotations

from pathlib import Path

import pytest

from snnlab.errors import ConfigError, RecordError
from snnlab.search.plan import check_common, check_names, read_page
from snnlab.search.space import Space

SPACE = Space.parsed({"optimizer.lr": [0.1, 0.2]})


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("trials=3", r"trials=3: is a setting of the sweep; write sweep.trials=3"),
        ("sweeps.trials=3", r"there is no such setting. Did you mean 'sweep'\?"),
        ("resum=FOLDER", r"there is no such setting. Did you mean 'resume'\?"),
        ("neuron.tau_mem=5,10", r"several values are a space to search: 'sweep.space=\{neuron.tau_mem: \[5,10\]\}'"),
    ],
)
def test_what_a_search_cannot_mean_is_named(override: str, words: str):
    with pytest.raises(ConfigError, match=words):
        check_common([override], SPACE)


@pytest.mark.parametrize("override", ["seed=3", "data.dims=[1,2]", "name='a,b'", "model=mlp_lif", "+trainer.x=1"])
def test_overrides_of_a_training_are_taken(override: str):
    check_common([override], SPACE)


def test_the_last_name_of_a_setting_is_not_its_place():
    settings = {"optimizer.lr": 0.1, "seed": 0}
    check_names(SPACE, settings)
    with pytest.raises(ConfigError, match=r"sweep.space.lr: there is no such setting. Did you mean 'optimizer.lr'\?"):
        check_names(Space.parsed({"lr": [0.1]}), settings)


def test_the_folder_of_a_run_is_no_sweeps(tmp_path: Path):
    (tmp_path / "config.yaml").touch()
    with pytest.raises(RecordError, match="it is a run's: snnlab train resume="):
        read_page(tmp_path)
