"""`snnlab convert`: what docs/convert.md promises of the folder that it writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from matplotlib.image import imread

from snnlab import load

from ...acceptance.calling import call
from ...refusals import assert_error_has, assert_text_has
from .conftest import WHOLE, Outcome

Snnlab = Callable[..., Outcome]
LAYERS = """
layers:
  pool: {type: avg_pool, kernel_size: 4}
  flatten: {type: flatten}
  fc: {type: linear, out_features: 24}
  norm: {type: batch_norm}
  relu: {type: relu}
  out: {type: linear, out_features: "${data.num_classes}"}
"""


@pytest.fixture(scope="module")
def relu_run(tmp_path_factory: pytest.TempPathFactory, digits_store: str) -> Path:
    """Return a run of a network of ReLU layers, which sees one frame of a recording."""
    folder = tmp_path_factory.mktemp("relu")
    (folder / "mine" / "model").mkdir(parents=True)
    (folder / "mine" / "model" / "relus.yaml").write_text(LAYERS)
    more = [text for text in WHOLE[2:] if "num_bins" not in text]
    learned = ("data.num_bins=1", "trainer.max_epochs=3", "optimizer.lr=0.01", "data.batch_size=256")
    done = call(folder, "train", "--config-dir", "mine", "model=relus", *more, *learned, digits_store)
    assert done.status == 0, done.err
    return folder / done.out.splitlines()[-1]


@pytest.mark.parametrize("kind", [pytest.param("constant", marks=pytest.mark.long), "events"])
def test_a_run_is_converted_and_every_command_takes_the_folder(
    kind: str, relu_run: Path, workplace: Path, digit: Path, snnlab: Snnlab
) -> None:
    done = snnlab("convert", str(relu_run), "--input", kind, "--steps", "1,4,16", "--out", "spiking")
    assert done.status == 0, done.err
    *lines, folder = done.out.splitlines()
    assert folder == "spiking"
    assert_text_has("\n".join(lines), "99.9", "1,295", "channel", "its own events" if kind == "events" else "constant")
    record = json.loads(Path("spiking/result.json").read_text())["provenance"]["converted"]
    right, of, steps = record["right"], record["validation_recordings"], record["steps"]
    # Events come in bursts: what a neuron has spiked for early, it cannot take back.
    assert right["16"] >= right["relu"] - {"constant": 0.1, "events": 0.25}[kind] * of > 0.4 * of
    enough = [each for each in (1, 4, 16) if right[str(each)] >= right["relu"] - 0.01 * of]
    assert steps == (enough[0] if enough else max((1, 4, 16), key=lambda each: right[str(each)]))
    assert f"{right['relu']} of {of}" in lines[0]
    assert (record["input"], record["per"], len(record["scales"]["relu"])) == (kind, "channel", 24)
    assert record["spikes"]["1"] < record["spikes"]["16"]
    assert imread("spiking/conversion.png").shape[2] == 4

    config = yaml.safe_load(Path("spiking/config.yaml").read_text())
    assert [node["type"] for node in config["model"]["layers"].values()] == [
        *("avg_pool", "flatten", "linear", "iaf", "linear")
    ]
    assert (config["model"]["layers"]["iaf"]["v_init"], config["data"]["num_bins"]) == (0.5, steps)
    evaluated = snnlab("evaluate", "spiking", "--split", "val")
    assert evaluated.status == 0, evaluated.err
    accuracy = load("spiking").evaluate("val")["metrics"]["val/accuracy"]
    assert accuracy == pytest.approx(right[str(steps)] / of)
    assert len(snnlab("predict", "spiking", str(digit)).out.splitlines()) == 2
    assert snnlab("export", "spiking", "--bundle", "one.snn").status == 0
    streamed = snnlab("stream", "spiking", str(digit))
    assert streamed.status == (0 if kind == "events" else 2)
    if kind == "constant":
        assert_error_has(streamed.error, "data.representation")
        assert snnlab("predict", "spiking", str(digit), "--until", "0.9").status == 2


def test_fine_tuning_starts_with_its_weights_and_does_not_test_what_it_was_trained_on(
    relu_run: Path, workplace: Path, snnlab: Snnlab
) -> None:
    assert snnlab("convert", str(relu_run), "--input", "events", "--steps", "8", "--out", "spiking").status == 0
    done = snnlab("train", "spiking/config.yaml", "init_from=spiking", "trainer.max_epochs=1", "optimizer.lr=1e-30")
    assert done.status == 0, done.err
    tuned, before = (load(folder).network.state_dict() for folder in (done.out.splitlines()[-1], "spiking"))
    torch.testing.assert_close(tuned, before)
    assert tuned.keys() == {"fc.weight", "fc.bias", "out.weight", "out.bias"}
    refused = snnlab("evaluate", "spiking", "--split", "val", "data.split_seed=1")
    assert refused.status == 2
    assert_error_has(refused.error, "evaluate", "trained on")


def test_a_state_dict_of_another_program_is_converted(
    relu_run: Path, workplace: Path, digits_store: str, snnlab: Snnlab
) -> None:
    torch.save(load(relu_run).network.state_dict(), "ann.pth")
    shutil.copytree(relu_run.parents[2] / "mine", "mine")
    words = ("convert", "ann.pth", "--config-dir", "mine", "model=relus", "data.num_bins=2", digits_store)
    how = ("--steps", "4", "--percentile", "100", "--per", "layer", "--input", "constant", "--out", "spiking")
    done = snnlab(*words, *how)
    assert done.status == 0, done.err
    page = json.loads(Path("spiking/result.json").read_text())["provenance"]
    assert (page["converted"]["steps"], len(page["converted"]["scales"]["relu"])) == (8, 1)
    assert len(page["imported"]["sha256"]) == 64
    assert " right, no accuracy" in snnlab("evaluate", "spiking", "--split", "val").out


@pytest.mark.parametrize(
    ("words", "place", "fact"),
    [
        (("--input", "events", "data.representation=binary"), "data.representation", "binary"),
        (("--input", "events", "model.layers.relu.type=tanh"), "model.layers.relu", "tanh"),
        (("--input", "constant", "--steps", "0"), "convert: --steps", "0"),
        (("--input", "constant", "data.val_fraction=0"), "convert", "val_fraction"),
        (("--input", "constant", "loss.readout=max"), "loss.readout", "mean"),
        (("--input", "constant", "--percentile", "20"), "--percentile", "50"),
    ],
    ids=str,
)
def test_what_cannot_be_converted_is_one_line_and_nothing_is_written(
    words: tuple[str, ...], place: str, fact: str, relu_run: Path, workplace: Path, snnlab: Snnlab
) -> None:
    done = snnlab("convert", str(relu_run), *words, "--out", "spiking")
    assert done.status == 2
    assert_error_has(done.error, place, fact)
    assert not Path("spiking").exists()


def test_a_run_of_another_user_runs_no_code(relu_run: Path, workplace: Path, snnlab: Snnlab) -> None:
    shutil.copytree(relu_run, "run")
    page = Path("run/config.yaml")
    page.write_text(page.read_text().replace("plugins: []", "plugins: [evil]"))
    Path("evil.py").write_text("open('canary', 'w')")
    done = snnlab("convert", "run", "--input", "constant", "--out", "spiking")
    assert done.status == 2
    assert_text_has(done.err, "plugins=[evil]")
    assert not Path("canary").exists()


@pytest.mark.slow  # half a minute
def test_the_network_of_the_nir_paper_reaches_97_of_100(real_data: Path, workplace: Path, snnlab: Snnlab) -> None:
    file = real_data / "foreign" / "nir-paper" / "02_cnn" / "pretrained_ann_weights.pth"
    if not file.is_file():
        pytest.skip(f"no network of the NIR paper: {file} is missing")
    Path("mine/model").mkdir(parents=True)
    conv = "kernel_size: 3, padding: 1, bias: false"
    Path("mine/model/paper.yaml").write_text(f"""
