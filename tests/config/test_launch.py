from __future__ import annotations

import pytest

from snnlab.config.launch import Launch, shares_gpus, split_launch
from snnlab.errors import ConfigError


def test_the_words_of_the_launcher_are_taken_out():
    given = ["-m", "seed=0,1", "launcher=submitit", "workers=3", "submitit.cluster=local", "submitit.timeout_min=5"]
    launch, others = split_launch(given)
    assert launch == Launch("submitit", 3, {"cluster": "local", "timeout_min": 5})
    assert others == ["-m", "seed=0,1"]
    assert launch.slots == 3


def test_without_them_hydra_runs_one_after_the_other():
    assert split_launch(["-m", "seed=0,1"]) == (Launch(), ["-m", "seed=0,1"])
    assert Launch().slots == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["launcher=joblib"], r"launcher=joblib: is for several runs; write snnlab train -m"),
        (["-m", "launcher=jobli"], r"launcher: expected one of basic, .*, got 'jobli'. Did you mean 'joblib'\?"),
        (["-m", "launcher=submitit_local"], r"Write launcher=submitit submitit.cluster=local"),
        (["-m", "launcher=joblib", "workers=0"], r"workers: must be >= 1, got 0"),
        (["-m", "launcher=joblib", "workers=two"], r"workers: expected a whole number, got 'two'"),
        (["-m", "launcher=joblib,ray"], r"launcher=joblib,ray: takes one value"),
        (["-m", "workers=2"], r"launcher: basic trains one run after the other; with workers or submitit name another"),
    ],
)
def test_a_mistake_is_named(arguments: list[str], words: str):
    with pytest.raises(ConfigError, match=words):
        split_launch(arguments)


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
def test_gpus_are_shared_out_among_trainings_that_take_one_of_them(trainer: dict[str, object], shares: bool):
    assert shares_gpus(trainer) is shares
