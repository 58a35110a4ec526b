"""Trainer settings: those that are refused, and those that are objects."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.profilers import AdvancedProfiler, SimpleProfiler

from snnlab.config.compose import compose_experiment
from snnlab.errors import ConfigError, UnknownSettingError
from snnlab.session.build_trainer import make_trainer

from ..refusals import assert_raises


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "transformer-engine"])
def test_a_precision_that_rounds_membranes_is_refused_with_those_that_do_not(precision: str) -> None:
    with assert_raises(ConfigError, "trainer.precision", 16, precision):
        compose_experiment([f"trainer.precision={precision}"], None)


@pytest.mark.parametrize("precision", ["16-mixed", "16"])
def test_half_precision_on_a_cpu_is_refused(tmp_path: Path, precision: str) -> None:
    experiment, _ = compose_experiment([f"trainer.precision={precision}", "trainer.accelerator=cpu"], None)
    with assert_raises(ConfigError, "trainer.precision", 16):
        make_trainer(experiment, tmp_path, [])


def trainer_of(tmp_path: Path, *overrides: str) -> Any:
    experiment, _ = compose_experiment([*overrides, "logger=none", "trainer.accelerator=cpu"], None)
    return make_trainer(experiment, tmp_path, [])


CALLBACKS = "lightning.pytorch.callbacks"
THEME = f"{{_target_: {CALLBACKS}.progress.rich_progress.RichProgressBarTheme, description: green}}"


def test_a_callback_takes_objects(tmp_path: Path) -> None:
    every = "train_time_interval: {_target_: datetime.timedelta, minutes: 30}"
    trainer = trainer_of(tmp_path, f"+callbacks.keep={{_target_: {CALLBACKS}.ModelCheckpoint, {every}}}")
    kept = [callback for callback in trainer.callbacks if isinstance(callback, ModelCheckpoint)]
    assert timedelta(minutes=30) in [callback._train_time_interval for callback in kept]


def test_the_callbacks_of_a_run_are_called_last_and_in_their_order(tmp_path: Path) -> None:
    keep, own = f"+callbacks.keep={{_target_: {CALLBACKS}.ModelCheckpoint}}", [L.Callback(), L.Callback()]
    trainer: Any = make_trainer(compose_experiment([keep, "trainer.max_time=00:01:00:00"], None)[0], tmp_path, own)
    assert trainer.callbacks[-2:] == own
    assert len(trainer.checkpoint_callbacks) == 1
    assert not trainer_of(tmp_path).checkpoint_callbacks  # a run has its own


def test_a_user_defined_bar_is_drawn_like_other_bars(tmp_path: Path) -> None:
    bar = f"+callbacks.bar={{_target_: {CALLBACKS}.RichProgressBar, theme: {THEME}}}"
    (drawn,) = [one for one in trainer_of(tmp_path, bar, "trainer.enable_progress_bar=true").callbacks if is_bar(one)]
    assert drawn.theme.description == "green"
    assert not any(is_bar(one) for one in trainer_of(tmp_path, bar).callbacks)  # no terminal


def is_bar(callback: L.Callback) -> bool:
    return isinstance(callback, RichProgressBar)


def test_a_profiler_is_named_or_described(tmp_path: Path) -> None:
    assert isinstance(trainer_of(tmp_path, "trainer.profiler=simple").profiler, SimpleProfiler)
    node = "trainer.profiler={_target_: lightning.pytorch.profilers.AdvancedProfiler, line_count_restriction: 0.5}"
    profiler = trainer_of(tmp_path, node).profiler
    assert isinstance(profiler, AdvancedProfiler)
    assert profiler.line_count_restriction == 0.5


@pytest.mark.parametrize(
    ("override", "place"),
    [
        ("trainer.profiler={_target_: os.system}", "trainer.profiler._target_"),
        ("trainer.profiler={_target_: lightning.pytorch.profilers.SimpleProfiler, x: 1}", "trainer.profiler.x"),
        ("trainer.strategy={_target_: lightning.pytorch.strategies.DDPStrategy}", "trainer.strategy"),
        (
            f"+callbacks.x={{_target_: {CALLBACKS}.Timer, duration: {{_target_: os.system}}}}",
            "callbacks.x.duration._target_",
        ),
        (f"+callbacks.x={{_target_: {CALLBACKS}.Timer, duration: {THEME}}}", "callbacks.x.duration"),
    ],
)
def test_a_mistake_in_an_object_has_its_place(tmp_path: Path, override: str, place: str) -> None:
    with assert_raises((ConfigError, UnknownSettingError), place):
        trainer_of(tmp_path, override)
