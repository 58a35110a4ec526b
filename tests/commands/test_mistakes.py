"""What a beginner does wrong: one or two lines on stderr, exit status 2, no traceback, nothing left behind."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pytest
import torch

from snnlab.settings import key_of
from snnlab.training.module import SpikingModule

from .conftest import FAST, Outcome

Snnlab = Callable[..., Outcome]

# The arguments, and what the message has to say.
MISTAKES = [
    (["neuron.taumem=3"], "neuron: unknown setting 'taumem'", "Did you mean 'tau_mem'?"),
    (["neuron.tau_mem=-3"], "neuron.tau_mem: must be > 0, got -3"),
    (["neuron.tau_mem=0"], "neuron.tau_mem: must be > 0, got 0"),
    (["neuron.tau_mem=abc"], "neuron: tau_mem is a number in ms or 'N steps'"),
    (["neuron.decay=euler", "neuron.tau_mem=5"], "tau_mem of 5 is not longer than one step"),
    (["neuron.reset=none", "neuron.reset_delay=true"], "reset_delay needs a reset"),
    (["neuron.surrogate.type=atn"], "neuron.surrogate.type: there is no surrogate 'atn'", "Did you mean 'atan'?"),
    (["neuron.surrogate.width=0"], "neuron.surrogate.width: must be > 0"),
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
    (["neuron.beta=1.5"], "neuron.beta: must be >= 0 and < 1, got 1.5"),
    (["neuron.v_threshold=0"], "neuron.v_threshold: must be > 0"),
    (["model.layers.pool1.kernel_size=40"], "model.layers.pool1: kernel_size 40 is larger than its input [30, 30]"),
    (["model.layers.conv2.groups=5"], "model.layers.conv2: groups"),
    (["+model.layers.n={type: batch_norm, after: conv9}"], "model.layers.n.after: there is no layer 'conv9'"),
    (["~model.layers.pool3"], "~model.layers.pool3: there is nothing of this name to drop"),
    (["data.batchsize=3"], "data: unknown setting 'batchsize'", "Did you mean 'batch_size'?"),
    (["data.val_fraction=1.5"], "data.val_fraction: must be >= 0 and < 1"),
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
    (["loss.parts.n={type: spike_budget, budget: 0}"], "loss.parts.n.budget: must be > 0"),
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
    (["pictures.recordings=0"], "pictures.recordings: must be >= 1, got 0"),
    (["pictures.every_epochs=often"], "pictures.every_epochs: expected a whole number, got 'often'"),
    (["pictures=3"], "pictures: expected a mapping or null, got 3"),
    (["monitors.every_step=3"], "monitors: unknown setting 'every_step'", "Did you mean 'every_steps'?"),
    (["monitors.recordings=1"], "monitors.recordings: must be >= 2, got 1"),
    (["seed=one"], "seed: expected a whole number, got 'one'"),
    (["threads=0"], "threads: must be between 1 and 1,024"),
    (["--config-dir", "nowhere"], "--config-dir: there is no folder"),
    (["--config-dir", "mine", "model=broken"], "broken.yaml, line 3, column 4: not valid YAML"),
    (["output_dir=file"], "output_dir: cannot write", "/file: Not a directory; set output_dir=FOLDER"),
    (["data.store_dir=file"], "file: cannot be written", "data.store_dir=..."),
]


# Words that are no override, or say something of another framework's.
WORDS = [
    (["conv_lif"], "conv_lif: not an override; write model=conv_lif"),
    (["seed"], "seed: not an override; write seed=VALUE"),
    (["seed:3"], "write seed=3"),
    (["--model", "conv_lif"], "there is no option --model; write model=conv_lif"),
    (["--lr=0.1"], "write optimizer.lr=0.1"),
    (["--config", "mine.yaml"], "--config-dir DIR"),
    (["--dry-run"], "debug=shapes"),
    (["--config-dir"], "--config-dir needs a value"),
    (["--cfg", "jo"], "--cfg: expected one of job, hydra, all, got 'jo'"),
    (["--resolve"], "--resolve: is for --cfg job"),
    (["-m", "seed=0,1", "--cfg", "job"], "--cfg prints one configuration; leave out -m"),
    (["=1"], "=1: not an override"),
    (["mine/model/broken.yaml"], "--config-dir mine model=broken takes this file"),
    (["mine/new.yaml"], "--config-dir DIR experiment=new"),
    (["run/config.yaml"], "resume=run goes on with this run, snnlab reproduce run"),
    (["run"], "resume=run goes on with this run"),
    (["lr=0.1"], "unknown setting 'lr'. Did you mean 'optimizer.lr'?"),
    (["epochs=3"], "Did you mean 'trainer.max_epochs'?"),
    (["batch_size=32"], "Did you mean 'data.batch_size'?"),
    (["tau_mem=3"], "Did you mean 'neuron.tau_mem'?"),
    (["Neuron.tau_mem=3"], "Did you mean 'neuron'?"),
    (["neuron.tau-mem=3"], "unknown setting 'tau-mem'", "Did you mean 'tau_mem'?"),
    (["ckpt_path=x"], "resume=RUN", "init_from=RUN"),
    (["tag=[a]"], "Did you mean 'tags'?"),
    (["tags=a"], "tags: expected a list of texts"),
    (["model.optimizer.lr=3"], "optimizer.KEY=VALUE"),
    (["trainer.epochs=5"], "Did you mean 'max_epochs'?"),
    (["+experiment=nmnist"], "write experiment=nmnist"),
    (["+seed=3"], "leave out the +"),
    (["logger=[tensorbord]"], "logger=tensorbord: there is no such file", "Did you mean 'tensorboard'?"),
    (["logger=[csv,tensorbord]"], "logger=tensorbord: there is no such file", "Did you mean 'tensorboard'?"),
    (["callbacks=model_checkpoint"], "selection="),
    (["callbacks.early_stopping.patience=3"], "choose callbacks=early_stopping first"),
    (["logger.wandb.offline=true"], "choose logger=wandb first"),
    (["debug=limit"], "trainer.limit_train_batches=0.1"),
    (["debug=fdr"], "debug=fast"),
    (["hparams_search=optuna"], "snnlab sweep"),
    (["trainer=mps"], "trainer.accelerator=mps"),
    (["debug=true"], "debug=true: there is no such file"),
    (["callbacks=3"], "callbacks=3: there is no such file"),
    (["+resume=run"], "leave out the +"),
    (["-m", "seed=range(0)"], "seed=range(0): has no value"),
    (["dt=5"], "Did you mean 'data.dt'?"),
    (["patience=3"], "callbacks=early_stopping"),
    (["wandb=true"], "logger=wandb"),
    (["out_features=3"], "Did you mean 'model.layers.out.out_features'?"),
    (["init_from="], "init_from: is empty"),
    (["model=./mlp_lif"], "write --config-dir DIR model=mlp_lif"),
    (["experiment=mine/experiment/new.yaml"], "write --config-dir mine experiment=new"),
    (["model=mlp_lif.yaml"], "model=mlp_lif.yaml: write model=mlp_lif"),
    (["experiment.seed=3"], "would go nowhere; write seed=3"),
    (['name="a'], 'name="a: its quotes do not match'),
    ([f"name={'n' * 300}"], "File name too long"),
    (["hydra.run.dir=null"], "hydra.run.dir=null: name a folder"),
    (["~output_dir"], "refers to ${output_dir}, which is not there"),
    (["output_dir=~nobody_has_this_name/x"], "~nobody_has_this_name: there is no such user's home"),
    (["trainer.accumulate_grad_batches=99999999999999999999"], "below 2 to the power of 63"),
    (["model=mlp_lif", "model.layers.readout=null"], "model.layers.readout: expected a mapping", "got null"),
    (["hydra/sweeper=optuna"], "snnlab sweep"),
    (["neuron.tau_mem=${neuron.tau_mem}"], "neuron.tau_mem: refers to itself"),
    (["data.batch_size=${data.num_binz}"], "data.batch_size: refers to ${data.num_binz}, which is not there"),
    (["seed=${oc.env:NOT_SET_ANYWHERE}"], "seed: refers to NOT_SET_ANYWHERE, which is not set"),
    (["neuron.tau_mem=nan"], "tau_mem: expected a number, got nan"),
    (["model=mlp_lif", "model.layers.fc1.out_features=100000000000"], "model.layers.fc1: out of memory"),
    (["data.sensor_size=[100000,100000,2]"], "model.layers.conv1: out of memory", "[2, 100000, 100000]"),
    (["plugins=[leaves]"], "plugins: cannot import 'leaves' (SystemExit: 3)"),
]

# What would be taken without a word, and do another thing than it says; `show` trains nothing.
SILENT = [
    ("model=[mlp_lif,conv_lif]", "takes one file, such as model=mlp_lif"),
    ("hydra.verbose=true", "hydra.verbose: is not used here"),
    ("hydra.run.dir=", "hydra.run.dir: is empty"),
    ("+model.layers.new={type: batch_norm}", "model.layers.new: a new layer says where it stands"),
    ("output_dir=", "output_dir: is empty"),
    ("name=../../evil", "name: is a folder below output_dir"),
    ("trainer.max_epochs=0", "0 trains nothing"),
    ("optimizer.lr=nan", "optimizer.lr: expected a number, got nan"),
    ("~nothing", "~nothing: there is nothing of this name to drop"),
]

# What the trainer and the optimizer are asked for, that trains nothing or fails later; a run of seconds without it.
SETTINGS = [
    ("trainer.limit_test_batches=0", "0 tests nothing; set test=false"),
    ("trainer.check_val_every_n_epoch=0", "must be >= 1, got 0"),
    ("trainer.val_check_interval=0", "trainer.val_check_interval: must be a number of batches"),
    ("trainer.val_check_interval=1000", "1000 is more than the 2 batches"),
    ("trainer.accumulate_grad_batches=0", "must be >= 1, got 0"),
    ("trainer.accumulate_grad_batches=-1", "must be >= 1, got -1"),
    ("trainer.log_every_n_steps=0", "must be >= 1, got 0"),
    ("trainer.limit_train_batches=0.001", "0.001 of 162 batches is less than one"),
    ("trainer.limit_train_batches=0", "0 trains nothing"),
    ("trainer.max_epochs=0", "0 trains nothing"),
    ("trainer.max_time='00:00:00:00'", "0 trains nothing"),
    ("trainer.min_epochs=5", "is more than trainer.max_epochs, 1"),
    ("trainer.gradient_clip_val=nan", "trainer.gradient_clip_val: expected a number, got nan"),
    ("trainer.gradient_clip_val=-1", "must be >= 0, got -1"),
    ("trainer.overfit_batches=1", "debug=overfit"),
    ("trainer.overfit_batches=0.5", "debug=overfit"),
    ("trainer.accelerator=tpu", "expected one of auto, cpu, gpu, cuda, mps, got 'tpu'"),
    ("trainer.strategy=ddp_spawn", "trainer.strategy: expected one of auto, ddp"),
    ("trainer.strategy=ddp_fork", "trainer.strategy: expected one of auto, ddp"),
    ("trainer.precision=16-mixed", "16-mixed needs a GPU; a CPU computes in bf16-mixed"),
    ("trainer.num_sanity_val_steps=-5", "must be >= -1, got -5"),
    ("trainer.enable_checkpointing=false", "trainer.enable_checkpointing: is not set here"),
    ("checkpoint_every_s=-1", "checkpoint_every_s: must be >= 0"),
    ("optimizer.lr=inf", "optimizer.lr: expected a finite number, got inf"),
    ("optimizer.betas=[0.9,inf]", "optimizer.betas: expected a finite number"),
    ("callbacks=early_stopping callbacks.early_stopping.monitor=val/los", "Did you mean 'val/loss'?"),
    ("callbacks=early_stopping trainer.limit_val_batches=0", "waits for val/loss, and nothing is validated"),
    ("scheduler=plateau scheduler.monitor=val/los", "scheduler.monitor: nothing logs 'val/los'"),
    ("scheduler=plateau scheduler.interval=step", "scheduler.monitor: val/loss is known once an epoch"),
    ("scheduler.monitor=val/loss", "only ReduceLROnPlateau waits for a figure"),
    ("callbacks=early_stopping callbacks.early_stopping.mode=foo", "callbacks.early_stopping: `mode` can be"),
    ("callbacks=early_stopping callbacks.early_stopping.patience=-1", "patience: must be 0 or more, got -1"),
    ("callbacks=early_stopping trainer.check_val_every_n_epoch=2", "waits for val/loss, and nothing is validated"),
    (
        "scheduler=plateau trainer.check_val_every_n_epoch=2 trainer.max_epochs=4",
        "scheduler.monitor: waits for val/loss at each epoch",
    ),
    ("scheduler.T_max=-1", "scheduler.T_max: must be 0 or more, got -1"),
    ("scheduler=step scheduler.gamma=-2", "scheduler.gamma: must be 0 or more, got -2"),
    ("scheduler=step scheduler.step_size=0", "scheduler: StepLR: integer modulo by zero"),
    (
        "+callbacks.mine={_target_:lightning.pytorch.callbacks.ModelCheckpoint,monitor:val/los}",
        "callbacks.mine.monitor: nothing logs 'val/los'",
    ),
    (
        "logger=none +callbacks.mine={_target_:lightning.pytorch.callbacks.LearningRateMonitor}",
        "callbacks.mine: tells loggers, and there is none",
    ),
]

HEAD = "# @package _global_\n"
# An experiment's file, and what is said of it.
FILES = [
    ("neuron: {tau_mem: -3}\n", "its settings (neuron, ...) would go nowhere", "'# @package _global_'"),
    (f"# mine\n{HEAD}neuron: {{tau_mem: -3}}\n", "'# @package _global_' is no first line"),
    ("# @package: _global_\nneuron: {tau_mem: -3}\n", "its first line has to be '# @package _global_'"),
    ("# @package\nneuron: {tau_mem: -3}\n", "its first line has to be '# @package _global_'"),
    (f"\ufeff{HEAD}neuron: {{tau_mem: -3}}\n", "byte order mark", "'# @package _global_'"),
    ("# @package elsewhere\nneuron: {tau_mem: -3}\n", "its package is elsewhere", "'# @package _global_'"),
    ("# @package experiment\nneuron: {tau_mem: -3}\n", "would go nowhere"),
    (f"{HEAD}neuron:\n  tau_mem 3\n", ":2: neuron: expected a mapping, got 'tau_mem 3'"),
    (f"{HEAD}neuron: 3\n", ":2: neuron: expected a mapping, got 3"),
    (f"{HEAD}neuron: [lif]\n", ":2: neuron: expected a mapping, got ['lif']"),
    (f"{HEAD}model:\n  layers: [1]\n", ":3: model.layers: expected a mapping, got a list"),
    (f"{HEAD}model:\n  layers:\n    new: {{type: relu}}\n", ":4: model.layers.new: a new layer says where it stands"),
    (f"{HEAD}data: nmnist\n", ":2: data: expected a mapping, got 'nmnist'", "override /data: nmnist"),
    (f"{HEAD}neuron:\n  tau_mem: !!int abc\n", ":3: invalid literal for int()"),
    (f"{HEAD}defaults: conv_lif\n", "defaults: expected a list, got 'conv_lif'"),
    (f"{HEAD}defaults: [mine]\n", "its defaults lead back to itself"),
    (f"{HEAD}defaults: [nope]\n", "experiment=nope: there is no such file"),
    (f"{HEAD}defaults:\n  - /model: mlp_lif\n", "write 'override /model: mlp_lif'"),
    (f"{HEAD}defaults:\n  - override /modell: mlp_lif\n", "there is no group 'modell'. Did you mean 'model'?"),
    (f"{HEAD}seed: ${{seed}}\n", ":2: seed: refers to itself"),
    (f"{HEAD}seed: ${{foo\n", "seed: is no reference"),
    (f"{HEAD}neuron.tau_mem: 3\n", "in a YAML file it is written neuron: {tau_mem: ...}"),
    (f"{HEAD}nothing: 3\n", ":2: config: unknown setting 'nothing'"),
    (f"{HEAD}neuron: &a {{x: *a}}\n", "*a stands inside itself"),
    (f"{HEAD}seed: 1\n".encode("utf-16"), "is text in UTF-16; save it as UTF-8"),
    (f"{HEAD}name: jürgen\n".encode("latin-1"), ":2: is no UTF-8 text (byte 0xfc); save it as UTF-8"),
    (bytes(range(256)), "is no UTF-8 text"),
    (f"{HEAD}seed: 1\0\n", "it holds the character #x00"),
    (f"{HEAD}model:\n  layers:\n    conv1: {{out_channels: 100000000000}}\n", ":4: model.layers.conv1: out of memory"),
]


@pytest.fixture(autouse=True)
def _surroundings(workplace: Path) -> None:
    (workplace / "file").write_text("")
    (workplace / "raises.py").write_text("raise RuntimeError('no')")
    (workplace / "leaves.py").write_text("import sys\nsys.exit(3)")
    (workplace / "run").mkdir()
    (workplace / "run" / "config.yaml").write_text("seed: 0\n")
    broken = workplace / "mine" / "model" / "broken.yaml"
    broken.parent.mkdir(parents=True)
    broken.write_text("layers:\n  a: {type: relu\n  b: 3\n")


def require_said(done: Outcome, words: Sequence[str], workplace: Path, before: Collection[Path]) -> None:
    """One or two lines that name place and cure, status 2, nothing left behind."""
    assert done.status == 2, done.err
    lines = [line for line in done.err.strip().splitlines() if not line.startswith("packing ")]
    assert len(lines) <= 2, done.err
    assert lines[0].startswith("snnlab: ")
    assert all(word in done.err for word in words), done.err
    assert not done.out
    assert set(workplace.rglob("*")) == set(before)


@pytest.mark.parametrize("mistake", [*MISTAKES, *WORDS], ids=lambda mistake: " ".join(mistake[0]))
def test_a_mistake_gets_a_clear_line_and_leaves_nothing(mistake: tuple, workplace: Path, snnlab: Snnlab):
    arguments, *words = mistake
    before = list(workplace.rglob("*"))
    require_said(snnlab("train", *arguments), words, workplace, before)


def test_a_setting_of_the_trainer_that_is_like_no_other_is_told_in_a_line_of_moderate_length(snnlab: Snnlab):
    done = snnlab("train", "trainer.foo_bar_baz=3")
    assert "trainer: unknown setting 'foo_bar_baz'" in done.err
    assert max(map(len, done.err.splitlines())) < 130


@pytest.mark.parametrize(("typed", "words"), SILENT)
def test_what_does_not_do_what_it_says_is_refused(typed: str, words: str, workplace: Path, snnlab: Snnlab):
    require_said(snnlab("show", typed), [words], workplace, list(workplace.rglob("*")))


def test_a_folder_that_holds_a_run_takes_no_other(workplace: Path, snnlab: Snnlab, digits_store: str):
    before = list(workplace.rglob("*"))
    done = snnlab("train", *FAST, digits_store, "hydra.run.dir=run", "logger=none")
    require_said(done, ["run: holds a run; resume="], workplace, before)


@pytest.mark.parametrize(("typed", "words"), SETTINGS)
def test_a_setting_that_would_fail_later_is_told_before_the_training(
    typed: str, words: str, workplace: Path, snnlab: Snnlab, digits_store: str
):
    overrides = typed.split(" ")
    keys = {key_of(text) for text in overrides}
    before = list(workplace.rglob("*"))
    plain = [text for text in FAST if key_of(text) not in keys]
    require_said(snnlab("train", *plain, digits_store, *overrides), [words], workplace, before)


@pytest.mark.parametrize("file", FILES, ids=lambda file: repr(file[0])[:60])
def test_a_file_that_would_be_ignored_or_cannot_be_read_is_refused(file: tuple, workplace: Path, snnlab: Snnlab):
    text, *words = file
    path = workplace / "own" / "experiment" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = list(workplace.rglob("*"))
    done = snnlab("show", "--config-dir", "own", "experiment=mine")
    require_said(done, words, workplace, before)
    checked = snnlab("validate", "own")
    assert checked.status == 2
    assert all(word in checked.out for word in words), checked.out
    assert checked.out.startswith("WRONG ")


@pytest.mark.parametrize("head", ["# @package data\n", "# @package: x\n", "\ufeff# @package neuron\n"])
def test_a_groups_file_whose_head_leads_elsewhere_is_refused(head: str, workplace: Path, snnlab: Snnlab):
    path = workplace / "own" / "neuron" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"{head}type: lif\ntau_mem: 5.0\n")
    done = snnlab("show", "--config-dir", "own", "neuron=mine")
    assert done.status == 2
    assert f"{path}:1: " in done.err
    path.write_text("type: lif\ntau_mem: 5.0\n")
    assert snnlab("show", "--config-dir", "own", "neuron=mine").status == 0


@pytest.mark.parametrize("said", [("seed=1", "seed=2"), ("model=mlp_lif", "model=conv_lif")])
def test_what_is_set_twice_is_told(said: tuple[str, str], snnlab: Snnlab):
    done = snnlab("train", *said, "trainer.max_epochs=0")
    key = said[0].partition("=")[0]
    assert f"{key} is set 2 times" in done.err


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
