"""The request of a command line for a suite, and the packaged suites, which test_own_files builds."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from snnlab.cli.validate import check_suite
from snnlab.config.folders import config_folder
from snnlab.errors import ConfigError, UnknownSettingError
from snnlab.experiments.cli.bench import bench
from snnlab.experiments.session.experiment_files import read_suite, read_suite_request
from snnlab.experiments.suite_settings import check_overrides, parse_settings
from snnlab.nn import NEURONS, SURROGATES

from ...refusals import assert_raises

SUITES = sorted((config_folder() / "suite").glob("*.yaml"))
SHOWN = [
    line.strip() for line in (bench.__doc__ or "").splitlines() if re.match(r" *snnlab bench suite=(?!NAME)", line)
]


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_a_suite_is_right(path: Path):
    node = read_suite(path.stem, None)
    suite = parse_settings(node)
    assert (list(suite.methods), list(suite.datasets)) == (list(node["methods"]), list(node["datasets"]))
    assert suite.seeds


def test_every_neuron_that_spikes_is_in_neurons():
    import yaml

    files = {path.stem: yaml.safe_load(path.read_text()) for path in (config_folder() / "neuron").glob("*.yaml")}

    def spikes(settings: dict[str, object]) -> bool:
        values = {key: value for key, value in settings.items() if key != "type"}
        return NEURONS.build(settings["type"], values, "neuron", dt=10.0, in_shape=(4, 8, 8), num_steps=30).spiking

    assert set(read_suite("neurons", None)["methods"]) == {name for name, node in files.items() if spikes(node)}


def test_every_surrogate_is_in_surrogates():
    assert set(read_suite("surrogates", None)["methods"]) == set(SURROGATES)


def test_every_dataset_of_snnlab_with_classes_is_in_classic():
    yours, labelled_steps = {"folder", "saccade_images"}, {"ecg_qtdb"}
    files = {path.stem for path in (config_folder() / "data").glob("*.yaml")}
    assert set(read_suite("classic", None)["datasets"]) == files - yours - labelled_steps


@pytest.mark.parametrize("line", SHOWN)
def test_a_suite_that_help_shows_is_right(line: str):
    words = [word for word in shlex.split(line)[2:] if not word.startswith("--")]
    request = read_suite_request(words, None)
    check_overrides(request.typed, "bench")
    assert parse_settings(request.settings).methods.keys() == read_suite(request.name, None)["methods"].keys()


def test_help_shows_suites():
    assert len(SHOWN) >= 5


def test_typed_settings_are_the_suites_or_of_all_trainings():
    request = read_suite_request(
        ["suite=smoke", "methods=[recurrent]", "seeds=[7]", "match.within=0.5", "data.root=mine"], None
    )
    assert request.choice.methods == ["recurrent"]
    assert request.choice.datasets is None
    assert request.settings["seeds"] == [7]
    assert request.settings["match"] == {"by": "params", "within": 0.5}
    assert request.typed == ["data.root=mine"]


def test_a_suite_of_the_users_folder_is_found(tmp_path: Path):
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "mine.yaml").write_text("methods: {a: []}\ndatasets: {d: [data=saccade_digits]}\n")
    assert parse_settings(read_suite("mine", tmp_path)).methods["a"].overrides == []


def test_a_method_that_does_not_build_is_named(tmp_path: Path):
    (tmp_path / "suite").mkdir()
    methods = "{good: [model=mlp_lif], bad: [model=mlp_lif, neuron.tau_men=3]}"
    (tmp_path / "suite" / "mine.yaml").write_text(f"methods: {methods}\ndatasets: {{d: [data=saccade_digits]}}\n")
    with assert_raises(UnknownSettingError, "bad on d: neuron.tau_men", "tau_mem"):
        check_suite("mine", [], tmp_path)


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (["suite=smoek"], ("suite=smoek", "smoke")),
        (["suite=smoke", "suite=saccade"], ("bench", "suite")),
        (["data.root=x"], ("bench", "suite=smoke")),
        (["suite=smoke", "methods=[recurent]"], ("methods=recurent", "recurrent")),
        (["suite=smoke", "datasets=[]"], ("datasets", "empty")),
        (["suite=smoke", "seeds=1,2"], ("seeds=1,2", "[a,b]")),
        (["suite=smoke", "seeds.first=1"], ("seeds.first", "seeds=VALUE")),
        (["suite=smoke", "contorls=[]"], ("contorls=[]", "controls")),
    ],
)
def test_a_mistake_is_named(words: list[str], facts: tuple):
    with assert_raises(ConfigError, *facts):
        read_suite_request(words, None)
