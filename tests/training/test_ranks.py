"""The rank of this process under torchrun or SLURM, by the environment."""

from __future__ import annotations

import pytest

from snnlab.errors import ConfigError
from snnlab.training.ranks import RankInfo, ranks_of_command, ranks_of_training

from ..refusals import assert_raises

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
SLURM = {"SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_PROCID": "2", "SLURM_LOCALID": "0"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (*TORCHRUN, *SLURM):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def set_variables(environment: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        environment.setenv(name, value)


def test_a_process_without_a_launcher_is_alone(environment: pytest.MonkeyPatch):
    assert ranks_of_command(["trainer=ddp"]) is None
    assert ranks_of_training(2) is None


def test_torchrun_is_always_detected(environment: pytest.MonkeyPatch):
    set_variables(environment, TORCHRUN)
    assert ranks_of_command([]) == RankInfo(3, 4, 1, 2, launcher="torchrun")


def test_slurm_tasks_are_one_training_with_trainer_slurm(environment: pytest.MonkeyPatch):
    set_variables(environment, SLURM)
    assert ranks_of_command(["trainer=slurm"]) == RankInfo(2, 4, 0, 2, launcher="srun")
    assert ranks_of_command(["trainer=cpu"]) is None
    assert ranks_of_training(1) is None
    with assert_raises(ConfigError, "trainer", "trainer=slurm"):
        ranks_of_training(4)


def test_slurm_without_srun_is_refused(environment: pytest.MonkeyPatch):
    with assert_raises(ConfigError, "trainer", "trainer=ddp"):
        ranks_of_command(["trainer=slurm"])
