from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from snnlab import train
from snnlab.data.events.frames import Batch, EventBatch
from snnlab.data.events.representation import FrameBuilder
from snnlab.errors import ConfigError
from snnlab.event_frames import EventFrames
from snnlab.runs.loggers import MetricsCSV
from snnlab.training.module import SpikingModule

from ..refusals import assert_error_has, assert_raises, assert_text_has
from .conftest import FAST, Outcome

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


def test_a_loss_far_above_its_beginning_is_a_warning_in_the_result(workplace: Path, digits_store: str, snnlab: Snnlab):
    wild = ("optimizer=sgd", "optimizer.lr=1e6", "++trainer.limit_train_batches=10", "plots=null")
    done = snnlab("train", *FAST, digits_store, *wild)
    assert done.status == 0, done.err
    assert "above" in done.err
    result = json.loads((Path(done.out.splitlines()[-1]) / "result.json").read_text())
    assert any("above" in warning for warning in result["warnings"])
    log = Path(result_folder := done.out.splitlines()[-1]) / "log.txt"
    log.unlink()  # it is for readers: nothing is read from it
    resumed = snnlab("train", f"resume={result_folder}", "trainer.max_epochs=2", "optimizer.lr=1e6")
    assert resumed.status == 0, resumed.err
    again = json.loads((Path(result_folder) / "result.json").read_text())
    assert again["warnings"][: len(result["warnings"])] == result["warnings"]
    assert len(again["warnings"]) == len({*again["warnings"]})


