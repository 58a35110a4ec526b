from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from snnlab.config.compose import compose_experiment
from snnlab.config.schema import Experiment
from snnlab.errors import ConfigError, UnknownSettingError
from snnlab.session.session import compose_and_check

from ..marks import mostly_long
from ..refusals import assert_raises


def compose(*overrides: str, config_dir: Path | None = None) -> Experiment:
    return compose_experiment(list(overrides), config_dir)[0]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return folder


def test_the_default_is_conv_lif_on_saccade_digits():
    experiment, folder = compose_experiment([], None)
    assert experiment.name == "conv_lif_saccade_digits"
    assert list(experiment.model["layers"])[:3] == ["conv1", "lif1", "pool1"]
    assert experiment.model["layers"]["out"]["out_features"] == 10
    assert folder.parent == Path("outputs/conv_lif_saccade_digits").absolute()
    assert folder.name.endswith("_0")


@pytest.mark.parametrize(
    "path",
    mostly_long(
        [
            "~/data",
            "/home/jürgen/daten",
            "/a/lr=0.1",
            "a'b",
            'a"b',
            "a#b",
            "a&b",
            "a[b]",
            "a{b}",
            "a b",
            "a,b",
            "a(b)",
            "C:\\x",
        ],
        5,
    ),
)
def test_a_path_is_used_as_typed(path: str):
    experiment = compose("data=nmnist", f"output_dir={path}", f"data.root={path}")
    assert (experiment.output_dir, experiment.data["root"]) == (path, path)


def test_a_mapping_for_a_group_is_merged_into_it():
    experiment = compose("callbacks={mine: {_target_: lightning.pytorch.callbacks.Timer}}")
    assert list(experiment.callbacks or {}) == ["mine"]


def test_the_shells_sign_for_home_is_understood(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/somewhere")
    _, folder = compose_experiment(["output_dir=~/runs"], None)
    assert folder.is_relative_to("/somewhere/runs")


def test_a_layers_setting_that_is_not_in_the_file_can_be_overridden():
    layers = compose("model.layers.lif2.tau_mem=5", "neuron.tau_mem=10").model["layers"]
    assert (layers["lif1"]["tau_mem"], layers["lif2"]["tau_mem"]) == (10, 5)


def test_a_model_can_bring_its_own_neuron_and_the_command_line_still_wins():
    assert compose("model=conv_cuba_lif").model["layers"]["lif1"]["type"] == "cuba_lif"
    assert compose("model=conv_cuba_lif", "neuron=lif").model["layers"]["lif1"]["type"] == "lif"


def test_a_layer_can_be_added_after_another_and_dropped():
    layers = compose("+model.layers.norm1={type: batch_norm, after: conv1}", "~model.layers.pool2").model["layers"]
    assert list(layers) == ["conv1", "norm1", "lif1", "pool1", "conv2", "lif2", "flatten", "out", "readout"]


def test_an_experiments_dt_replaces_the_data_files_number_of_bins(tmp_path: Path):
    mine = write(tmp_path, "experiment/coarse", "# @package _global_\ndata:\n  dt: 40.0\n")
    data = compose("experiment=coarse", config_dir=mine).data
    assert (data["dt"], data["num_bins"]) == (40.0, None)


def test_dt_and_number_of_bins_in_one_place_are_refused(tmp_path: Path):
    mine = write(tmp_path, "experiment/both", "# @package _global_\ndata:\n  dt: 40.0\n  num_bins: 3\n")
    with assert_raises(ConfigError, "data", "num_bins"):
        compose("experiment=both", config_dir=mine)


def test_the_record_expands_layers_keeps_references_to_data_and_drops_the_neuron():
    record = compose("data.root=here", "data=nmnist").record
    assert record is not None
    assert "neuron" not in record
    assert record["model"]["layers"]["lif1"]["tau_mem"] == 20.0
    assert record["model"]["layers"]["out"]["out_features"] == "${data.num_classes}"
    assert record["scheduler"]["T_max"] == "${trainer.max_epochs}"
    assert record["data"]["root"] == str(Path.cwd() / "here")


def test_a_users_own_files_are_found_and_win(tmp_path: Path):
    mine = write(
        tmp_path, "model/tiny", "layers:\n  flatten: {type: flatten}\n  out: {type: linear, out_features: 10}\n"
    )
    assert list(compose("model=tiny", config_dir=mine).model["layers"]) == ["flatten", "out"]


def test_a_program_with_its_own_hydra_keeps_it():
    before = GlobalHydra.instance().hydra
    compose()
    assert GlobalHydra.instance().hydra is before


@pytest.mark.parametrize(
    ("override", "facts"),
    [
        ("sed=3", ("sed", "seed")),
        ("seed=abc", ("seed", "abc")),
        ("seed=-1", ("seed", 0)),
        ("data=nmist", ("data=nmist", "nmnist")),
        ("modell=conv_lif", ("modell",)),
        ("selection=best", ("selection", "expected")),
        ("model.layers.lfi1.tau_mem=3", ("model.layers.lfi1", "lif1")),
        ("~model.layers.nope", ("~model.layers.nope", "nothing")),
        ("conv_lif", ("conv_lif", "override")),
        ("model.layers.conv1={", ("model.layers.conv1={", "override")),
        ("seed=1,2", ("seed=1,2", "-m")),
        ("name=${nope}", ("name", "refers")),
        ("neuron=null", ("model.layers.lif1", "experiment")),
        ("model.layers=[1,2]", ("model.layers",)),
        ("model.depth=3", ("model", "layers")),
    ],
)
def test_a_mistake_is_reported_in_one_or_two_lines(override: str, facts: tuple):
    with assert_raises((ConfigError, UnknownSettingError), *facts) as caught:
        compose(override)
    assert len(str(caught.value).splitlines()) <= 2


def test_malformed_yaml_names_file_and_line(tmp_path: Path):
    mine = write(tmp_path, "model/broken", "layers:\n  a: {type: relu\n  b: 3\n")
    with assert_raises(ConfigError, "model/broken.yaml:3", 4):
        compose("model=broken", config_dir=mine)


@pytest.mark.parametrize(
    ("overrides", "place", "hint"),
    [
        (
            ("model.layers.out.out_features=${data.fixed_channels}",),
            "model.layers.out.out_features",
            "data=burst_sequences",
        ),
        (("experiment=nmnist_small", "neuron.tau_mem=3", "neuron=psn"), "neuron.tau_mem", "psn takes"),
        (("experiment=nmnist_small", "neuron=psn"), "neuron.tau_mem", "~neuron.tau_mem"),
        (("experiment=cifar10dvs_vgg_tet", "loss=mse"), "loss.mix", "~loss.mix"),
    ],
)
def test_a_setting_of_a_packaged_file_that_does_not_fit_a_choice_comes_with_a_hint(
    overrides: tuple[str, ...], place: str, hint: str
):
    with assert_raises((ConfigError, UnknownSettingError), place) as caught:
        compose_and_check(overrides, None)
    assert hint in caught.value.hint


def test_the_neuron_is_replaced_whole():
    layers = compose("neuron=cuba_lif").model["layers"]
    assert layers["lif1"]["type"] == "cuba_lif"
    assert layers["lif1"]["input_gain"] == "average"


def test_a_folder_named_by_the_overrides_has_them_as_typed():
    typed = ["model=mlp_lif", "neuron.tau_mem=5", "data.dt=40"]
    _, folder = compose_experiment([*typed, "hydra.run.dir=out/${hydra:job.override_dirname}"], None)
    assert folder.name == ",".join(sorted(typed))
