from __future__ import annotations

from pathlib import Path

import pytest

from snnlab.config.compose import compose_experiment
from snnlab.config.schema import Origin, line_of
from snnlab.errors import ConfigError, UnknownSettingError

from ..refusals import assert_raises

MODEL = """# mine
layers:
  fc:
    type: linear
    out_featurs: 3
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model" / "mine.yaml"
    path.parent.mkdir()
    path.write_text(MODEL)
    return path


@pytest.mark.parametrize(
    ("place", "line"),
    [("model.layers", 2), ("model.layers.fc", 3), ("model.layers.fc.out_featurs", 5), ("model.layers.lif", None)],
)
def test_the_line_of_a_key_is_found_within_the_files_package(model: Path, place: str, line: int | None):
    assert line_of(model, place, "model") == line


def test_a_file_of_another_package_does_not_have_the_key(model: Path):
    assert line_of(model, "data.layers", "model") is None
    assert line_of(model, "modelling.layers", "model") is None


def test_an_unknown_setting_is_located_by_its_own_line(model: Path):
    origin = Origin([(model, "model")], [])
    error = origin.locate(UnknownSettingError("model.layers.fc", "out_featurs", "linear takes ..."))
    assert error.origin == (model, 5)
    assert isinstance(error, UnknownSettingError)


def test_another_mistake_is_located_by_its_layer(model: Path):
    assert Origin([(model, "model")], []).locate(ConfigError("model.layers.fc", "too small")).origin == (model, 3)


@pytest.mark.parametrize("key", ["model.layers.fc", "model.layers.fc.out_featurs"])
def test_a_typed_setting_has_no_file(model: Path, key: str):
    error = UnknownSettingError("model.layers.fc", "out_featurs")
    assert Origin([(model, "model")], [key]).locate(error) is error


def test_a_message_without_a_place_stays_as_it_is(model: Path):
    error = ConfigError("", "something else went wrong")
    assert Origin([(model, "model")], []).locate(error) is error


def test_a_mistake_in_an_experiment_names_file_and_line(tmp_path: Path):
    path = tmp_path / "experiment" / "mine.yaml"
    path.parent.mkdir()
    path.write_text("# @package _global_\n# mine\nseed: one\n")
    with assert_raises(ConfigError, "seed", 3, "one") as caught:
        compose_experiment(["experiment=mine"], tmp_path)
    assert (caught.value.origin, caught.value.place) == ((path, 3), "seed")
