from __future__ import annotations

import pytest
import torch
from torch.optim import Optimizer

from snnlab.errors import ConfigError, UnknownSettingError
from snnlab.session.targets import find_target, partial_target

from ..refusals import assert_raises


def find(target: object) -> type:
    return find_target({"_target_": target}, [Optimizer], ("torch.optim",), "optimizer")


def test_a_class_of_the_kind_from_an_allowed_module_is_found():
    assert find("torch.optim.RMSprop") is torch.optim.RMSprop


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "subprocess.Popen",
        "torch.load",
        "torch.hub.load",
        "torch.optimism.Adam",
        "builtins.eval",
        "Adam",
        3,
    ],
)
def test_what_is_not_from_an_allowed_module_is_refused_without_importing_it(target: object):
    with assert_raises(ConfigError, "optimizer._target_"):
        find(target)


@pytest.mark.parametrize("target", ["torch.optim.lr_scheduler.StepLR", "torch.optim.adam.torch", "torch.optim.Adm"])
def test_what_an_allowed_module_holds_besides_is_refused(target: str):
    with assert_raises(ConfigError, "optimizer._target_", "Optimizer"):
        find(target)


def test_the_likely_meant_class_is_proposed():
    with assert_raises(ConfigError, "optimizer._target_", "Adam"):
        find("torch.optim.Adm")


def build(**settings: object) -> Optimizer:
    node = {"_target_": "torch.optim.Adam", **settings}
    make = partial_target(node, [Optimizer], ("torch.optim",), "optimizer", given=("params",))
    return make([torch.nn.Parameter(torch.zeros(1))])


def test_settings_reach_the_object():
    assert build(lr=0.5).param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"lrr": 1.0}, ("optimizer.lrr",)),
        ({"lr": "fast"}, ("optimizer.lr", "fast")),
        ({"lr": -1.0}, ("optimizer", "learning")),
        ({"params": []}, ("optimizer.params",)),
        ({"foreach": {"_target_": "os.system"}}, ("optimizer.foreach", "object")),
    ],
)
def test_a_wrong_argument_is_named(settings: dict, told: tuple):
    with assert_raises((ConfigError, UnknownSettingError), *told):
        build(**settings)
