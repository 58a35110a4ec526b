from __future__ import annotations

import pytest
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from snnlab.errors import ConfigError, UnknownSettingError
from snnlab.session.targets import find_target, partial_target

from ..refusals import assert_raises


def find(target: object) -> type:
    return find_target({"_target_": target}, [Optimizer], ("torch.optim",), "optimizer")


def test_the_nearest_class_name_is_proposed():
    with assert_raises(ConfigError, "optimizer._target_", "Adam"):
        find("torch.optim.Adm")


def build(**settings: object) -> Optimizer:
    node = {"_target_": "torch.optim.Adam", **settings}
    make = partial_target(node, [Optimizer], ("torch.optim",), "optimizer", supplied=("params",))
    return make([torch.nn.Parameter(torch.zeros(1))])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"lrr": 1.0}, ("optimizer.lrr",)),
        ({"lr": "fast"}, ("optimizer.lr", "fast")),
        ({"lr": -1.0}, ("optimizer", "learning")),
        ({"params": []}, ("optimizer.params",)),
        ({"foreach": {"_target_": "os.system"}}, ("optimizer.foreach._target_", "object")),
        ({"betas": [{"_target_": "os.system"}, 0.9]}, ("optimizer.betas[0]._target_", "object")),
        ({"_partial_": True}, ("optimizer._partial_",)),
        ({"_args_": [1]}, ("optimizer._args_",)),
    ],
)
def test_a_wrong_argument_is_named(settings: dict, expected: tuple):
    with assert_raises((ConfigError, UnknownSettingError), *expected):
        build(**settings)


def scheduler(**settings: object) -> LRScheduler:
    node = {"_target_": "torch.optim.lr_scheduler.SequentialLR", "milestones": [2], **settings}
    make = partial_target(
        node, [LRScheduler], ("torch.optim",), "scheduler", supplied=("optimizer",), inner={"torch.optim": LRScheduler}
    )
    return make(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0))


WARM_UP = {"_target_": "torch.optim.lr_scheduler.LinearLR", "start_factor": 0.25, "total_iters": 2}
COSINE = {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": 4}


def test_an_argument_with_a_target_becomes_an_object_with_its_arguments():
    made = scheduler(schedulers=[WARM_UP, COSINE])
    assert made.get_last_lr() == [0.25]
    assert made.optimizer.param_groups[0]["lr"] == 0.25


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ({"_target_": "os.system", "command": "true"}, ("scheduler.schedulers[1]._target_", "os.system")),
        ({"_target_": "torch.optim.Adam"}, ("scheduler.schedulers[1]._target_", "LRScheduler")),
        ({"_target_": "torch.optim.lr_scheduler.warnings.warn"}, ("scheduler.schedulers[1]._target_",)),
        ({**COSINE, "T_min": 3}, ("scheduler.schedulers[1].T_min",)),
        ({**COSINE, "T_max": "long"}, ("scheduler.schedulers[1].T_max",)),
        ({**COSINE, "optimizer": 3}, ("scheduler.schedulers[1].optimizer",)),
        (3, ("scheduler.schedulers",)),
    ],
)
def test_a_mistake_in_an_object_within_another_has_its_place(inside: object, expected: tuple):
    with assert_raises((ConfigError, UnknownSettingError), *expected):
        scheduler(schedulers=[WARM_UP, inside])


def test_an_object_of_another_kind_than_an_argument_is_refused():
    with assert_raises(ConfigError, "scheduler.milestones"):
        scheduler(schedulers=[WARM_UP, COSINE], milestones=[COSINE])
