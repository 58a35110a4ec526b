"""Distributed training: no other user reaches its processes, and their messages are no code."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import pytest

from snnlab import train
from snnlab.config.compose import compose_experiment
from snnlab.session.launcher import TrainingSpec, spec_from_bytes

from .conftest import SHORT, Evil
from .listening import LOOPBACK

ROOT = Path(__file__).parents[2]


@pytest.mark.long
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc says who listens")
def test_the_processes_of_one_machine_listen_to_no_other(
    workplace: Path, digits_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    watch = f"+callbacks.watch={{_target_: tests.security.listening.Listening, folder: {workplace}}}"
    processes = ("trainer=ddp", "trainer.accelerator=cpu", "threads=1", "plugins=[tests.security.listening]", watch)
    assert train(*SHORT, f"data.store_dir={digits_store}", *processes).status == "completed"
    found = {path.name: path.read_text().split() for path in workplace.glob("rank_*")}
    assert set(found) == {"rank_0", "rank_1"}
    assert {address for addresses in found.values() for address in addresses} <= LOOPBACK


def test_a_job_is_sent_as_json_and_arrives_unchanged(workplace: Path) -> None:
    experiment, folder = compose_experiment(["model=mlp_lif"], None)
    data = {**experiment.data, "labels": {0: "left", 1: "right"}, "factors": (0.1, float("inf"))}
    job = TrainingSpec(experiment, folder, None, {"config_hash": "x", "command": ["snnlab"]}, 2, gpu=False)
    content = TrainingSpec(
        **{**vars(job), "experiment": type(experiment)(**{**vars(experiment), "data": data})}
    ).to_bytes()
    assert isinstance(json.loads(content), dict)
    again = spec_from_bytes(content)
    assert (again.folder, again.identity, again.threads, again.gpu) == (folder, job.identity, 2, False)
    assert again.experiment.data == {**data, "factors": [0.1, float("inf")]}
    assert again.experiment.model == experiment.model
    assert again.experiment.threads == 2


def test_a_job_that_is_a_pickle_is_none(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    with pytest.raises(ValueError, match=r"codec|JSON|Expecting"):
        spec_from_bytes(pickle.dumps(Evil(canary)))
    assert not canary.exists()
