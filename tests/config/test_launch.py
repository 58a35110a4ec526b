from __future__ import annotations

import pytest

from snnlab.config.grids import LauncherSettings, shares_gpus, split_launch
from snnlab.errors import ConfigError

from ..refusals import assert_raises


def test_the_settings_of_the_launcher_are_split_off():
    given = ["seed=0,1", "launcher=submitit", "workers=3", "submitit.cluster=local", "submitit.timeout_min=5"]
    launch, others = split_launch(given, several=True)
    assert launch == LauncherSettings("submitit", 3, {"cluster": "local", "timeout_min": 5})
    assert others == ["seed=0,1"]
    assert launch.slots == 3


def test_without_them_hydra_runs_one_after_the_other():
    assert split_launch(["seed=0,1"], several=True) == (LauncherSettings(), ["seed=0,1"])
    assert LauncherSettings().slots == 1


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["launcher=joblib"], ("launcher=joblib", "-m")),
        (["-m", "launcher=jobli"], ("launcher", "jobli", "joblib")),
        (["-m", "launcher=submitit_local"], ("launcher", "launcher=submitit", "submitit.cluster=local")),
        (["-m", "launcher=joblib", "workers=0"], ("workers", 1, 0)),
        (["-m", "launcher=joblib", "workers=two"], ("workers", "two")),
        (["-m", "launcher=joblib,ray"], ("launcher=joblib,ray", "takes")),
        (["-m", "workers=2"], ("launcher", "submitit")),
    ],
)
def test_a_mistake_is_named(arguments: list[str], facts: tuple):
    with assert_raises(ConfigError, *facts):
        split_launch(arguments, several="-m" in arguments)


@pytest.mark.parametrize(
    ("trainer", "shares"),
    [
        ({}, True),
        ({"accelerator": "auto", "devices": 1}, True),
        ({"accelerator": "cpu", "devices": 1}, False),
        ({"accelerator": "gpu", "devices": 2}, False),
        ({"accelerator": "gpu", "devices": [1]}, False),
    ],
)
def test_gpus_are_distributed_to_trainings_that_use_one(trainer: dict[str, object], shares: bool):
    assert shares_gpus(trainer) is shares