def test_metrics_csv_has_an_epochs_row_when_the_next_one_begins(
    workplace: Path, digits_store: str, monkeypatch: pytest.MonkeyPatch
):
    seen, begin = [], MetricsCSV.on_train_epoch_start

    def look(self: MetricsCSV, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        text = self.path.read_text() if self.path.is_file() else ""
        seen.append([row["epoch"] for row in csv.DictReader(text.splitlines())])
        begin(self, trainer, pl_module)

    monkeypatch.setattr(MetricsCSV, "on_train_epoch_start", look)
    train(*FAST, digits_store, "trainer.max_epochs=3", "plots=null")
    assert seen == [[], ["0"], ["0", "1"]]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_record_has_the_precision_that_ran(workplace: Path, digits_store: str, precision: str):
    result = train(*FAST, digits_store, "plots=null", "logger=none", f"trainer.precision={precision}")
    assert result.provenance["numerics"].get("precision") == precision


def test_a_run_writes_the_expected_files(workplace: Path, snnlab: Snnlab, digits_store: str):
    done = snnlab("train", *FAST, digits_store)
    assert done.status == 0, done.err
    folder = Path(done.out.splitlines()[-1])
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
    assert result["provenance"]["command"] == ["snnlab", "train", *FAST, digits_store]
    assert {"git", "packages", "device", "threads", "config_hash", "data_fingerprint", "split_hash"} <= set(
        result["provenance"]
    )

    (row,) = csv.DictReader((folder / "metrics.csv").read_text().splitlines())
    assert {"epoch", "step", "lr", "train/loss", "val/accuracy", "val/rate_hz/lif1", "train/silent/lif1"} <= set(row)
    assert float(row["val/loss"]) == result["metrics"]["val/loss"]

    config = OmegaConf.load(folder / "config.yaml")
    assert config.model.layers.lif1.type == "lif"
    assert "neuron" not in config

    predictions = np.load(folder / "predictions.npz")
    assert predictions["test_readout"].shape == (8, 10)
    assert predictions["test_answers"].shape == (8, 4)
    assert predictions["layers"].tolist() == ["lif1"]
    accuracy = (predictions["test_readout"].argmax(1) == predictions["test_target"]).mean()
    assert accuracy == pytest.approx(result["metrics"]["test/accuracy"])
    assert (predictions["test_answers"][:, -1] == predictions["test_readout"].argmax(1)).all()

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {"train/rate_hz/lif1", "val/silent/lif1", "lr", "val/loss", "test/accuracy"} <= tags


def test_plots_are_in_tensorboard_unless_they_are_null(workplace: Path, digits_store: str):
    runs = (train(*FAST, digits_store, "monitors=null", more) for more in ("plots.recordings=1", "plots=null"))
    drawn, plain = (run.folder for run in runs)
    tags = []
    for folder in (drawn, plain):
        events = EventAccumulator(str(folder / "tensorboard"))
        events.Reload()
        tags.append({tag.rpartition("recording_")[2].split("/", 1)[1] for tag in events.Tags()["images"]})
    assert tags[0] == {
        *("events", "events_over_time", "raster/lif1", "membranes/lif1", "readout", "rates/lif1", "confusion"),
    }
    assert not tags[1]
    assert same(weights(drawn), weights(plain))
    assert (drawn / "metrics.csv").read_bytes() == (plain / "metrics.csv").read_bytes()
    assert OmegaConf.load(drawn / "config.yaml").plots == {"recordings": 1, "every_epochs": 12}


def test_the_same_seed_gives_the_same_weights_and_metrics_bit_for_bit(workplace: Path, digits_store: str):
    drop = "+model.layers.drop={type: dropout, p: 0.3, after: lif1}"
    one, again, other = (train(*FAST, digits_store, drop, f"seed={seed}").folder for seed in (0, 0, 1))
    assert same(weights(one), weights(again))
    assert (one / "metrics.csv").read_bytes() == (again / "metrics.csv").read_bytes()
    assert not same(weights(one), weights(other))


def test_a_plugin_of_ten_lines_trains(workplace: Path, snnlab: Snnlab, digits_store: str):
    (workplace / "my_plugin_layers.py").write_text(PLUGIN)
    layer = "+model.layers.gain={type: gain, start: 2.0, after: fc1}"
    done = snnlab("train", *FAST, digits_store, "plugins=[my_plugin_layers]", layer)
    assert done.status == 0, done.err
    factor = weights(Path(done.out.splitlines()[-1]))["network.gain.factor"]
    assert factor.shape == (16,)
    assert not torch.equal(factor, torch.full((16,), 2.0))


def test_the_overrides_of_the_readme_work_together(workplace: Path, snnlab: Snnlab, digits_store: str):
    settings = ("model=conv_lif", "data.num_bins=8", "neuron.tau_mem=10", "model.layers.lif2.tau_mem=5")
    fast = [text for text in FAST if not text.startswith(("model", "data.num_bins"))]
    done = snnlab("train", *fast, digits_store, *settings, "optimizer=rmsprop", "scheduler=plateau")
    assert done.status == 0, done.err
    config = OmegaConf.load(Path(done.out.splitlines()[-1]) / "config.yaml")
    assert config.model.layers.lif1.tau_mem == 10
    assert config.model.layers.lif2.tau_mem == 5
    assert config.optimizer._target_ == "torch.optim.RMSprop"


def test_each_run_of_a_grid_has_its_own_folder(workplace: Path, snnlab: Snnlab, digits_store: str):
    done = snnlab("train", "-m", *FAST, digits_store, "seed=0,1", "test=false", "logger=none")
    assert done.status == 0, done.err
    folders = sorted(path.parent for path in workplace.glob("outputs/*/*_sweep/*/result.json"))
    assert [folder.name for folder in folders] == ["0_0", "1_1"]
    assert not (workplace / "multirun").exists()


def test_the_command_is_recorded_from_python_for_a_grid_and_for_a_resumed_run(
    workplace: Path, snnlab: Snnlab, digits_store: str, monkeypatch: pytest.MonkeyPatch
):
    def command(folder: Path) -> list[str]:
        return json.loads((folder / "result.json").read_text())["provenance"]["command"]

    quiet = (*FAST, digits_store, "logger=none", "plots=null", "test=false")
    assert command(train(*quiet).folder) == ["snnlab.train", *quiet]
    done = snnlab("train", "-m", *quiet, "seed=1,2")
    runs = list(Path(done.out.splitlines()[-1]).glob("*_*"))
    assert [command(run) for run in runs] == [["snnlab", "train", "-m", *quiet, "seed=1,2"]] * 2

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


def test_a_run_below_any_folder_is_opened_by_every_command(workplace: Path, snnlab: Snnlab, digits_store: str):
    place = "out/lr=0.1/a'b, [c] {d} #&ü"
    done = snnlab("train", *FAST, digits_store, f"output_dir={place}", "logger=none", "plots=null")
    assert done.status == 0, done.err
    run = str(Path(done.out.splitlines()[-1]).relative_to(workplace))
    assert run.startswith(place)
    for command in (
        ["show", run],
        ["evaluate", run, "--split", "val"],
        ["export", run, "--what", "weights", "--out", "w.npz"],
        ["doctor", run],
        ["report", run],
        ["runs", "list", place],
        ["train", f"resume={run}"],
    ):
        opened = snnlab(*command)
        assert opened.status in (0, 1 if command[0] == "doctor" else 0), (command, opened.err)  # 1: it found something


def test_a_run_that_was_moved_below_a_folder_with_an_equals_sign_is_opened(
    workplace: Path, snnlab: Snnlab, digits_store: str
):
    done = snnlab("train", *FAST, digits_store, "logger=none", "plots=null", "monitors=null", "test=false")
    assert done.status == 0, done.err
    (workplace / "lr=0.1").mkdir()
    Path(done.out.splitlines()[-1]).rename(workplace / "lr=0.1" / "run")
    for command in (["show"], ["evaluate", "--split", "val"], ["export", "--what", "weights", "--out", "w.npz"]):
        opened = snnlab(command[0], "lr=0.1/run", *command[1:])
        assert opened.status == 0, (command, opened.err)
    assert snnlab("doctor", "lr=0.1/run").error is None


def test_a_folder_that_a_callback_or_a_logger_cannot_make_is_named(workplace: Path, snnlab: Snnlab, digits_store: str):
    (workplace / "file").write_text("")
    checkpoint = "{_target_: lightning.pytorch.callbacks.ModelCheckpoint, dirpath: file/mine}"
    for typed in (["logger=none", f"+callbacks.mine={checkpoint}"], ["logger.tensorboard.save_dir=file/mine"]):
        done = snnlab("train", *FAST, digits_store, "plots=null", "monitors=null", *typed)
        assert done.status == 2
        assert_error_has(done.error, "file/mine", "incomplete")
    kept = snnlab("train", *FAST, digits_store, "logger=none", f"+callbacks.mine={checkpoint.replace('file', 'new')}")
    assert kept.status == 0, kept.err
    assert list((workplace / "new" / "mine").glob("*.ckpt"))


def test_a_bug_in_a_plugin_shows_its_traceback_and_is_recorded(workplace: Path, digits_store: str):
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


def test_without_validation_recordings_the_last_epoch_is_chosen(workplace: Path, digits_store: str):
    result = train(*FAST, digits_store, "data.val_fraction=0", "trainer.max_epochs=2")
    assert result.selection["rule"] == "last"
    assert result.selection["epoch"] == 1
    assert not any(key.startswith("val/") for key in result.metrics)


def test_a_run_that_skips_validation_chooses_the_last_epoch(workplace: Path, digits_store: str):
    settings = [text for text in FAST if "limit_val" not in text]
    result = train(*settings, digits_store, "trainer.limit_val_batches=0")
    assert (result.selection["rule"], result.selection["epoch"]) == ("last", 0)


def test_a_genuine_partial_copy_of_nmnist_trains(workplace: Path, snnlab: Snnlab, real_data: Path):
    data = ("data=nmnist", f"data.root={real_data}", "data.download=false", "data.store_dir=store")
    done = snnlab("train", *FAST, *data)
    assert done.status == 0, done.err
    assert re.search(r"\b700 of 60,000 ", done.err)
    assert re.search(r"\b629 .* 71 .* 100 ", done.err)


@pytest.mark.parametrize(
    ("given", "sparse"),
    [
        ((), True),
        (("sparse_input=false",), False),
        (("backend=reference",), False),
        (("trainer.precision=bf16-mixed",), False),
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
    result = train(
        *(text for text in FAST if "mlp" not in text and "fc1" not in text and "num_bins" not in text),
        *conv,
        *given,
        digits_store,
    )
    numerics = result.provenance["numerics"]
    assert numerics["sparse_input"] is sparse
    assert numerics["approximate"] == []
    assert numerics["backend"] == ("reference" if given == ("backend=reference",) else "numba")


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


# An epoch of some batches, without drawing.
FEW = [f"+trainer.limit_{part}_batches={number}" for part, number in (("train", 8), ("val", 2), ("test", 2))]
FEW += ["plots=null", "monitors=null", "trainer.max_epochs=1", "trainer.accelerator=cpu", "data.num_bins=40"]


def test_a_network_that_takes_lists_of_events_learns_the_same_as_from_frames(
    monkeypatch: pytest.MonkeyPatch, workplace: Path, digits_store: str
) -> None:
    given = ("experiment=saccade_digits", *FEW)
    layers = ("model.layers.conv1.out_channels=2", "model.layers.conv2.out_channels=2", digits_store)
    frame = FrameBuilder.__call__
    kinds = []

    def recorded(frame_builder: FrameBuilder, batch: EventBatch, *, allow_lists: bool = False) -> Batch:
        made = frame(frame_builder, batch, allow_lists=allow_lists)
        kinds.append(type(made.frames))
        return made

    monkeypatch.setattr(FrameBuilder, "__call__", recorded)
    of_lists = train(*given, *layers).metrics
    assert set(kinds) == {EventFrames}
    monkeypatch.setattr(
        FrameBuilder, "__call__", lambda frame_builder, batch, allow_lists=False: frame(frame_builder, batch)
    )
    assert train(*given, *layers).metrics == of_lists


@pytest.mark.parametrize("given", ["checkpoint_segments=2", "tbptt_steps=8"])
def test_no_event_lists_are_made_where_steps_are_split(
    given: str, monkeypatch: pytest.MonkeyPatch, workplace: Path, digits_store: str
) -> None:
    frame = FrameBuilder.__call__

    def without_lists(frame_builder: FrameBuilder, batch: EventBatch, *, allow_lists: bool = False) -> Batch:
        assert not allow_lists
        return frame(frame_builder, batch)

    monkeypatch.setattr(FrameBuilder, "__call__", without_lists)
    small = ("model.layers.conv1.out_channels=2", "model.layers.conv2.out_channels=2")
    done = train("experiment=saccade_digits", *FEW, *small, given, digits_store)
    assert done.provenance["numerics"]["sparse_input"] is True


def test_checkpoint_segments_do_not_change_the_training(workplace: Path, digits_store: str) -> None:
    kept, again = (train(*FAST, f"checkpoint_segments={n}", digits_store).metrics for n in (0, 2))
    assert again["val/loss"] == pytest.approx(kept["val/loss"], rel=1e-5)
    with assert_raises(ConfigError, "checkpoint_segments", 0, -1):
        train(*FAST, "checkpoint_segments=-1", digits_store)


def test_an_unavailable_backend_is_refused(workplace: Path, digits_store: str) -> None:
    with assert_raises(ConfigError, "backend", "triton"):
        train("backend=triton", "trainer.accelerator=cpu", digits_store)
    assert not (workplace / "outputs").exists()
