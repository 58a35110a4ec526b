"""`snnlab reproduce` and `train RUN/config.yaml`: what docs/runs.md and `--help` promise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from snnlab import train
from snnlab.runs.recorded import read_run

from ..refusals import assert_error_has, assert_text_has
from .conftest import FAST, Outcome

Snnlab = Callable[..., Outcome]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, digits_store: str) -> Path:
    """Return a run of two epochs with dropout, augmentation and mixing."""
    chance = ("+model.layers.drop={type: dropout, p: 0.3, after: lif1}", "data.augment=[{type: affine, shift: 2}]")
    folder = tmp_path_factory.mktemp("runs")
    where = (digits_store, f"output_dir={folder}", "trainer.max_epochs=2", "data.mix=mixup", "seed=3")
    return train(*FAST, *chance, *where).folder


@pytest.fixture
def run(recorded: Path, tmp_path: Path) -> Path:
    """Return a copy of it."""
    return Path(shutil.copytree(recorded, tmp_path / "runs" / recorded.name))


def test_everything_is_the_same(run: Path, snnlab: Snnlab) -> None:
    done = snnlab("reproduce", str(run))
    assert done.status == 0, done.out + done.err
    *findings, folder = done.out.splitlines()
    assert [line.partition(": ")[2].split()[-1] for line in findings] == ["same"] * 6
    assert Path(folder).parent == run.parent
    assert folder.endswith("_3_repeated")


def test_an_experiment_is_trained_again_from_its_record(recorded: Path, snnlab: Snnlab) -> None:
    done = snnlab("train", str(recorded / "config.yaml"))
    assert done.status == 0, done.err
    again = Path(done.out.splitlines()[-1])
    assert again != recorded
    assert again.parent == recorded.parent
    assert (again / "config.yaml").read_text() == (recorded / "config.yaml").read_text()
    assert read_run(again).content["metrics"] == read_run(recorded).content["metrics"]


def test_an_experiment_is_trained_again_with_overrides(recorded: Path, tmp_path: Path, snnlab: Snnlab) -> None:
    other = ("optimizer.lr=0.003", "seed=4", "trainer.max_epochs=1", f"output_dir={tmp_path}", "name=other")
    done = snnlab("train", str(recorded / "config.yaml"), *other)
    assert done.status == 0, done.err
    again = Path(done.out.splitlines()[-1])
    assert again.parent == tmp_path / "other"
    assert again.name.endswith("_4")
    before, now = (yaml.safe_load((folder / "config.yaml").read_text()) for folder in (recorded, again))
    changed = {"optimizer", "seed", "trainer", "output_dir", "name"}
    assert {key for key in before if before[key] != now[key]} == changed
    assert now["optimizer"] == before["optimizer"] | {"lr": 0.003}


def test_the_folder_of_the_new_run_can_be_named(
    recorded: Path, tmp_path: Path, snnlab: Snnlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = snnlab(
        "train", str(recorded / "config.yaml"), "trainer.max_epochs=1", "seed=5", "hydra.run.dir=again/${seed}"
    )
    assert done.status == 0, done.err
    assert Path(done.out.splitlines()[-1]).resolve() == tmp_path / "again" / "5"
    assert read_run(tmp_path / "again" / "5").content["seed"] == 5


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (("hydra.run.dir=",), ("hydra.run.dir",)),
        (("hydra.run.dir=null",), ("hydra.run.dir=null",)),
        (("-m", "seed=1,2"), ("-m",)),
        (("--cfg", "job"), ("--cfg",)),
        (("model=mlp_lif",), ("model=mlp_lif",)),
        (("neuron.tau_mem=3",), ("neuron.tau_mem=3", "model.layers")),
        (("optimizer.lrr=3",), ("optimizer.lrr",)),
        (("other/config.yaml",), ("train", "other/config.yaml")),
    ],
)
def test_invalid_requests_to_train_again_are_refused(
    words: tuple[str, ...], facts: tuple[str, ...], recorded: Path, snnlab: Snnlab
) -> None:
    done = snnlab("train", str(recorded / "config.yaml"), *words)
    assert done.status == 2
    assert_error_has(done.error, *facts)


def test_a_runs_folder_gets_proposals(recorded: Path, snnlab: Snnlab) -> None:
    done = snnlab("train", str(recorded))
    assert done.status == 2
    assert_error_has(done.error, recorded, recorded / "config.yaml", "resume", "init_from", "reproduce")


def test_differences_are_printed(run: Path, snnlab: Snnlab) -> None:
    text = (run / "metrics.csv").read_text().splitlines()
    cells = text[1].split(",")
    cells[3] = str(float(cells[3]) + 0.25)
    (run / "metrics.csv").write_text("\n".join([text[0], ",".join(cells), *text[2:]]))
    state = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    state["state_dict"]["network.fc1.weight"][0, 0] += 1
    torch.save(state, run / "checkpoints" / "best.ckpt")
    with np.load(run / "predictions.npz") as arrays:
        changed = dict(arrays)
    changed["test_target"] = 1 - changed["test_target"].clip(0, 1)
    np.savez(run / "predictions.npz", **changed)
    page = json.loads((run / "result.json").read_text())
    page["provenance"]["packages"]["torch"] = "2.0.0"
    page["provenance"]["numerics"]["kernels"] = 7
    (run / "result.json").write_text(json.dumps(page))
    done = snnlab("reproduce", str(run))
    assert done.status == 1, done.err
    found = dict(line.split(": ", 1) for line in done.out.splitlines() if ": " in line)
    assert found["data"] == found["weights, last"] != found["weights, best"]
    assert_text_has(
        next(text for name, text in found.items() if name.startswith("metrics")), text[0].split(",")[3], 0.25
    )
    assert_text_has(found["predictions"], "test_target")
    assert "packages.torch: 2.0.0 then," in done.out
    assert "numerics.kernels: 7 then," in done.out


def test_the_versions_can_be_installed_again(run: Path, snnlab: Snnlab) -> None:
    done = snnlab("reproduce", str(run), "--env")
    assert done.status == 0
    assert f"'torch=={torch.__version__}'" in done.out
    assert done.out.startswith("python3.")


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["RUN", "data.num_bins=8"], ("data.num_bins=8", "data.root")),
        (["RUN", "another"], ("another", "override")),
        (["RUN"], (None, "interrupted")),
    ],
)
def test_a_run_that_cannot_be_repeated_is_refused(
    run: Path, snnlab: Snnlab, arguments: list[str], facts: tuple
) -> None:
    page = json.loads((run / "result.json").read_text()) | {"status": "interrupted"}
    (run / "result.json").write_text(json.dumps(page))
    done = snnlab("reproduce", *(str(run) if word == "RUN" else word for word in arguments))
    assert done.status == 2
    place, *details = facts
    assert_error_has(done.error, place or run, *details)
