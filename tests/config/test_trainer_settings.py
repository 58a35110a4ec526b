"""The settings of Lightning's trainer, checked without importing it: no unknown setting, no invalid value."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import lightning as L
import pytest

from snnlab.config.trainer_settings import ELSEWHERE, TrainerSettings, check_trainer, precision_of
from snnlab.errors import ConfigError, UnknownSettingError

from ..refusals import assert_raises


def test_it_knows_all_settings_of_lightnings_trainer_with_their_defaults():
    theirs = inspect.signature(L.Trainer).parameters
    assert {one.name for one in fields(TrainerSettings)} | ELSEWHERE.keys() == theirs.keys()
    assert not {one.name for one in fields(TrainerSettings)} & ELSEWHERE.keys()
    assert {one.name: one.default for one in fields(TrainerSettings)} == {
        one.name: theirs[one.name].default for one in fields(TrainerSettings)
    }


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"_target_": "lightning.pytorch.Trainer", "max_epochs": -1, "max_steps": 10},
        {"limit_train_batches": 0.5, "limit_val_batches": 0, "limit_test_batches": 1.0},
        {"devices": "2", "strategy": "ddp", "num_nodes": 2},
        {"devices": [0, 1], "accelerator": "gpu", "precision": 16},
        {"devices": -1, "max_time": "00:01:00:00"},
        {"max_time": {"hours": 2}, "max_epochs": None},
        {"val_check_interval": 0.25, "check_val_every_n_epoch": 2},
        {"val_check_interval": 500, "check_val_every_n_epoch": None},
        {"gradient_clip_val": 1.5, "gradient_clip_algorithm": "value"},
        {"min_epochs": 2, "max_epochs": 2, "fast_dev_run": True, "deterministic": "warn"},
        {"gradient_clip_val": None, "log_every_n_steps": None, "num_sanity_val_steps": -1},
    ],
)
def test_valid_settings_are_accepted_and_no_others(settings: dict[str, Any]):
    check_trainer(settings, test=True)
    with assert_raises(UnknownSettingError, "trainer.epochs", "max_epochs"):
        check_trainer({**settings, "epochs": 1}, test=True)


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"max_epochs": -3}, "max_epochs"),
        ({"max_steps": 0}, "max_steps"),
        ({"max_time": "1:30"}, "max_time"),
        ({"max_time": {"fortnights": 1}}, "max_time"),
        ({"max_time": {"hours": -1}}, "max_time"),
        ({"min_steps": 11, "max_steps": 10}, "min_steps"),
        ({"limit_train_batches": 1.5}, "limit_train_batches"),
        ({"limit_val_batches": -1}, "limit_val_batches"),
        ({"limit_val_batches": float("inf")}, "limit_val_batches"),
        ({"devices": 0}, "devices"),
        ({"devices": "0"}, "devices"),
        ({"devices": []}, "devices"),
        ({"num_nodes": 0}, "num_nodes"),
        ({"val_check_interval": 1.5}, "val_check_interval"),
        ({"val_check_interval": "soon"}, "val_check_interval"),
        ({"val_check_interval": 0.5, "check_val_every_n_epoch": None}, "val_check_interval"),
        ({"gradient_clip_val": float("inf")}, "gradient_clip_val"),
        ({"gradient_clip_algorithm": "norm"}, "gradient_clip_algorithm"),
        ({"reload_dataloaders_every_n_epochs": -1}, "reload_dataloaders_every_n_epochs"),
        ({"profiler": "xla"}, "profiler"),
        ({"precision": "8"}, "precision"),
        ({"max_epochs": True}, "max_epochs"),
        *(({name: 1}, name) for name in sorted(ELSEWHERE)),
    ],
)
def test_an_invalid_setting_is_named(settings: dict[str, Any], place: str):
    with assert_raises(ConfigError, f"trainer.{place}"):
        check_trainer(settings, test=True)


def test_a_test_without_batches_is_refused_only_if_it_tests():
    check_trainer({"limit_test_batches": 0}, test=False)
    with assert_raises(ConfigError, "trainer.limit_test_batches", "test=false"):
        check_trainer({"limit_test_batches": 0}, test=True)


@pytest.mark.parametrize(
    ("given", "hint"), [("epochs", "max_epochs"), ("gpus", "devices"), ("max_epoch", "max_epochs")]
)
def test_a_setting_of_another_framework_gets_lightnings_name(given: str, hint: str):
    with assert_raises(UnknownSettingError, f"trainer.{given}", hint):
        check_trainer({given: 3}, test=True)


def test_an_unknown_setting_is_reported_in_a_line_of_moderate_length():
    with assert_raises(UnknownSettingError, "trainer.foo_bar_baz") as caught:
        check_trainer({"foo_bar_baz": 3}, test=True)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize(
    ("given", "name"), [(32, "32-true"), ("16", "16-mixed"), ("bf16", "bf16-mixed"), (64, "64-true")]
)
def test_a_precision_has_one_name(given: Any, name: str):
    assert precision_of(given) == name


def test_no_epoch_is_trained_only_where_weights_are_given():
    check_trainer({"max_epochs": 0}, test=True, given_weights=True)
    with assert_raises(ConfigError, "trainer.max_epochs", 0):
        check_trainer({"max_epochs": 0}, test=True)
    with assert_raises(ConfigError, "trainer.max_steps", 0):
        check_trainer({"max_steps": 0}, test=True, given_weights=True)
