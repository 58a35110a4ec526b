"""What docs/layers.md and `snnlab list --help` promise: all that a configuration can name, with its settings."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from snnlab.config.catalogue import catalogue
from snnlab.config.folders import config_folder, description
from snnlab.nn import LAYERS
from snnlab.nn.losses.readout_losses import CrossEntropy
from snnlab.nn.surrogate import Triangle
from snnlab.spec.docstrings import first_sentence
from snnlab.spec.signatures import fields_of

from ..refusals import assert_text_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]

# The kind, the name, and the file in configs.
FILES = [
    ("models", "mlp_lif", "model/mlp_lif"),
    ("experiments", "nmnist", "experiment/nmnist"),
    ("presets", "cuba_lif", "neuron/cuba_lif"),
    ("schedulers", "cosine", "scheduler/cosine"),
]


def rows(text: str) -> dict[str, list[str]]:
    """Return the cells after the first of each line, by the first."""
    split = [re.split(r" {2,}", line.strip()) for line in text.splitlines() if line.strip()]
    return {first: rest for first, *rest in split}


def test_alone_it_lists_the_kinds_with_their_numbers(snnlab: Snnlab):
    done = snnlab("list")
    assert done.status == 0, done.err
    kinds = rows(done.out)
    assert kinds["layers"] == [str(len(catalogue().names("layers"))), "model.layers.NAME.type"]
    assert kinds["models"] == [str(len(list((config_folder() / "model").glob("*.yaml")))), "model=NAME"]
    named = (
        "neurons surrogates losses datasets experiments data presets optimizers schedulers trainers callbacks loggers"
    )
    assert set(named.split()) <= kinds.keys()


@pytest.mark.parametrize(
    ("kind", "name", "sentence"),
    [
        ("layers", "conv2d", first_sentence(LAYERS.get("conv2d", ""))),
        ("surrogates", "triangle", first_sentence(Triangle)),
        ("losses", "cross_entropy", first_sentence(CrossEntropy)),
        *((kind, name, description(config_folder() / f"{group}.yaml")) for kind, name, group in FILES),
    ],
)
def test_a_kind_is_listed_with_a_sentence_for_each(snnlab: Snnlab, kind: str, name: str, sentence: str):
    done = snnlab("list", kind)
    assert done.status == 0, done.err
    assert rows(done.out)[name][0] == sentence


def test_neurons_are_types_and_presets_and_those_that_depend_on_dt_are_marked(snnlab: Snnlab):
    out = snnlab("list", "neurons").out
    assert re.search(r"^lif +lif +Leaky", out, re.MULTILINE)
    assert re.search(r"^norse_lif +\* +cuba_lif +Norse's LIF", out, re.MULTILINE)
    assert re.search(r"^\* .*\bdt\b", out, re.MULTILINE)


def test_a_layer_is_listed_with_its_settings(snnlab: Snnlab):
    done = snnlab("list", "layers", "conv2d")
    assert done.out.startswith(f"conv2d: {first_sentence(LAYERS.get('conv2d', ''))}\n")
    listed = rows(done.out)
    settings = fields_of(LAYERS.get("conv2d", ""))
    for name, default in (("out_channels", "required"), ("bias", "true")):
        assert listed[name] == [settings[name].kind, default, settings[name].help]
    assert "in_shape" not in listed


def test_a_neurons_settings_have_units_and_the_texts_of_its_base(snnlab: Snnlab):
    listed = rows(snnlab("list", "neurons", "lif").out)
    lif = LAYERS.get("lif", "")
    assert listed["tau_mem"][:3] == [fields_of(lif)["tau_mem"].kind, "ms", "20.0"]
    assert listed["v_threshold"] == [fields_of(lif)["v_threshold"].kind, "1.0", fields_of(lif)["v_threshold"].help]
    assert "dt" not in listed


def test_types_of_settings_are_listed_without_internal_names(snnlab: Snnlab):
    listed = " ".join(snnlab("list", "neurons", "lif").out.split())
    assert "snnlab list surrogates" in listed
    assert "see `Recurrent`" not in listed


def test_the_equations_of_a_neuron_have_choices_as_cases(snnlab: Snnlab):
    listed = " ".join(snnlab("list", "neurons", "lif").out.split())
    assert "v[t] = u[t] - r * s[t] by default | (1 - s[t]) * u[t] + v_reset * s[t] reset: value" in listed
    assert "a = exp(-dt / tau_mem) decay: exact | 1 - dt / tau_mem decay: euler" in listed


def test_a_dataset_is_listed_with_the_shared_settings(snnlab: Snnlab):
    listed = rows(snnlab("list", "datasets", "nmnist").out)
    assert listed["root"][1] == "null"
    assert listed["root"][2].startswith("Folder")
    assert listed["dt"][1:3] == ["ms", "null"]
    assert listed["duration_ms"][1:3] == ["ms", "required"]


def test_an_entry_without_settings_is_reported_as_such(snnlab: Snnlab):
    assert snnlab("list", "layers", "identity").out.endswith(" no settings.\n")


def test_a_file_is_printed_whole_below_its_path(snnlab: Snnlab):
    path = config_folder() / "neuron" / "cuba_lif.yaml"
    assert snnlab("list", "presets", "cuba_lif").out == f"# {path}\n{path.read_text()}"


def test_a_model_is_listed_with_its_card_before_the_text_of_its_layers(snnlab: Snnlab):
    path = config_folder() / "model" / "conv_lif.yaml"
    card, text = snnlab("list", "models", "conv_lif").out.split(f"# {path}\n")
    assert_text_has(card, "conv1 conv2d · lif1 lif", "12 × 15 × 15", "18,200", "1,709,600", "this project")
    assert text == path.read_text().partition("card:")[0]


def test_the_users_own_files_are_listed(workplace: Path, snnlab: Snnlab):
    (workplace / "mine" / "model").mkdir(parents=True)
    (workplace / "mine" / "model" / "net.yaml").write_text("# snnlab train model=net\n# Mine.\nlayers: {}\n")
    assert rows(snnlab("list", "models", "--config-dir", "mine").out)["net"] == ["Mine."]
    listed = snnlab("list", "--config-dir=mine", "models", "net").out
    assert_text_has(listed, "Mine", "model.layers", "mine/model/net.yaml")


def test_a_closed_pipe_ends_it_quietly():
    code = "import sys; sys.argv = ['snnlab', 'list', 'models']; from snnlab.cli.main import main; sys.exit(main())"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0


def test_datasets_are_listed_with_their_availability(snnlab: Snnlab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "data" / "SHD").mkdir(parents=True)
    monkeypatch.setenv("SNNLAB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert snnlab("data", "prepare", "data=spike_patterns", "data.num_recordings=20").status == 0
    done = snnlab("list", "datasets")
    assert done.status == 0, done.err
    found = rows(done.out)
    assert found["spike_patterns"][0] == "packed, 20 recordings"
    assert found["saccade_digits"][0].startswith("made")
    assert found["shd"][0] == f"in {tmp_path / 'data' / 'SHD'}"
    assert found["ssc"][0].startswith("fetched")
    assert found["asldvs"][0].endswith("hand")
    assert found["folder"][0] == "yours"
    assert found["nmnist"][1].startswith("N-MNIST: 70,000 recordings")


def test_a_packed_copy_that_does_not_open_is_not_listed(
    snnlab: Snnlab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    stores = tmp_path / "snnlab" / "stores"
    (stores / "ssc-0123456789ab").mkdir(parents=True)
    (stores / "ssc-0123456789ab" / "hashes.npy").write_bytes(b"")
    done = snnlab("list", "datasets")
    assert done.status == 0, done.err
    assert rows(done.out)["ssc"][0].startswith("fetched")


def test_kinds_of_types_and_kinds_of_files_are_separate(snnlab: Snnlab):
    lines = snnlab("list").out.splitlines()
    types, files = (
        lines.index("types, named in a YAML file with their settings:"),
        lines.index("YAML files, chosen on the command line:"),
    )
    place = {line.split()[0]: number for number, line in enumerate(lines) if line.startswith("  ")}
    assert types < place["losses"] < files < place["loss"]
    assert types < place["datasets"] < files < place["data"]
