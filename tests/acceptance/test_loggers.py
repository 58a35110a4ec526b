"""Loggers are chosen by name, get the settings and the results of a run, and a resumed run continues in them."""

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


def _hparams(run: Path) -> Any:
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content)  # pyright: ignore[reportAttributeAccessIssue]


def _steps(run: Path, name: str) -> list[int]:
    rows = [line.split(",") for line in (run / "steps.csv").read_text().splitlines()[1:]]
    return [int(step) for step, what, _ in rows if what == name]


def test_tensorboard_has_the_settings_and_the_metrics_of_the_chosen_epoch(workplace: Path, digits_store: str) -> None:
    result = train(*SHORT, digits_store, "neuron.tau_mem=7")
    settings = _hparams(result.folder).session_start_info.hparams
    assert settings["model.layers.lif1.tau_mem"].number_value == 7
    assert settings["optimizer._target_"].string_value == "torch.optim.Adam"
    assert settings["data.num_classes"].number_value == 10
    assert not any(name.startswith(("logger", "output_dir", "data.store_dir")) for name in settings)
    events = EventAccumulator(str(result.folder / "tensorboard"))
    events.Reload()
    for tag, name in (("test/accuracy", "test/accuracy"), ("val_chosen/loss", "val/loss"), ("test/synops_acs",) * 2):
        (scalar,) = events.Scalars(tag)
        assert scalar.value == pytest.approx(result.metrics[name])
    assert settings["params"].number_value == result.metrics["params"]
    groups = sorted({tag.partition("/")[0] for tag in events.Tags()["scalars"]})
    assert groups == ["epoch", "lr", "monitors", "test", "train", "val", "val_chosen"]


def test_each_metric_is_logged_once_per_step(workplace: Path, digits_store: str) -> None:
    run = train(*SHORT, digits_store, "logger=[tensorboard,csv]", "trainer.max_epochs=2").folder
    events = EventAccumulator(str(run / "tensorboard"), {"scalars": 0})
    events.Reload()
    for tag in events.Tags()["scalars"]:
        steps = [event.step for event in events.Scalars(tag)]
        assert steps == sorted(set(steps)), tag
        assert _steps(run, tag) == steps
    assert [event.step for event in events.Scalars("train/loss_step")] == [0, 1, 2, 3]


def test_each_group_of_the_optimizer_has_its_learning_rate(workplace: Path, digits_store: str) -> None:
    groups = ("optimizer=adamw", "optimizer.lr=0.01", "optimizer.groups.biases={lr: 0.001}", "scheduler=none")
    given = (*SHORT, digits_store, "model.layers.fc1.bias=true", *groups, "logger=tensorboard")
    run = train(*given).folder
    epochs = load(run).epochs
    assert epochs["lr"] == epochs["lr/rest"] == pytest.approx(0.01)
    assert epochs["lr/biases"] == pytest.approx(0.001)
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert events.Scalars("lr/biases")[0].value == pytest.approx(0.001)


def test_several_loggers_are_chosen_as_a_list_and_get_the_same_metrics(workplace: Path, digits_store: str) -> None:
    run = train(*SHORT, digits_store, "logger=[tensorboard,csv]").folder
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    names = {line.split(",")[1] for line in (run / "steps.csv").read_text().splitlines()[1:]}
    assert {"monitors/update/lif1", "train/loss", "val/accuracy", "test/accuracy"} <= names
    assert names - {"hp_metric", "params"} == {tag for tag in events.Tags()["scalars"] if tag != "hp_metric"}


def test_an_extended_run_continues_in_steps_csv(workplace: Path, digits_store: str) -> None:
    run = train(*SHORT, digits_store, "logger=csv").folder
    train(f"resume={run}", "trainer.max_epochs=2")
    assert _steps(run, "train/loss_step") == [0, 1, 2, 3]
    assert _steps(run, "val/loss") == [1, 3]


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
