"""Optimizer, parameter groups and schedule of an experiment."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
from torch.optim import Optimizer

from snnlab.config.compose import compose_experiment
from snnlab.errors import ConfigError, UnknownSettingError
from snnlab.session import Session
from snnlab.training.module import Schedule
from snnlab.training.schedules import RunLength

from ..refusals import assert_raises, assert_text_has

SMALL = ("model=mlp_lif", "model.layers.fc1.out_features=8")


def made(*overrides: str) -> tuple[Optimizer, Schedule | None]:
    experiment = compose_experiment([*SMALL, *overrides], None)[0]
    built = Session(experiment).built
    make, schedule = Session(experiment).optimization
    return make(built.network), schedule


def settings(optimizer: Optimizer) -> list[tuple[str, float, float]]:
    return [(group["name"], group["lr"], group["weight_decay"]) for group in optimizer.param_groups]


def test_a_group_is_matched_by_its_name_or_by_match():
    optimizer, _ = made(
        "neuron.learn=[tau_mem]",
        "optimizer.groups.time_constants={lr: 0.1, weight_decay: 0}",
        "optimizer.groups.last={match: [out], lr: 1e-3}",
    )
    assert settings(optimizer) == [("rest", 0.01, 0), ("time_constants", 0.1, 0), ("last", 0.001, 0)]


def test_weight_decay_excludes_biases_and_time_constants():
    optimizer, _ = made("optimizer=adamw", "neuron.learn=[tau_mem]")
    assert settings(optimizer) == [("rest", 0.002, 0.01), ("rest, no decay", 0.002, 0.0)]
    optimizer, _ = made("optimizer=adamw", "optimizer.weight_decay_of=null")
    assert len(optimizer.param_groups) == 1


def test_without_weight_decay_there_is_one_group():
    assert len(made()[0].param_groups) == 1


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("optimizer.groups.time_constants={lr: 1}", ("optimizer.groups.time_constants", "kind")),
        ("optimizer.groups.biases={lrr: 1}", ("optimizer.groups.biases.lrr",)),
        ("optimizer.groups.biases={lr: -1}", ("optimizer.groups.biases.lr", 0, -1)),
        ("optimizer.groups.biases=3", ("optimizer.groups.biases",)),
        ("optimizer.groups.a={match: 3}", ("optimizer.groups.a.match", "text")),
        ("optimizer.groups=[biases]", ("optimizer.groups",)),
        ("optimizer.weight_decay_of=3", ("optimizer.weight_decay_of", "expected")),
    ],
)
def test_a_mistake_is_named_by_its_place(override: str, expected: tuple):
    with assert_raises((ConfigError, UnknownSettingError), *expected):
        made(override)


def schedule_of(node: dict[str, Any], epochs: int = 4) -> tuple[Any, Schedule]:
    """Return a schedule for a run of 40 steps, and its `Schedule`."""
    experiment = replace(
        compose_experiment([*SMALL, "scheduler=none", f"trainer.max_epochs={epochs}"], None)[0], scheduler=node
    )
    built = Session(experiment).built
    make, schedule = Session(experiment).optimization
    assert schedule is not None
    return schedule.make(make(built.network), RunLength(40, 10) if schedule.needs_run_length else None), schedule


def of_torch(name: str, **settings: Any) -> dict[str, Any]:
    return {"_target_": f"torch.optim.lr_scheduler.{name}", **settings}


def test_a_schedule_of_snnlab_steps_at_each_training_step():
    made_, schedule = schedule_of({"type": "cosine", "warmup": "1 epoch"})
    assert (schedule.interval, schedule.needs_run_length) == ("step", True)
    assert made_.get_last_lr() == pytest.approx([0.01 / 11])


def test_a_schedule_of_torch_takes_the_length_of_the_run_by_name():
    one_cycle, _ = schedule_of(of_torch("OneCycleLR", max_lr=1.0, total_steps="run", interval="step"))
    assert one_cycle.total_steps == 40
    cosine, schedule = schedule_of(of_torch("CosineAnnealingLR", T_max="run"))
    assert (cosine.T_max, schedule.needs_run_length) == (4, False)


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (of_torch("CosineAnnealingLR", T_max=9), ("scheduler.T_max", 9, "4 epochs")),
        (of_torch("MultiStepLR", milestones=[2, 5]), ("scheduler.milestones", 5, "4 epochs")),
        (of_torch("LinearLR", total_iters=50, interval="step"), ("scheduler.total_iters", 50, "40 steps")),
        ({"type": "linear", "warmup": "4 epochs"}, ("scheduler.warmup", "4 epochs", "40 steps")),
        (of_torch("MultiStepLR", milestones=[2, 4]), ()),
    ],
)
def test_a_schedule_longer_than_the_run_is_a_warning(
    node: dict[str, Any], said: tuple, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING, "snnlab"):
        schedule_of(node)
    assert_text_has(caplog.text, *said)
    assert bool(caplog.text) == bool(said)


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({"type": "cosin"}, ("scheduler.type", "cosin", "cosine")),
        ({"type": "cosine", "warmup": "soon"}, ("scheduler.warmup", "soon")),
        ({"type": "linear", "warmupp": 0.1}, ("scheduler.warmupp",)),
        (
            of_torch("OneCycleLR", max_lr=1.0, total_steps=30, interval="step"),
            ("scheduler.total_steps", 40),
        ),
    ],
)
def test_a_mistake_in_a_schedule_is_named(node: dict[str, Any], expected: tuple):
    with assert_raises((ConfigError, UnknownSettingError), *expected):
        schedule_of(node)


def test_the_number_of_epochs_must_be_known():
    with assert_raises(ConfigError, "scheduler", "trainer.max_epochs"):
        schedule_of(of_torch("CosineAnnealingLR", T_max="run"), epochs=-1)
