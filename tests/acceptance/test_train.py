"""`snnlab train`: what README, docs/train.md, docs/runs.md, docs/reproducibility.md and its `--help` promise."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from snnlab import train
from snnlab.errors import ConfigError
from snnlab.files import load_arrays
from snnlab.training.module import SpikingModule

from ..refusals import assert_error_has, assert_raises, assert_text_has
from .conftest import DRAWN, FAST, Outcome

Snnlab = Callable[..., Outcome]

PLUGIN = '''
import torch
from torch import nn
from snnlab.nn import LAYERS
from snnlab.errors import ConfigError

@LAYERS.register("gain")
class Gain(nn.Module):
    """Multiply by a learnable factor."""
    def __init__(self, in_shape, start: float = 1.0):
        super().__init__()
        self.factor = nn.Parameter(torch.full((in_shape[0], *[1] * (len(in_shape) - 1)), start))
    def forward(self, x):
        return x * self.factor
'''


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def tensorboard_of(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return events


def run_of(done: Outcome) -> Path:
    """Return the folder of the run: the last line on stdout."""
    assert done.status == 0, done.err
    return Path(done.out.splitlines()[-1])


def test_help_lists_groups_files_and_the_default_configuration(snnlab: Snnlab) -> None:
    done = snnlab("train", "--help")
    assert done.status == 0
    groups = dict(re.findall(r"^  (data|model|optimizer): ((?:[\w]+,?\s+)+?)(?=  \w+: |\n)", done.out, re.MULTILINE))
    assert "nmnist" in groups["data"]
    assert "mlp_lif" in groups["model"]
    assert groups["optimizer"].strip().split(", ") == ["adam", "adamax", "adamw", "rmsprop", "sgd"]
    assert_text_has(done.out, "seed: 0", "checkpoint_segments: 0")


# An override of docs/train.md, docs/time.md or the README, the place in the configuration, what stands there.
OVERRIDES: list[tuple[str, str, Any]] = [
    ("neuron=cuba_lif", "neuron.type", "cuba_lif"),
    ("model.layers.lif2.tau_mem=5", "model.layers.lif2.tau_mem", 5),
    ("optimizer=rmsprop", "optimizer._target_", "torch.optim.RMSprop"),
    ("+model.layers.norm1={type: batch_norm, after: conv1}", "model.layers.norm1.type", "batch_norm"),
    ("~model.layers.pool2", "model.layers.pool2", None),
    ("neuron.recurrent=true", "neuron.recurrent", True),
    ("neuron.tau_mem='2 steps'", "neuron.tau_mem", "2 steps"),
    ("loss.regularizers.ops={type: synaptic_operations, budget: 2e6}", "loss.regularizers.ops.budget", 2e6),
    ("tags=[paper]", "tags", ["paper"]),
    ("trainer.accumulate_grad_batches=2", "trainer.accumulate_grad_batches", 2),
]


def test_cfg_prints_the_whole_configuration_and_trains_nothing(workplace: Path, snnlab: Snnlab) -> None:
    done = snnlab("train", "--cfg", "job", *(word for word, _, _ in OVERRIDES))
    assert done.status == 0, done.err
    config = OmegaConf.create(done.out)
    for word, key, value in OVERRIDES:
        assert OmegaConf.select(config, key) == value, word
    assert config.model.layers.norm1.after == "conv1"
    assert not [*workplace.iterdir()]


def test_a_run_has_the_files_and_the_figures_that_are_promised(
    workplace: Path, snnlab: Snnlab, digits_store: str
) -> None:
    done = snnlab("train", *DRAWN, digits_store, "plots.recordings=1")
    folder = run_of(done)
    assert folder.parent == workplace / "outputs" / "mlp_lif_saccade_digits"
    assert {path.name for path in folder.iterdir()} == {
        "config.yaml",
        "result.json",
        "metrics.csv",
        "predictions.npz",
        "split.json",
        "trained_on.npy",
        "log.txt",
        "signature.json",
        "checkpoints",
        "tensorboard",
    }
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert_text_has(done.out, "test accuracy")
    assert "rate (Hz)" in done.out
    assert re.search(r"^training: 1 .* 2 ", done.err, re.MULTILINE)

    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "completed"
    assert result["selection"]["rule"] == "lowest_val_loss"
    for key in ("test/accuracy", "val/loss", "test/rate_hz/lif1", "test/silent/lif1", "test/spikes_per_step/lif1"):
        assert isinstance(result["metrics"][key], float), key
    assert result["metrics"]["params"] == 2312 * 16 + 16 * 10
    assert {"fit_s", "samples_per_s", "first_step_s", "peak_rss_mb", "peak_device_mb"} == set(result["timing"])
    assert {"git", "packages", "device", "threads", "config_hash", "data_fingerprint", "split_hash"} <= set(
        result["provenance"]
    )
    assert result["provenance"]["numerics"].get("precision") == "32-true"

    (row,) = csv.DictReader((folder / "metrics.csv").read_text().splitlines())
    assert {"epoch", "step", "lr", "train/loss", "val/accuracy", "val/rate_hz/lif1", "train/silent/lif1"} <= set(row)
    assert float(row["val/loss"]) == result["metrics"]["val/loss"]

    config = OmegaConf.load(folder / "config.yaml")
    assert config.model.layers.lif1.type == "lif"
    assert "neuron" not in config
    assert config.plots == {"recordings": 1, "every_epochs": 12}

    predictions = load_arrays(folder / "predictions.npz")
    assert predictions["test_readout"].shape == (8, 10)
    assert predictions["test_answers"].shape == (8, 4)
    assert predictions["layers"].tolist() == ["lif1"]
    accuracy = (predictions["test_readout"].argmax(1) == predictions["test_target"]).mean()
    assert accuracy == pytest.approx(result["metrics"]["test/accuracy"])
    assert (predictions["test_answers"][:, -1] == predictions["test_readout"].argmax(1)).all()

    tags = tensorboard_of(folder).Tags()
    assert {"train/rate_hz/lif1", "val/silent/lif1", "lr", "val/loss", "test/accuracy"} <= set(tags["scalars"])
    assert {tag.rpartition("recording_")[2].split("/", 1)[1] for tag in tags["images"] if "recording_" in tag} >= {
        *("events", "events_over_time", "raster/lif1", "membranes/lif1", "readout"),
    }
    assert {"rates/lif1", "confusion"} <= {tag.split("/", 1)[1] for tag in tags["images"]}

    plain = train(*FAST, digits_store).folder
    assert not tensorboard_of(plain).Tags()["images"]
    assert same(weights(folder), weights(plain))
    assert (folder / "metrics.csv").read_bytes() == (plain / "metrics.csv").read_bytes()


def test_metrics_csv_has_an_epochs_row_as_soon_as_the_epoch_ends(
    workplace: Path, digits_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, step = [], SpikingModule.training_step

    def look(self: SpikingModule, batch: Any, batch_idx: int) -> Any:
        if batch_idx == 0:
            tables = list(workplace.rglob("metrics.csv"))
            text = tables[0].read_text() if tables else ""
            seen.append([row["epoch"] for row in csv.DictReader(text.splitlines())])
        return step(self, batch, batch_idx)

    monkeypatch.setattr(SpikingModule, "training_step", look)
    train(*FAST, digits_store, "trainer.max_epochs=3")
    assert seen == [[], ["0"], ["0", "1"]]


def test_the_same_seed_gives_the_same_weights_and_metrics_bit_for_bit(workplace: Path, digits_store: str) -> None:
    drop = "+model.layers.drop={type: dropout, p: 0.3, after: lif1}"
    one, again, other = (train(*FAST, digits_store, drop, f"seed={seed}").folder for seed in (0, 0, 1))
    assert same(weights(one), weights(again))
    assert (one / "metrics.csv").read_bytes() == (again / "metrics.csv").read_bytes()
    assert not same(weights(one), weights(other))
    splits = [json.loads((folder / "split.json").read_text()) for folder in (one, other)]
    assert splits[0] == splits[1]  # data.split_seed is a seed of its own


def test_a_loss_far_above_its_beginning_is_a_warning_in_the_result(
    workplace: Path, digits_store: str, snnlab: Snnlab
) -> None:
    wild = ("optimizer=sgd", "optimizer.lr=1e6", "++trainer.limit_train_batches=10")
    done = snnlab("train", *FAST, digits_store, *wild)
    folder = run_of(done)
    assert "above" in done.err
    result = json.loads((folder / "result.json").read_text())
    assert any("above" in warning for warning in result["warnings"])
    (folder / "log.txt").unlink()  # it is for readers: nothing is read from it
    run_of(snnlab("train", f"resume={folder}", "trainer.max_epochs=2"))
    again = json.loads((folder / "result.json").read_text())
    assert again["warnings"][: len(result["warnings"])] == result["warnings"]
    assert len(again["warnings"]) == len({*again["warnings"]})


@pytest.mark.long
def test_a_training_that_diverges_says_where_and_keeps_the_last_good_checkpoint(
    workplace: Path, snnlab: Snnlab
) -> None:
    network = ("model=mlp_lif", "model.layers.fc1.out_features=16", "data=spike_patterns", "logger=none", *FAST[-2:])
    growing = ("scheduler._target_=torch.optim.lr_scheduler.StepLR", "~scheduler.T_max", "+scheduler.step_size=1")
    steep = (*growing, "+scheduler.gamma=1e38", "+trainer.limit_train_batches=3", "trainer.max_epochs=5")
    done = snnlab("train", *network, *steep)
    assert done.status == 2
    assert "Traceback" not in done.err
    assert_error_has(done.error, "", "epoch", "batch", "optimizer.lr", "trainer.gradient_clip_val=1")
    (folder,) = (path.parent for path in workplace.glob("outputs/*/*/result.json"))
    assert json.loads((folder / "result.json").read_text())["status"] == "failed"
    saved = weights(folder)
    assert all(torch.isfinite(value).all() for name, value in saved.items() if "network" in name)


# Its gradient grows beyond float32 within the steps of a recording.
EXPLODING = ("model=mlp_lif", "neuron=izhikevich", "neuron.input_gain=200", "neuron.surrogate={type: atan, width: 1.0}")


@pytest.mark.parametrize("clip", ["null", pytest.param("1", marks=pytest.mark.long)])
def test_an_infinite_gradient_ends_the_training_and_clipping_is_no_cure(
    clip: str, digits_store: str, snnlab: Snnlab
) -> None:
    done = snnlab("train", *EXPLODING, digits_store, "logger=none", f"trainer.gradient_clip_val={clip}")
    assert done.status == 2
    assert_error_has(done.error, "fc1.weight", "inf", "epoch", 1, "batch", "neuron.surrogate.width")
    assert "gradient_clip_val" not in str(done.error)


@pytest.mark.long
def test_a_terminal_shows_a_bar_with_the_epoch_and_a_file_does_not(
    workplace: Path, digits_store: str, snnlab: Snnlab
) -> None:
    command = [sys.executable, "-m", "snnlab", "train", *FAST, digits_store]
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "120", "TERM": "xterm-256color"}
    with open(ours, "rb", buffering=0) as screen:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, env=environment)
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the terminal is closed
            while part := screen.read(4096):
                shown += part
        assert process.wait() == 0
    text = shown.decode()
    assert "\x1b[" in text
    assert re.search(r"epoch\s+1/1[^\n]*[━╸╺]", text)
    plain = snnlab("train", *FAST, digits_store)
    assert plain.status == 0
    assert "\x1b[" not in plain.err
    assert "━" not in plain.err


def test_a_plugin_of_ten_lines_trains_and_its_bug_is_a_traceback_and_a_record(
    workplace: Path, snnlab: Snnlab, digits_store: str
) -> None:
    (workplace / "my_plugin_layers.py").write_text(PLUGIN)
    layer = "+model.layers.gain={type: gain, start: 2.0, after: fc1}"
    factor = weights(run_of(snnlab("train", *FAST, digits_store, "plugins=[my_plugin_layers]", layer)))[
        "network.gain.factor"
    ]
    assert factor.shape == (16,)
    assert not torch.equal(factor, torch.full((16,), 2.0))
    (workplace / "my_failing_layers.py").write_text(
        PLUGIN.replace('"gain"', '"broken"').replace(
            "return x * self.factor", "return x * self.factor if x.sum() == 0 else 1 / 0"
        )
    )
    layer = "+model.layers.broken={type: broken, after: fc1}"
    with pytest.raises(ZeroDivisionError):
        train(*FAST, digits_store, "plugins=[my_failing_layers]", layer, "output_dir=out")
    (result,) = workplace.glob("out/*/*/result.json")
    record = json.loads(result.read_text())
    assert record["status"] == "failed"
    assert_text_has(record["error"], "ZeroDivisionError")


def test_the_command_is_recorded_from_python_for_a_grid_and_for_a_resumed_run(
    workplace: Path, snnlab: Snnlab, digits_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(folder: Path) -> list[str]:
        return json.loads((folder / "result.json").read_text())["provenance"]["command"]

    quiet = (*FAST, digits_store, "logger=none", "test=false")
    assert command(train(*quiet).folder) == ["snnlab.train", *quiet]
    runs = sorted(run_of(snnlab("train", "-m", *quiet, "seed=0,1")).glob("*_*"))
    assert [run.name for run in runs] == ["0_0", "1_1"]
    assert [command(run) for run in runs] == [["snnlab", "train", "-m", *quiet, "seed=0,1"]] * 2
    assert not (workplace / "multirun").exists()

    def ctrl_c(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SpikingModule, "validation_step", ctrl_c)
        secret = ["hydra.run.dir=mysql://me:secret@host/run"]
        assert snnlab("train", *quiet, *secret).status == 130
    (run,) = (path.parent for path in workplace.rglob("result.json") if "mysql" in str(path))
    assert command(run) == ["snnlab", "train", *quiet, "hydra.run.dir=mysql://me:***@host/run"]
    assert snnlab("train", f"resume={run}").status == 0
    page = json.loads((run / "result.json").read_text())
    assert page["provenance"]["command"][-1] == "hydra.run.dir=mysql://me:***@host/run"
    assert [entry["command"] for entry in page["resumed"]] == [["snnlab", "train", f"resume={run}"]]


def test_a_run_below_any_folder_is_opened_by_every_command_also_where_it_was_moved(
    workplace: Path, snnlab: Snnlab, digits_store: str
) -> None:
    place = "out/a'b, [c] {d} #&ü"
    run = run_of(snnlab("train", *FAST, digits_store, f"output_dir={place}", "logger=none")).relative_to(workplace)
    assert str(run).startswith(place)
    for command in (
        ["show", str(run)],
        ["evaluate", str(run), "--split", "val"],
        ["export", str(run), "--what", "weights", "--out", "w.npz"],
        ["doctor", str(run)],
        ["report", str(run)],
        ["runs", "list", str(run.parent)],
        ["train", f"resume={run}"],
    ):
        opened = snnlab(*command)
        assert opened.status in (0, 1 if command[0] == "doctor" else 0), (command, opened.err)  # 1: it found something
    (workplace / "lr=0.1").mkdir()
    moved = str(run.rename(Path("lr=0.1") / "run"))
    for command in (["show", moved], ["evaluate", moved, "--split", "val"]):
        opened = snnlab(*command)
        assert opened.status == 0, (command, opened.err)


def test_a_folder_that_a_callback_or_a_logger_cannot_make_is_named(
    workplace: Path, snnlab: Snnlab, digits_store: str
) -> None:
    (workplace / "file").write_text("")
    checkpoint = "{_target_: lightning.pytorch.callbacks.ModelCheckpoint, dirpath: file/mine}"
    for typed in (["logger=none", f"+callbacks.mine={checkpoint}"], ["logger.tensorboard.save_dir=file/mine"]):
        done = snnlab("train", *FAST, digits_store, *typed)
        assert done.status == 2
        assert_error_has(done.error, "file/mine", "incomplete")
    run_of(snnlab("train", *FAST, digits_store, "logger=none", f"+callbacks.mine={checkpoint.replace('file', 'new')}"))
    assert list((workplace / "new" / "mine").glob("*.ckpt"))


def test_without_validation_the_last_epoch_is_chosen(workplace: Path, digits_store: str) -> None:
    result = train(*FAST, digits_store, "data.val_fraction=0", "trainer.max_epochs=2")
    assert (result.selection["rule"], result.selection["epoch"]) == ("last", 1)
    assert not any(key.startswith("val/") for key in result.metrics)
    skipped = train(*(text for text in FAST if "limit_val" not in text), digits_store, "trainer.limit_val_batches=0")
    assert (skipped.selection["rule"], skipped.selection["epoch"]) == ("last", 0)


def test_a_genuine_partial_copy_of_nmnist_trains(workplace: Path, snnlab: Snnlab, real_data: Path) -> None:
    data = ("data=nmnist", f"data.root={real_data}", "data.download=false", "data.store_dir=store")
    done = snnlab("train", *FAST, *data)
    assert done.status == 0, done.err
    assert re.search(r"\b700 of 60,000 ", done.err)
    assert re.search(r"\b629 .* 71 .* 100 ", done.err)


@pytest.mark.parametrize(
    ("given", "sparse"),
    [
        ((), True),
        pytest.param(("sparse_input=false",), False, marks=pytest.mark.long),
        (("backend=reference", "trainer.precision=bf16-mixed"), False),
    ],
)
def test_the_backend_and_the_input_of_the_first_layer_are_recorded(
    given: tuple[str, ...], sparse: bool, workplace: Path, digits_store: str
) -> None:
    conv = (
        "model=conv_lif",
        "model.layers.conv1.out_channels=2",
        "model.layers.conv2.out_channels=2",
        "data.num_bins=40",
    )
    fast = (text for text in FAST if "mlp" not in text and "fc1" not in text and "num_bins" not in text)
    numerics = train(*fast, *conv, *given, digits_store).provenance["numerics"]
    assert numerics["sparse_input"] is sparse
    assert numerics["approximate"] == []
    assert numerics["backend"] == ("reference" if "backend=reference" in given else "numba")
    assert numerics["precision"] == ("bf16-mixed" if "trainer.precision=bf16-mixed" in given else "32-true")


@pytest.mark.parametrize(
    "given",
    [("model=mlp_lif",), ("model=conv_lif", "fuse=false"), ("model=conv_lif", "trainer.precision=bf16-mixed")],
)
def test_events_are_refused_where_the_first_layer_cannot_take_them(
    given: tuple[str, ...], workplace: Path, digits_store: str
) -> None:
    with assert_raises(ConfigError, "sparse_input", "true"):
        train(*given, "sparse_input=true", "trainer.accelerator=cpu", digits_store)
    assert not (workplace / "outputs").exists()


def test_checkpoint_segments_do_not_change_the_training(workplace: Path, digits_store: str) -> None:
    kept, again = (train(*FAST, f"checkpoint_segments={n}", digits_store).metrics for n in (0, 2))
    assert again["val/loss"] == pytest.approx(kept["val/loss"], rel=1e-5)
    with assert_raises(ConfigError, "checkpoint_segments", 0, -1):
        train(*FAST, "checkpoint_segments=-1", digits_store)


def test_an_unavailable_backend_is_refused(workplace: Path, digits_store: str) -> None:
    with assert_raises(ConfigError, "backend", "triton"):
        train("backend=triton", "trainer.accelerator=cpu", digits_store)
    assert not (workplace / "outputs").exists()


@pytest.mark.parametrize(
    "given", ["fuse=true", "tbptt_steps=8", pytest.param("checkpoint_segments=2", marks=pytest.mark.long)]
)
def test_a_first_layer_that_takes_events_learns_the_same_as_from_frames(
    given: str, workplace: Path, digits_store: str
) -> None:
    small = ("model.layers.conv1.out_channels=2", "model.layers.conv2.out_channels=2", "data.num_bins=40")
    fast = (text for text in FAST if "mlp" not in text and "fc1" not in text and "num_bins" not in text)
    words = ("experiment=saccade_digits", *fast, *small, given, digits_store, "logger=none")
    of_events, of_frames = (train(*words, f"sparse_input={sparse}") for sparse in ("auto", "false"))
    found = [result.provenance["numerics"]["sparse_input"] for result in (of_events, of_frames)]
    assert found == [True, False]
    assert of_events.metrics["val/loss"] == pytest.approx(of_frames.metrics["val/loss"], rel=1e-5)
