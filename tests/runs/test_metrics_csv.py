from __future__ import annotations

import csv
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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
