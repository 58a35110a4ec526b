from __future__ import annotations

import csv
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from snnlab.runs.loggers import MetricsCSV


def _end_epoch(writer: MetricsCSV, epoch: int, *, zero: bool = True, validated: bool = True, **values: float) -> None:
    metrics = {name.replace("__", "/"): torch.tensor(value) for name, value in values.items()}
    trainer: Any = SimpleNamespace(
        callback_metrics=metrics, current_epoch=epoch, global_step=3 * (epoch + 1), is_global_zero=zero
    )
    writer.on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
    if validated:
        writer.on_validation_end(trainer, None)  # type: ignore[arg-type]
    writer.on_epoch_logged(trainer, None)  # type: ignore[arg-type]


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_there_is_a_row_for_each_epoch_as_soon_as_it_ends(tmp_path: Path) -> None:
    writer = MetricsCSV(tmp_path / "metrics.csv")
    _end_epoch(writer, 0, val__loss=1.5, lr=0.25)
    assert len(_read(writer.path)) == 1
    _end_epoch(writer, 1, val__loss=0.5, lr=0.125)
    assert _read(writer.path) == [
        {"epoch": "0", "step": "3", "lr": "0.25", "val/loss": "1.5"},
        {"epoch": "1", "step": "6", "lr": "0.125", "val/loss": "0.5"},
    ]


def test_a_column_may_appear_later_and_have_missing_values(tmp_path: Path) -> None:
    writer = MetricsCSV(tmp_path / "metrics.csv")
    _end_epoch(writer, 0, a=1.0)
    _end_epoch(writer, 1, a=2.0, b=3.0)
    _end_epoch(writer, 2, b=4.0)
    rows = _read(writer.path)
    assert list(rows[0]) == ["epoch", "step", "a", "b"]
    assert [(row["a"], row["b"]) for row in rows] == [("1.0", ""), ("2.0", "3.0"), ("", "4.0")]


def test_an_epoch_without_a_validation_does_not_repeat_the_last_one(tmp_path: Path) -> None:
    writer = MetricsCSV(tmp_path / "metrics.csv")
    _end_epoch(writer, 0, train__loss=3.0, val__loss=1.5)
    _end_epoch(writer, 1, train__loss=2.0, val__loss=1.5, validated=False)
    _end_epoch(writer, 2, train__loss=1.0, val__loss=1.25)
    assert [(row["train/loss"], row["val/loss"]) for row in _read(writer.path)] == [
        ("3.0", "1.5"),
        ("2.0", ""),
        ("1.0", "1.25"),
    ]


def test_values_keep_all_their_digits(tmp_path: Path) -> None:
    writer = MetricsCSV(tmp_path / "metrics.csv")
    _end_epoch(writer, 0, a=0.1, b=math.nan)
    (row,) = _read(writer.path)
    assert float(row["a"]) == float(torch.tensor(0.1))
    assert math.isnan(float(row["b"]))


def test_the_last_batchs_loss_is_not_a_metric_of_an_epoch(tmp_path: Path) -> None:
    writer = MetricsCSV(tmp_path / "metrics.csv")
    _end_epoch(writer, 0, train__loss=1.0, train__loss_step=9.0)
    assert set(_read(writer.path)[0]) == {"epoch", "step", "train/loss"}


def test_only_the_first_of_several_processes_writes(tmp_path: Path) -> None:
    writer = MetricsCSV(tmp_path / "metrics.csv")
    _end_epoch(writer, 0, zero=False, a=1.0)
    assert not writer.path.exists()


def test_a_resumed_run_continues_the_rows(tmp_path: Path) -> None:
    first, second = MetricsCSV(tmp_path / "metrics.csv"), MetricsCSV(tmp_path / "metrics.csv")
    _end_epoch(first, 0, a=1.0)
    torch.save(first.state_dict(), tmp_path / "state")
    _end_epoch(first, 1, a=9.0)  # after the checkpoint: the resumed run repeats it
    second.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    _end_epoch(second, 1, a=2.0)
    assert [row["a"] for row in _read(second.path)] == ["1.0", "2.0"]


def _train(folder: Path) -> bytes:
    """Train the tiny network of a real module for two epochs; return the bytes of the file."""
    import lightning as L
    from torch.utils.data import DataLoader

    from snnlab.data.events.frames import Batch
    from snnlab.nn import build_network
    from snnlab.nn.losses import CrossEntropy
    from snnlab.training.module import SpikingModule
    from snnlab.training.optimizer import GroupedOptimizer

    torch.manual_seed(0)
    layers = {"fc": {"type": "linear", "out_features": 3}, "lif": {"type": "lif"}, "out": {"type": "li"}}
    module = SpikingModule(
        build_network(layers, in_shape=(2,), dt=1.0),
        CrossEntropy(),
        GroupedOptimizer(torch.optim.Adam),
        None,
        num_classes=3,
        dt=1.0,
        seed=0,
    )
    batch = Batch(torch.ones(4, 3, 2), torch.tensor([4, 4, 4]), torch.arange(3), torch.arange(3))
    loader: DataLoader[Any] = DataLoader([batch, batch], batch_size=None)  # type: ignore[arg-type]
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        callbacks=[MetricsCSV(folder / "metrics.csv")],
    )
    trainer.fit(module, loader, loader)
    return (folder / "metrics.csv").read_bytes()


def test_two_trainings_write_the_same_bytes_without_times(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    one, other = (_train(tmp_path_factory.mktemp("run")) for _ in range(2))
    assert one == other
    header, *rows = one.decode().splitlines()
    of_a_stage = ("accuracy", "loss", "rate_hz/lif", "silent/lif", "spikes_per_sample", "spikes_per_step/lif")
    assert header.split(",") == ["epoch", "step", "lr", *(f"{s}/{n}" for s in ("train", "val") for n in of_a_stage)]
    assert [row.split(",")[:2] for row in rows] == [["0", "2"], ["1", "4"]]
