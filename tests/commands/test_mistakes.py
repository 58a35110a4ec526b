"""What a beginner does wrong: one or two lines on stderr, exit status 2, no traceback, nothing left behind."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from snnlab.training.module import SpikingModule

from .conftest import FAST, Outcome

Snnlab = Callable[..., Outcome]

# The arguments, and what the message has to say.
MISTAKES = [
    (["neuron.taumem=3"], "neuron: unknown setting 'taumem'", "Did you mean 'tau_mem'?"),
    (["neuron.tau_mem=-3"], "neuron: tau_mem must be > 0 ms, got -3"),
    (["neuron.tau_mem=0"], "neuron: tau_mem must be > 0 ms, got 0"),
    (["neuron.tau_mem=abc"], "neuron: tau_mem is a number in ms or 'N steps'"),
    (["neuron.decay=euler", "neuron.tau_mem=5"], "tau_mem of 5 is not longer than one step"),
    (["neuron.reset=none", "neuron.reset_delay=true"], "reset_delay needs a reset"),
    (["neuron.surrogate.type=atn"], "neuron.surrogate.type: there is no surrogate 'atn'", "Did you mean 'atan'?"),
    (["neuron.surrogate.width=0"], "neuron.surrogate: width must be > 0"),
    (["neuron=liff"], "neuron=liff: there is no such file", "Did you mean 'lif'?"),
    (["model=conv_li"], "model=conv_li: there is no such file", "Did you mean 'conv_lif'?"),
    (["model.layers.conv1.kernel_size=50"], "model.layers.conv1: kernel_size 50 is larger than its input [34, 34]"),
    (["model.layers.conv1.kernel_size=five"], "model.layers.conv1.kernel_size: expected a whole number"),
    (["model.layers.conv1.out_chanels=3"], "model.layers.conv1: unknown setting", "Did you mean 'out_channels'?"),
    (["model.layers.conv1.type=conv2"], "model.layers.conv1.type: there is no layer", "Did you mean 'conv2d'?"),
    (["~model.layers.flatten"], "the network ends with shape [32, 5, 10]", "is a flatten layer missing"),
    (["model.layers.out.out_features=7"], "the network ends with shape [7]", "set its out_features to 10"),
    (["data=nmist"], "data=nmist: there is no such file", "Did you mean 'nmnist'?"),
    (["data.num_classes=11"], "data.num_classes: 11, but saccade_digits has 10 classes"),
    (["data.augment={type: affine}"], "data.augment: expected a list, got a mapping; write [{...}, ...]"),
    (["data.sensor_size=[34,34,1]"], "data.sensor_size: [34, 34, 1], but saccade_digits's sensor is [34, 34, 2]"),
    (["data.dt=7"], "dt of 7 ms does not divide the window", "num_bins: 46"),
    (["neuron.tau_mem=0.02"], "neuron: tau_mem of 0.02 ms is far shorter than a step (10 ms)", "in seconds, write 20"),
    (["data.dt=0.01"], "dt of 0.01 ms makes more than 20,000 steps", "in seconds, write 10"),
    (["neuron.tau_mem=[10,20]"], "neuron.tau_mem: expected a number or text or null, got [10, 20]"),
    (["neuron.beta=1.5"], "neuron: beta is a factor per step, 0 <= beta < 1, got 1.5"),
    (["neuron.v_threshold=0"], "neuron: v_threshold must be > 0"),
    (["model.layers.pool1.kernel_size=40"], "model.layers.pool1: kernel_size 40 is larger than its input [30, 30]"),
    (["model.layers.conv2.groups=5"], "model.layers.conv2: groups"),
    (["+model.layers.n={type: batch_norm, after: conv9}"], "model.layers.n.after: there is no layer 'conv9'"),
    (["~model.layers.pool3"], "~model.layers.pool3: there is nothing of this name to drop"),
    (["data.batchsize=3"], "data: unknown setting 'batchsize'", "Did you mean 'batch_size'?"),
    (["data.val_fraction=1.5"], "val_fraction is a part of the training recordings"),
    (["data=nmnist", "data.root=nowhere", "data.download=false"], "data.root: no recordings in nowhere/NMNIST/Train"),
    (
        ["loss.over_time=median"],
        "loss.over_time: expected one of mean, sum, last, max, softmax_sum, first_spike, per_step, got 'median'",
    ),
    (["loss=mse_count"], "loss: mse_count counts spikes, but model.layers.readout gives none", "set loss=mse_rate"),
    (["loss.over_time=first_spike"], "loss.over_time: first_spike reads spikes, but model.layers.readout gives none"),
    (["loss.class_weight=[1,2]"], "loss.class_weight: has 2 weights, but there are 10 classes"),
    (["loss.type=rate_band"], "loss: unknown setting", "rate_band takes"),
    (["loss=rate_band", "loss.parts.rate.layers=[lif3]"], "loss.parts.rate.layers: there is no spiking layer 'lif3'"),
    (["loss.parts.n={type: spike_budget, budget: 0}"], "loss.parts.n.budget: must be > 0", "only a silent network"),
    (["loss.parts.n={type: mse}"], "loss.parts.n: mse is for values", "needs loss.parts.n.type=cross_entropy"),
    (["loss.parts.rate.weight=1"], "loss.parts.rate: needs a type"),
    (["optimizer=adm"], "optimizer=adm: there is no such file", "Did you mean 'adam'?"),
    (["optimizer.lr=fast"], "optimizer.lr: expected a number, got 'fast'"),
    (["optimizer.lr=-1"], "optimizer.lr: must be 0 or more, got -1"),
    (["optimizer._target_=os.system"], "optimizer._target_: os.system is not allowed here"),
    (["scheduler.T_mx=3"], "scheduler: unknown setting 'T_mx'", "Did you mean 'T_max'?"),
    (["scheduler.interval=day"], "scheduler.interval: expected one of epoch, step"),
    (["trainer.max_epoch=3"], "trainer: unknown setting 'max_epoch'", "Did you mean 'max_epochs'?"),
    (["trainer.max_epochs=abc"], "trainer.max_epochs: expected a whole number or null, got 'abc'"),
    (["trainer.accelerator=foo"], "trainer.accelerator: expected one of auto, cpu, gpu, cuda, mps, got 'foo'"),
    (["logger.tensorboard.save_dirr=x"], "logger.tensorboard: unknown setting", "Did you mean 'save_dir'?"),
    (["callbacks=early_stoping"], "callbacks=early_stoping: there is no such file", "Did you mean 'early_stopping'?"),
    (["plugins=[not_there]"], "plugins: cannot import 'not_there' (ModuleNotFoundError"),
    (["plugins=[raises]"], "plugins: cannot import 'raises' (RuntimeError: no)"),
    (["seed=1,2"], "seed=1,2: several values need -m, one run each"),
    (["neuron=null"], "the experiment has no neuron"),
    (["version=2"], "config: unknown setting 'version'"),
    (["selection=best"], "selection: expected one of lowest_val_loss, best_val_accuracy, last, got 'best'"),
    (["pictures.recordngs=3"], "pictures: unknown setting 'recordngs'", "Did you mean 'recordings'?"),
    (["pictures.recordings=0"], "pictures: recordings must be 1 or more, got 0; pictures=null draws none"),
    (["pictures.every_epochs=often"], "pictures.every_epochs: expected a whole number, got 'often'"),
    (["pictures=3"], "pictures: expected a mapping or null, got 3"),
    (["monitors.every_step=3"], "monitors: unknown setting 'every_step'", "Did you mean 'every_steps'?"),
    (["monitors.recordings=1"], "monitors: recordings must be 2 or more, got 1; monitors=null looks at nothing"),
    (["seed=one"], "seed: expected a whole number, got 'one'"),
    (["threads=0"], "threads: must be 1 or more"),
    (["conv_lif"], "conv_lif: not an override"),
    (["--config-dir", "nowhere"], "--config-dir: there is no folder"),
    (["--config-dir", "mine", "model=broken"], "broken.yaml, line 3, column 4: not valid YAML"),
    (["output_dir=file"], "output_dir: cannot write", "/file: Not a directory; set output_dir=FOLDER"),
    (["data.store_dir=file"], "file: cannot be written", "data.store_dir=..."),
]


@pytest.fixture(autouse=True)
def _surroundings(workplace: Path) -> None:
    (workplace / "file").write_text("")
    (workplace / "raises.py").write_text("raise RuntimeError('no')")
    broken = workplace / "mine" / "model" / "broken.yaml"
    broken.parent.mkdir(parents=True)
    broken.write_text("layers:\n  a: {type: relu\n  b: 3\n")


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: " ".join(mistake[0]))
def test_a_mistake_gets_a_clear_line_and_leaves_nothing(mistake: tuple, workplace: Path, snnlab: Snnlab):
    arguments, *words = mistake
    done = snnlab("train", *arguments)
    assert done.status == 2
    lines = done.err.strip().splitlines()
    assert len(lines) <= 2, done.err
    assert lines[0].startswith("snnlab: ")
    assert all(word in done.err for word in words), done.err
    assert not done.out
    assert not (workplace / "outputs").exists()


def test_a_truncated_recording_is_named(workplace: Path, snnlab: Snnlab):
    for part, content in (("Train", b"\1\2\3\4\5\6\7"), ("Test", b"\1\2\3\4\5")):
        path = workplace / "NMNIST" / part / "0" / "00001.bin"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    data = ("data=nmnist", "data.root=.", "data.download=false", "data.store_dir=store")
    done = snnlab("train", *FAST, *data)
    assert done.status == 2
    assert "NMNIST/Train/0/00001.bin: truncated: 7 bytes" in done.err
    assert "Traceback" not in done.err
    assert not (workplace / "outputs").exists()


def test_a_window_in_seconds_is_noticed_by_the_events_it_leaves_out(workplace: Path, snnlab: Snnlab, digits_store: str):
    done = snnlab(
        "train",
        *FAST,
        digits_store,
        "data.duration_ms=0.32",
        "neuron.tau_mem='2 steps'",
        "model.layers.readout.tau_mem='2 steps'",
    )
    assert done.status == 2
    assert "data.duration_ms: " in done.err
    assert "in seconds, write 320" in done.err
    assert not (workplace / "outputs").exists()


def test_a_layer_that_never_fires_is_spoken_of_once(workplace: Path, snnlab: Snnlab, digits_store: str):
    done = snnlab("train", *FAST, digits_store, "neuron.v_threshold=1000", "trainer.max_epochs=2")
    assert done.status == 0
    assert done.err.count("lif1: no neuron fired in epoch 1") == 1


def test_a_full_disk_is_said_and_recorded_as_far_as_it_can_be(
    workplace: Path, snnlab: Snnlab, digits_store: str, monkeypatch: pytest.MonkeyPatch
):
    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("snnlab.record.metrics_csv.write_text", full)
    done = snnlab("train", *FAST, digits_store)
    assert done.status == 2
    assert "No space left on device; the run is incomplete" in done.err
    assert "Traceback" not in done.err
    (result,) = workplace.glob("outputs/*/*/result.json")
    assert json.loads(result.read_text())["status"] == "failed"


def test_the_traceback_is_there_when_asked_for(snnlab: Snnlab, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SNNLAB_DEBUG", "1")
    done = snnlab("train", "seed=one")
    assert done.status == 2
    assert "Traceback" in done.err


def test_too_little_memory_names_the_settings_that_need_less_and_the_run_is_recorded_as_failed(
    workplace: Path, snnlab: Snnlab, digits_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(SpikingModule, "training_step", fail)
    done = snnlab("train", *FAST, digits_store)
    assert done.status == 2
    assert "out of memory with a batch of 8 in 4 steps; set data.batch_size=4, fewer steps: data.num_bins=2" in done.err
    assert "Traceback" not in done.err
    (result,) = workplace.glob("outputs/*/*/result.json")
    assert json.loads(result.read_text())["status"] == "failed"
