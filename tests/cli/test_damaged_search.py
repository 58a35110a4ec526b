"""For a search with damaged files every command names the file and the command that writes it again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..refusals import assert_error_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]
FILES = ("sweep.yaml", "search.json", "trials.csv")


@pytest.fixture
def search(workplace: Path) -> Path:
    """Return the folder of a search that has ended, as `snnlab sweep` leaves it, without its study."""
    folder = workplace / "outputs" / "digits" / "1_sweep"
    (folder / "trials" / "000").mkdir(parents=True)
    sweep = {"space": {"optimizer.lr": {"low": 0.001, "high": 0.1}}, "objectives": {"val/accuracy": "maximize"}}
    page: dict[str, Any] = {"schema": 1, "name": "digits", "seed": 0, "overrides": [], "config_dir": None}
    (folder / "sweep.yaml").write_text(yaml.safe_dump({**page, "place": str(workplace), "sweep": sweep}))
    (folder / "trials.csv").write_text(
        "trial,state,val/accuracy,optimizer.lr,epochs,fit_s,wall_s,error\n0,complete,1.0,0.01,1,2.0,3.0,\n"
    )
    finalist = {"number": 0, "values": {"optimizer.lr": 0.01}, "found": {"val/accuracy": 1.0}, "again": []}
    winner = {"trial": 0, "overrides": [], "test_seeds": [1, 2], "test": {"test/accuracy": {"mean": 1.0, "sd": 0.0}}}
    summary = {"finalists": [finalist], "winner": winner, "importance": {"val/accuracy": {"optimizer.lr": 1.0}}}
    (folder / "search.json").write_text(json.dumps(summary))
    return folder


def test_an_undamaged_search_is_shown_with_accuracies_in_percent(snnlab: Snnlab, search: Path):
    done = snnlab("report", str(search))
    assert done.status == 0, done.err
    text = (search / "report.html").read_text()
    assert "<td>test/accuracy</td><td>100.00%</td><td>0.00%</td>" in text
    assert "val/accuracy 100.00%" in text


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
    path.write_text(yaml.safe_dump({**page, part: 3.5}))
    for command in (("report", str(search)), ("sweep", f"resume={search}")):
        done = snnlab(*command)
        assert done.status == 2
        assert_error_has(done.error, "outputs/digits/1_sweep/sweep.yaml", "read", path, part)
