"""What docs/layers.md and the `--help` of `cp`, `new` and `validate` promise: a user's own files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import OmegaConf

from snnlab.config.compose import compose_experiment

from ..refusals import assert_error_has, assert_text_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]


def test_a_copied_model_is_found_under_its_new_name_and_names_its_command(workplace: Path, snnlab: Snnlab):
    done = snnlab("cp", "model/conv_lif", "mine/model/my_net.yaml")
    assert (done.status, done.out) == (0, "snnlab train --config-dir mine model=my_net\n")
    copy = workplace / "mine" / "model" / "my_net.yaml"
    assert_text_has(copy.read_text(), "# snnlab train --config-dir mine model=my_net")
    ours, theirs = compose_experiment([], None)[0], compose_experiment(["model=my_net"], workplace / "mine")[0]
    assert ours.model == theirs.model


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["model/conv_lif", "mine/model/there.yaml"], ("mine/model/there.yaml", "already")),
    ],
)
def test_cp_overwrites_nothing_and_reports_mistakes(arguments: list, facts: tuple, workplace: Path, snnlab: Snnlab):
    there = workplace / "mine" / "model" / "there.yaml"
    there.parent.mkdir(parents=True)
    there.write_text("mine")
    (workplace / "file").write_text("")
    done = snnlab("cp", *arguments)
    assert done.status == 2
    assert_error_has(done.error, *facts)
    assert [path.name for path in workplace.rglob("*.yaml")] == ["there.yaml"]
    assert there.read_text() == "mine"


def test_new_writes_an_experiment_that_composes_to_the_same(workplace: Path, snnlab: Snnlab):
    overrides = ["model=mlp_lif", "neuron=cuba_lif", "neuron.beta=0.9", "model.layers.lif1.tau_syn=5", "data.dt=20"]
    overrides.append("neuron.surrogate.alpha=2")
    done = snnlab("new", "experiment", "fast", *overrides)
    assert (done.status, done.out) == (0, "snnlab train --config-dir mine experiment=fast\n")
    written = compose_experiment(["experiment=fast"], workplace / "mine")[0]
    typed = compose_experiment([*overrides, "name=fast"], None)[0]
    assert written.record == typed.record
    assert OmegaConf.load(workplace / "mine" / "experiment" / "fast.yaml").name == "fast"


def test_new_overwrites_a_file_only_with_force(workplace: Path, snnlab: Snnlab):
    assert snnlab("new", "experiment", "mine", "seed=1").status == 0
    refused = snnlab("new", "experiment", "mine", "seed=2")
    assert refused.status == 2
    assert_error_has(refused.error, "mine/experiment/mine.yaml", "--force")
    assert compose_experiment(["experiment=mine"], workplace / "mine")[0].seed == 1
    assert snnlab("new", "experiment", "mine", "seed=2", "output_dir=/a/lr=0.1", "--force").status == 0
    written = compose_experiment(["experiment=mine"], workplace / "mine")[0]
    assert (written.seed, written.output_dir) == (2, "/a/lr=0.1")


def test_validate_names_each_wrong_file_and_exits_with_2(workplace: Path, snnlab: Snnlab):
    files = {
        "model/good.yaml": "layers:\n  flatten: {type: flatten}\n  out: {type: linear, out_features: 10}\n",
        "model/typo.yaml": "layers:\n  flatten: {type: flatten}\n  out: {type: linear, out_featurs: 10}\n",
        "model/late.yml": "layers: {}\n",
        "models/lost.yaml": "layers: {}\n",
        "experiment/shape.yaml": "# @package _global_\nmodel:\n  layers:\n    out: {out_features: 3}\n",
        "sweep/wide.yaml": "space: {optimizer.lrr: [0.1, 0.2]}\n",
        "suite/lost.yaml": "methods: {bad: [model=mlp_liff]}\ndatasets: {p: [data=spike_patterns]}\n",
    }
    for name, text in files.items():
        path = workplace / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    done = snnlab("validate", "mine")
    assert done.status == 2
    assert "ok     model/good.yaml" in done.out
    assert_text_has(done.out, "typo.yaml:3: model.layers.out", "'out_featurs'")
    assert all(name in done.out for name in ("shape.yaml", "'lrr'", "model=mlp_liff"))
    assert_text_has(done.out, "Hydra", ".yaml")
    assert_text_has(done.out, "models", "no group")
    assert_text_has(done.out, "1 of 7 files")


def test_validate_accepts_overrides_that_every_file_needs(workplace: Path, snnlab: Snnlab):
    (workplace / "my_valid_layers.py").write_text(
        "from torch import nn\nfrom snnlab.nn import LAYERS\nLAYERS.register('valid')(nn.Identity)\n"
    )
    (workplace / "mine" / "model").mkdir(parents=True)
    (workplace / "mine" / "model" / "net.yaml").write_text(
        "layers:\n  own: {type: valid}\n  flatten: {type: flatten}\n  out: {type: linear, out_features: 10}\n"
    )
    assert snnlab("validate", "mine").status == 2
    assert snnlab("validate", "mine", "plugins=[my_valid_layers]").status == 0


def test_a_file_that_leaves_values_to_its_user_is_open_and_the_folder_may_be_in_the_environment(
    workplace: Path, snnlab: Snnlab, monkeypatch: pytest.MonkeyPatch
):
    (workplace / "own" / "data").mkdir(parents=True)
    monkeypatch.setenv("SNNLAB_CONFIG_DIR", "own")
    assert snnlab("new", "experiment", "fast", "model=mlp_lif", "seed=1").status == 0
    assert snnlab("cp", "data/folder", "own/data/half.yaml").status == 0
    done = snnlab("validate")
    assert done.status == 0, done.out
    assert_text_has(done.out, "open", "half.yaml", "data.duration_ms", "ok", "fast.yaml", "2 of 2 files")


def test_validate_reports_an_empty_folder(workplace: Path, snnlab: Snnlab):
    (workplace / "empty").mkdir()
    done = snnlab("validate", "empty")
    assert done.status == 2
    assert_error_has(done.error, "validate", "files")


def test_a_setting_that_only_the_fit_refuses_has_its_line(
    workplace: Path, snnlab: Snnlab, digits_store: str, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object, **__: object) -> None:
        raise MisconfigurationException("`accumulate_grad_batches` does not suit a callback")

    monkeypatch.setattr("lightning.Trainer.fit", refuse)
    mine = workplace / "mine" / "experiment" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("# @package _global_\ntrainer:\n  accumulate_grad_batches: 2\n")
    small = ("model=mlp_lif", "model.layers.fc1.out_features=4", "data.num_bins=4", "trainer.max_epochs=1")
    done = snnlab("train", "--config-dir", "mine", "experiment=mine", *small, digits_store)
    assert done.status == 2
    assert_error_has(done.error, "mine.yaml:3", "accumulate_grad_batches", "callback")
