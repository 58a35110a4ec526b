"""Every command names the damaged file of a run and the command that restores it; that command works."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from snnlab import train

from ..refusals import assert_error_has, assert_text_has
from .conftest import FAST, Outcome

Snnlab = Callable[..., Outcome]


@pytest.fixture(scope="module")
def trained(digits_run: Path) -> Path:
    return digits_run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """Return a copy of a run, whose files a test can damage."""
    return Path(shutil.copytree(trained, tmp_path / "outputs" / "digits" / "1_0"))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _cut_after_a_key(path: Path) -> None:
    text = path.read_bytes()
    path.write_bytes(text[: text.index(b": ", len(text) // 2)])


def _without_metrics(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "metrics": None}))


HARMS = {
    "predictions.npz": _cut,
    "split.json": _cut,
    "metrics.csv": lambda path: path.write_text("\0"),
    "result.json": _without_metrics,
    "config.yaml": _cut_after_a_key,
}


@pytest.mark.parametrize("name", HARMS)
def test_the_file_and_the_remedy_are_named(snnlab: Snnlab, run: Path, name: str):
    HARMS[name](run / name)
    for command in (("report",), ("reproduce",), ("bench", "compare", str(run))):
        done = snnlab(*command, str(run))
        assert (done.status, done.out) == (2, ""), command
        assert_error_has(done.error, run / name, "read")
        assert f"{'init_from' if name == 'config.yaml' else 'resume'}={run}" in done.err
        assert len(done.err.splitlines()) == 1, done.err


@pytest.mark.parametrize("name", HARMS)
def test_a_pipe_in_place_of_a_file_is_not_waited_for(snnlab: Snnlab, run: Path, name: str):
    (run / name).unlink()
    os.mkfifo(run / name)
    assert snnlab("runs", str(run.parent)).status == 0
    done = snnlab("report", str(run))
    assert done.status == 2
    assert len(done.err.splitlines()) <= 2, done.err


@pytest.mark.parametrize(
    "name", ["result.json", *(pytest.param(name, marks=pytest.mark.long) for name in HARMS if name[0] in "psm")]
)
def test_resuming_the_run_writes_the_file_again(trained: Path, run: Path, name: str):
    HARMS[name](run / name)
    train(f"resume={run}")
    one, again = (json.loads((folder / "result.json").read_text())["metrics"] for folder in (trained, run))
    assert again == one
    for other in ("split.json", "metrics.csv"):
        assert (run / other).read_bytes() == (trained / other).read_bytes()
    with np.load(trained / "predictions.npz") as before, np.load(run / "predictions.npz") as after:
        assert all(np.array_equal(before[array], after[array]) for array in before.files)
    assert (run / "result_damaged.json").exists() == (name == "result.json")


def test_a_configuration_that_is_cut_cannot_be_resumed(snnlab: Snnlab, run: Path):
    before = sorted(run.rglob("*"))
    _cut_after_a_key(run / "config.yaml")
    done = snnlab("train", f"resume={run}")
    assert done.status == 2
    assert_error_has(done.error, run / "config.yaml", "read")
    assert sorted(run.rglob("*")) == before


@pytest.mark.parametrize("name", ["predictions.npz", "result.json", "config.yaml"])
def test_a_list_shows_it_as_one_row_and_the_other_runs(snnlab: Snnlab, trained: Path, run: Path, name: str):
    shutil.copytree(trained, run.with_name("2_0"))
    HARMS[name](run / name)
    listed = snnlab("runs", "list", str(run.parent))
    assert listed.status == 0
    assert listed.out.count("completed") == (2 if name == "predictions.npz" else 1)
    done = snnlab("report", str(run.parent))
    assert done.status == 0, done.err
    page = (run.parent / "report.html").read_text()
    assert page.count("<td>damaged") == (0 if name == "predictions.npz" else 1)
    assert "2_0" in page
    table = snnlab("bench", "table", str(run.parent))
    assert table.status == 0, table.err
    assert_text_has(" ".join(table.out.split()), f"{name}: cannot")


def test_a_comparison_leaves_it_out_with_a_warning(snnlab: Snnlab, trained: Path, run: Path):
    shutil.copytree(trained, run.with_name("2_0"))
    _cut(run / "predictions.npz")
    other = shutil.copytree(trained, run.parents[1] / "other")
    done = snnlab("bench", "compare", str(run.parent), str(other))
    assert done.status == 0, done.err
    assert f"{run / 'predictions.npz'}: " in done.err


def test_weights_of_another_network_are_refused_in_one_line(snnlab: Snnlab, run: Path, tmp_path: Path):
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("out_features: 16", "out_features: 17"))
    np.save(tmp_path / "one.npy", np.array([[1, 1, 5, 0]]))
    lines = []
    for command in (("predict", str(run), str(tmp_path / "one.npy")), ("evaluate", str(run))):
        done = snnlab(*command)
        assert done.status == 2
        lines.append([line for line in done.err.splitlines() if line.startswith("snnlab: ")])
    assert lines[0] == lines[1]
    assert_text_has(lines[0][0], "weights")


def test_an_evaluation_is_not_written_into_a_run(snnlab: Snnlab, run: Path):
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    done = snnlab("evaluate", str(run), "--out", str(run))
    assert done.status == 2
    assert_error_has(done.error, "evaluate", "--out")
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def _change_weights(path: Path) -> None:
    """Change one weight, as a checkpoint of another run would, and keep the rest: its epoch, its names, its shapes."""
    content = torch.load(path, weights_only=True)
    name = next(name for name in content["state_dict"] if name.startswith("network."))
    content["state_dict"][name].view(-1)[0] += 1.0
    torch.save(content, path)


@pytest.mark.parametrize("name", ["best", "last"])
def test_the_checkpoint_of_another_run_is_refused(snnlab: Snnlab, run: Path, digits_store: str, name: str):
    np.save(run.parent / "one.npy", np.zeros((4, 4), np.int64))
    _change_weights(run / "checkpoints" / f"{name}.ckpt")
    which = ("--checkpoint", name)
    commands: list[tuple[str, ...]] = [
        ("evaluate", str(run), *which),
        ("export", str(run), *which, "--what", "weights", "--out", "w.npz"),
        ("predict", str(run), *which, str(run.parent / "one.npy")),
    ]
    if name == "best":
        commands += [
            ("train", *FAST, digits_store, f"init_from={run}"),
            ("stream", str(run), str(run.parent / "x.csv")),
        ]
        (run.parent / "x.csv").write_text("t,x,y,p\n1,2,3,1\n")
    for command in commands:
        done = snnlab(*command)
        assert (done.status, done.out) == (2, ""), command
        assert f"{run}/checkpoints/{name}.ckpt" in done.err
        assert len(done.err.splitlines()) == 1, done.err


def test_a_training_does_not_go_on_with_the_checkpoint_of_another_run(snnlab: Snnlab, run: Path):
    _change_weights(run / "checkpoints" / "best.ckpt")
    chosen = json.loads((run / "result.json").read_text())["selection"]["epoch"] + 1
    for ended in (True, False):  # a run that was killed has no result
        if not ended:
            (run / "result.json").unlink()
        done = snnlab("train", f"resume={run}", "trainer.max_epochs=3")
        assert done.status == 2
        assert_error_has(done.error, run / "checkpoints" / "best.ckpt", chosen)
        # The attempt has recorded its failure, and not the weights of the other run as its own.
        assert snnlab("evaluate", str(run)).status == 2
