"""A search that still runs, or of which a file is missing, old or damaged: its page, or the file and the remedy."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import yaml

from ...refusals import assert_error_has, assert_text_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]


def write_search(folder: Path, trials: list[dict[str, Any]], ended: bool) -> Path:
    """Write a search's folder by hand; one that has ended has its own files."""
    objectives = {"val/accuracy": "maximize"}
    space = {"optimizer.lr": {"low": 0.0001, "high": 0.1, "log": True}}
    page = {"schema": 1, "name": "digits", "seed": 0, "overrides": ["data=digits"], "config_dir": None, "place": "."}
    folder.mkdir(parents=True)
    (folder / "sweep.yaml").write_text(yaml.safe_dump({**page, "sweep": {"space": space, "objectives": objectives}}))
    if not ended:
        return folder
    write_trials(folder, trials)
    (folder / "plots").mkdir()
    for name in ("slice_val_accuracy", "importance_val_accuracy"):
        matplotlib.image.imsave(folder / "plots" / f"{name}.png", np.zeros((80, 120, 3)))
    values = {"optimizer.lr": 0.01}
    winner = {
        "trial": 1,
        "overrides": ["data=digits", "optimizer.lr=0.01"],
        "test_seeds": [5, 6],
        "test": {"test/accuracy": {"mean": 0.9, "sd": 0.01}, "test/silent/lif1": {"mean": 0.1, "sd": 0.0}},
    }
    finalist = {"number": 1, "values": values, "found": {"val/accuracy": 0.95}, "again": [{"val/accuracy": 0.93}]}
    found = {
        "chosen_by": "the mean of 1 seeds",
        "finalists": [finalist],
        "winner": winner,
        "importance": {"val/accuracy": {"optimizer.lr": 1.0}},
    }
    (folder / "search.json").write_text(json.dumps({"schema_version": 1, **found}))
    return folder


def write_trials(folder: Path, trials: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    table = csv.DictWriter(text, trials[0])
    table.writeheader()
    table.writerows(trials)
    (folder / "trials.csv").write_text(text.getvalue())


FILES = ("sweep.yaml", "search.json", "trials.csv")
TRIALS = [
    {"trial": n, "state": "complete", "val/accuracy": score, "optimizer.lr": lr, "epochs": 3, "error": ""}
    for n, (score, lr) in enumerate([(0.8, 0.0001), (0.95, 0.01), (0.5, 0.1)])
]


def test_a_running_search_is_shown(snnlab: Snnlab, tmp_path: Path):
    folder = write_search(tmp_path / "sweep", [], ended=False)
    assert_error_has(snnlab("report", str(folder)).error, "report", "search")
    write_trials(folder, TRIALS)
    done = snnlab("report", str(folder))
    assert done.status == 0, done.err
    text = (folder / "report.html").read_text()
    assert_text_has(text, "3 trials", "3 complete")
    assert_text_has(text, "<td>1: val/accuracy 95.00%</td>")
    assert "<h2>Test" not in text


def test_plots_of_a_search_are_its_png_files(snnlab: Snnlab, tmp_path: Path):
    folder = write_search(tmp_path / "sweep", TRIALS, ended=True)
    done = snnlab("report", str(folder), "--figures", "pdf")
    assert done.status == 0, done.err
    *figures, page = map(Path, done.out.split())
    assert page == folder / "report.html"
    drawn = sorted((folder / "plots").glob("*.png"))
    assert sorted(path.read_bytes() for path in figures) == [path.read_bytes() for path in drawn]
    assert done.err.count("\n") == 1
    assert "PNG" in done.err
    assert snnlab("report", str(folder), "--figures", "gif").status == 2


@pytest.fixture
def search(workplace: Path) -> Path:
    """Return the folder of a search that has ended, without its study."""
    return write_search(workplace / "outputs" / "digits" / "1_sweep", TRIALS, ended=True)


def _gone(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _emptied(path: Path) -> None:
    path.write_text("")


def _of_another_form(path: Path) -> None:
    path.write_text("winner: [1, 2" if path.suffix == ".yaml" else '{"winner": [1]}')


@pytest.mark.parametrize(
    ("name", "harm"),
    [("trials.csv", _gone), *((name, harm) for name in FILES for harm in (_cut, _emptied, _of_another_form))],
)
def test_the_file_and_the_remedy_are_named(snnlab: Snnlab, search: Path, name: str, harm: Callable[[Path], None]):
    harm(search / name)
    done = snnlab("report", str(search))
    assert (done.status, done.out) == (2, "")
    assert_error_has(done.error, search / name, "read")
    hint = "snnlab runs list" if name == "sweep.yaml" else f"snnlab sweep resume={search}"
    assert hint in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("part", ["name", "seed", "overrides", "place", "sweep", "config_dir"])
def test_a_description_without_one_of_its_parts_is_named(snnlab: Snnlab, search: Path, part: str):
    path = search / "sweep.yaml"
    page = yaml.safe_load(path.read_text())
    del page[part]
    path.write_text(yaml.safe_dump(page))
    for command in (("report", str(search)), ("sweep", f"resume={search}")):
        done = snnlab(*command)
        assert done.status == 2
        assert_error_has(done.error, "outputs/digits/1_sweep/sweep.yaml", "read", path, part)