layers:
  conv1: {{type: conv2d, out_channels: 16, kernel_size: 5, stride: 2, padding: 1, bias: false}}
  relu1: {{type: relu}}
  conv2: {{type: conv2d, out_channels: 16, {conv}}}
  relu2: {{type: relu}}
  pool1: {{type: sum_pool, kernel_size: 2}}
  conv3: {{type: conv2d, out_channels: 8, {conv}}}
  relu3: {{type: relu}}
  pool2: {{type: sum_pool, kernel_size: 2}}
  flatten: {{type: flatten}}
  fc: {{type: linear, out_features: 256, bias: false}}
  relu4: {{type: relu}}
  out: {{type: linear, out_features: 10, bias: false}}
  relu5: {{type: relu}}
weights: {{rename: spikingjelly}}
""")
    # As it was trained: three frames of a recording, one after the other.
    data = ("data=nmnist", f"data.root={real_data}", "data.download=false", "data.duration_ms=318", "data.num_bins=3")
    words = ("convert", str(file), "--config-dir", "mine", "model=paper", *data)
    done = snnlab(*words, "--input", "events", "--steps", "32,106", "--out", "spiking")
    assert done.status == 0, done.err
    evaluated = snnlab("evaluate", "spiking")
    assert evaluated.status == 0, evaluated.err
    rows = json.loads((Path(evaluated.out.splitlines()[-1]) / "result.json").read_text())["accuracy_of_class"].values()
    assert sum(right for right, _ in rows) >= 97
