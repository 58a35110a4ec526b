"""What docs/train.md and docs/runs.md promise of loggers: chosen by name, all get the same, a resumed run continues."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from snnlab import load, train
from snnlab.runs.run_folder import Result

from ..refusals import assert_error_has
from .conftest import FAST, Outcome

SHORT = (*FAST, "plots=null", "monitors.every_steps=1", "trainer.log_every_n_steps=1")


def _hparams(events: EventAccumulator) -> Any:
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content)  # pyright: ignore[reportAttributeAccessIssue]


def _steps(run: Path, name: str) -> list[int]:
    rows = [line.split(",") for line in (run / "steps.csv").read_text().splitlines()[1:]]
    return [int(step) for step, what, _ in rows if what == name]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, digits_store: str) -> Result:
    """Return a run with two loggers, which was trained for an epoch and resumed for another."""
    groups = ("optimizer=adamw", "optimizer.lr=0.01", "optimizer.groups.biases={lr: 0.001}", "scheduler=none")
    given = ("neuron.tau_mem=7", "model.layers.fc1.bias=true", *groups, "logger=[tensorboard,csv]")
    folder = tmp_path_factory.mktemp("loggers")
    first = train(*SHORT, digits_store, *given, f"output_dir={folder}")
    return train(f"resume={first.folder}", "trainer.max_epochs=2")


@pytest.fixture(scope="module")
def events(result: Result) -> EventAccumulator:
    """Return all that TensorBoard has."""
    found = EventAccumulator(str(result.folder / "tensorboard"), {"scalars": 0})
    found.Reload()
    return found


def test_tensorboard_has_the_settings_and_the_metrics_of_the_chosen_epoch(
    result: Result, events: EventAccumulator
) -> None:
    settings = _hparams(events).session_start_info.hparams
    assert settings["model.layers.lif1.tau_mem"].number_value == 7
    assert settings["optimizer._target_"].string_value == "torch.optim.AdamW"
    assert settings["data.num_classes"].number_value == 10
    assert not any(name.startswith(("logger", "output_dir", "data.store_dir")) for name in settings)
    for tag, name in (("test/accuracy", "test/accuracy"), ("val_chosen/loss", "val/loss"), ("test/synops_acs",) * 2):
        assert events.Scalars(tag)[-1].value == pytest.approx(result.metrics[name])
    assert settings["params"].number_value == result.metrics["params"]
    groups = sorted({tag.partition("/")[0] for tag in events.Tags()["scalars"]})
    assert groups == ["epoch", "lr", "monitors", "test", "train", "val", "val_chosen"]


def test_each_metric_of_an_epoch_is_logged_once_a_step_and_a_resumed_run_continues(
    result: Result, events: EventAccumulator
) -> None:
    for tag in events.Tags()["scalars"]:
        steps = [event.step for event in events.Scalars(tag)]
        resumed = [step for step in steps if step > 2]  # the first epoch's end was tested, and is where it was resumed
        assert resumed == sorted(set(resumed)), tag
        if not tag.startswith(("test", "val_chosen", "epoch")):
            assert _steps(result.folder, tag) == steps
    assert _steps(result.folder, "train/loss_step") == [0, 1, 2, 3]
    assert _steps(result.folder, "val/loss") == [1, 3]


def test_each_group_of_the_optimizer_has_its_learning_rate(result: Result, events: EventAccumulator) -> None:
    epochs = load(result.folder).epochs
    assert list(epochs["lr"]) == list(epochs["lr/rest"]) == pytest.approx([0.01, 0.01])
    assert list(epochs["lr/biases"]) == pytest.approx([0.001, 0.001])
    assert events.Scalars("lr/biases")[0].value == pytest.approx(0.001)


def test_several_loggers_are_chosen_as_a_list_and_get_the_same_metrics(
    result: Result, events: EventAccumulator
) -> None:
    names = {line.split(",")[1] for line in (result.folder / "steps.csv").read_text().splitlines()[1:]}
    assert {"monitors/update/lif1", "train/loss", "val/accuracy", "test/accuracy"} <= names
    assert names - {"hp_metric", "params"} == {tag for tag in events.Tags()["scalars"] if tag != "hp_metric"}


def test_monitors_do_not_change_a_run(workplace: Path, digits_store: str) -> None:
    seen, unseen = (train(*SHORT, digits_store, *more).folder for more in ((), ("monitors=null",)))
    assert (seen / "metrics.csv").read_text() == (unseen / "metrics.csv").read_text()
    assert (
        json.loads((seen / "result.json").read_text())["metrics"]
        == (json.loads((unseen / "result.json").read_text())["metrics"])
    )


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_named(
    name: str,
    snnlab: Callable[..., Outcome],
    workplace: Path,
    digits_store: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    done = snnlab("train", *SHORT, digits_store, f"logger={name}")
    assert done.status == 2
    assert_error_has(done.error, f"logger.{name}", name, f"snnlab-train[{name}]")
    assert not (workplace / "outputs").exists()


@pytest.mark.filterwarnings("ignore")  # of a package that is not ours
def test_wandb_gets_settings_and_metrics_and_a_resumed_run_continues(
    workplace: Path, digits_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb", reason="the extra wandb is not installed")
    logged: list[dict[str, object]] = []
    monkeypatch.setattr(
        "lightning.pytorch.loggers.WandbLogger.log_metrics", lambda self, metrics, step=None: logged.append(metrics)
    )
    result = train(*SHORT, digits_store, "logger=wandb", "logger.wandb.offline=true")
    assert wandb.run is None
    assert any({"val_chosen/accuracy", "test/synops_acs"} <= metrics.keys() for metrics in logged)
    _continue_run(result, "WandbLogger", result.folder.parent.name)
    assert len(list((result.folder / "wandb").glob("offline-run-*"))) == 2


@pytest.mark.filterwarnings("ignore")
def test_mlflow_gets_settings_and_metrics_and_a_resumed_run_continues(workplace: Path, digits_store: str) -> None:
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    result = train(*SHORT, digits_store, "logger=mlflow", "name=mine")
    client = mlflow.MlflowClient(f"sqlite:///{workplace / 'outputs' / 'mlflow.db'}")
    name = _continue_run(result, "MLFlowLogger", "")
    run = client.get_run(name)
    assert run.data.params["model.layers.fc1.out_features"] == "16"
    assert run.info.status == "FINISHED"
    assert client.get_experiment(run.info.experiment_id).name == "mine"
    assert len(client.get_metric_history(name, "val/loss")) == 2
    assert {"val_chosen/accuracy", "test/synops_acs"} <= run.data.metrics.keys()


def _continue_run(result: Result, kind: str, within: str) -> str:
    """Continue a run and return its ID in a logger, which does not change."""
    known = json.loads((result.folder / "loggers.json").read_text())[kind]
    assert within in known
    train(f"resume={result.folder}", "trainer.max_epochs=2")
    assert json.loads((result.folder / "loggers.json").read_text()) == {kind: known}
    return known
