from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR
from torch.utils.data import DataLoader

from snnlab.errors import ConfigError
from snnlab.training.module import Schedule
from snnlab.training.schedules import Cosine, Curve, Linear, OneCycle, RunLength, span_steps

from ..refusals import assert_raises, assert_text_has


def optimizer(*rates: float) -> SGD:
    return SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in rates or (1.0,)])


def rates(curve: Curve, steps: int, epoch: float = 10.0) -> list[float]:
    one = optimizer()
    schedule, found = curve(one, RunLength(steps, epoch)), []
    for _ in range(steps):
        found.append(one.param_groups[0]["lr"])
        one.step()
        schedule.step()
    return found


def test_the_warm_up_rises_to_the_rate_and_the_end_is_near_the_final_one() -> None:
    found = rates(Cosine(warmup="4 steps", final=0.1), 20)
    assert found[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert found[4:] == sorted(found[4:], reverse=True)
    assert 0.1 < found[-1] < 0.12
    assert rates(Linear("2 steps", start=0.5), 6) == pytest.approx([2 / 3, 5 / 6, 1.0, 0.75, 0.5, 0.25])
    assert rates(Linear(0.5, final=1.0), 4)[2:] == [1.0, 1.0]


def test_without_a_warm_up_the_cosine_is_torchs() -> None:
    one, expected = optimizer(), []
    schedule = CosineAnnealingLR(one, 30)
    for _ in range(30):
        expected.append(one.param_groups[0]["lr"])
        one.step()
        schedule.step()
    assert rates(Cosine(0), 30) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("steps", [7, 40, 101])
def test_one_cycle_is_torchs(steps: int) -> None:
    one, expected = optimizer(), []
    schedule = OneCycleLR(one, 1.0, total_steps=steps, cycle_momentum=False)
    for _ in range(steps):
        expected.append(one.param_groups[0]["lr"])
        one.step()
        schedule.step()
    assert rates(OneCycle(), steps) == pytest.approx(expected, abs=1e-9)


def test_every_group_follows_from_its_own_rate() -> None:
    one = optimizer(1.0, 0.1)
    Linear("3 steps")(one, RunLength(10, 1))
    assert [group["lr"] for group in one.param_groups] == pytest.approx([0.25, 0.025])


@pytest.mark.parametrize(("span", "steps"), [(0.1, 20), ("3 epochs", 75), ("1 epoch", 25), ("7 steps", 7), (0, 0)])
def test_a_span_is_a_part_of_the_run_or_epochs_or_steps(span: float | str, steps: int) -> None:
    assert span_steps(span, RunLength(200, 25)) == steps


@pytest.mark.parametrize("span", [-1, 3, "3", "three epochs", "3 hours"])
def test_another_span_is_refused(span: Any) -> None:
    with assert_raises(ConfigError, "warmup"):
        Cosine(span)


def test_a_warm_up_longer_than_the_run_is_reported() -> None:
    said = Cosine("5 epochs").length_problem(RunLength(50, 10))
    assert_text_has(said, "warmup: 5 epochs, 50 steps", 50)
    assert not Cosine("4 epochs").length_problem(RunLength(50, 10))


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"max_epochs": 4}, 12),
        ({"max_epochs": 4, "accumulate_grad_batches": 2}, 8),
        ({"max_epochs": 4, "limit_train_batches": 2}, 8),
        ({"max_steps": 7}, 7),
    ],
)
def test_the_run_is_as_long_as_the_trainer_says(
    make_module: Callable[..., Any],
    quiet_trainer: Callable[..., Any],
    loader: DataLoader[Any],
    settings: dict[str, int],
    steps: int,
) -> None:
    lengths: list[RunLength] = []

    def make(one: torch.optim.Optimizer, run: RunLength | None) -> Any:
        assert run is not None
        lengths.append(run)
        return Cosine()(one, run)

    trainer = quiet_trainer(**settings)
    trainer.fit(make_module(schedule=Schedule(make, "step", needs_run_length=True)), loader, loader)
    assert trainer.global_step == steps == lengths[0].steps
    assert len(lengths) == 1


def test_a_run_without_an_end_is_refused(
    make_module: Callable[..., Any], quiet_trainer: Callable[..., Any], loader: DataLoader[Any]
) -> None:
    module = make_module(
        schedule=Schedule(lambda one, _: Cosine()(one, RunLength(1, 1)), "step", needs_run_length=True)
    )
    with assert_raises(ConfigError, "scheduler", "trainer.max_epochs"):
        quiet_trainer(max_epochs=-1).fit(module, loader, loader)
