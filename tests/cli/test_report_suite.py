"""The pages of a suite and of a search: complete, and working in a browser."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import yaml

from ..experiments.making import make_suite
from ..refusals import assert_error_has, assert_text_has
from .browser import COUNT, clicks, in_a_browser, seen
from .conftest import Outcome

Snnlab = Callable[..., Outcome]
# As many digits as there are: 9,000 parameters are fewer than 12,000, and a sort by letters would not know.
PARAMS = {"small": 9_000.0, "large": 120_000.0, "gru": 12_000.0}
COUNT_AND = COUNT.removesuffix("</body>")
PUBLISHED = {
    **{"dataset": "digits", "name": "Theirs", "accuracy": 99.5, "architecture": "2 layers", "steps": 10},
    **{"params": 12_000, "protocol": "one seed", "selection": "test"},
}


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Write a suite with a baseline, a failed run, controls, and a published result."""
    accuracies = {"small": [0.7, 0.72, 0.69], "large": [0.91, 0.9, 0.89], "gru": [0.95, 0.94]}
    nodes = {method: {"overrides": [f"model={method}"], "role": "method", "note": None} for method in accuracies}
    nodes["gru"]["role"] = "baseline"
    said = "25.0% with labels shuffled; chance is 25%"
    controls = [
        {"name": "shuffled_labels", "dataset": "digits", "method": "large", "passed": True, "said": said},
        {"name": "permuted_test_labels", "dataset": "digits", "method": "large", "passed": False, "said": "differs"},
    ]
    folder = make_suite(
        tmp_path / "suite", accuracies, page={"methods": nodes, "published": [PUBLISHED]}, state={"controls": controls}
    )
    for path in folder.glob("runs/*/*/*/result.json"):
        page = json.loads(path.read_text())
        page["metrics"] |= dict.fromkeys(("params", "test/synops_macs"), PARAMS[path.parents[1].name])
        path.write_text(json.dumps(page))
    state = json.loads((folder / "suite.json").read_text())
    lost = {"dataset": "digits", "method": "gru", "seed": 2, "control": None, "folder": "runs/digits/gru/2"}
    state["cells"].append({**lost, "status": "failed", "error": "out of memory", "wall_s": None, "tuned": None})
    (folder / "suite.json").write_text(json.dumps(state))
    return folder


def test_a_suite_is_shown_with_intervals_protocol_controls_and_what_failed(snnlab: Snnlab, suite: Path):
    done = snnlab("report", str(suite))
    assert done.status == 0, done.err
    text = (suite / "report.html").read_text()
    assert re.findall(r"<h2>(\w+).*?</h2>", text) == ["digits", "Controls", "Runs", "Again"]
    assert_text_has(text, "1 dataset", "3 methods", "8 of 9 runs")
    assert "<td class=figure>90.0 ± 1.0</td><td class=figure>85.0 to 93.5</td>" in text
    assert "<td>gru (baseline)</td><td class=figure>2/3</td>" in text
    assert_text_has(text, "<td>split</td><td>stratified 0.1", "split_seed 0")
    assert re.search("<td>permuted_test_labels</td><td>digits</td><td>large</td><td>FAILED</td><td>differs</td>", text)
    assert_text_has(text, "<td>gru</td><td>2</td><td>failed</td>", "memory")
    assert re.search("<tr class=faint><td>Theirs</td>.*test: not", text)
    assert 'data-value="120000">120,000</td>' in text
    assert "snnlab bench suite=mine" in text
    assert all(re.search(f'alt="test accuracy .* {cost}', text) for cost in ("synaptic", "parameters"))
    assert "http" not in re.sub('src="data:[^"]*"', "", text)


@in_a_browser
def test_a_browser_shows_a_suite_and_sorts_its_numbers(snnlab: Snnlab, suite: Path):
    snnlab("report", str(suite))
    number = (suite / "report.html").read_text().count("<img")
    shown, complaints = seen(suite / "report.html", COUNT_AND + clicks("parameters"))
    assert complaints == ""
    assert f"<title>decoded {number}</title>" in shown
    table = next(part for part in shown.split("<table") if 'aria-sort="descending"' in part)
    assert re.findall("<td>(small|large|gru)", table.partition("</table>")[0]) == ["large", "gru", "small"]


def write_search(folder: Path, trials: list[dict[str, Any]], ended: bool) -> Path:
    """Write a search's folder by hand; one that has ended has its own files."""
    objectives = {"val/accuracy": "maximize"}
    space = {"optimizer.lr": {"low": 0.0001, "high": 0.1, "log": True}}
    page = {"schema": 1, "name": "digits", "seed": 0, "overrides": ["data=digits"], "config_dir": None, "place": "."}
    folder.mkdir()
    (folder / "sweep.yaml").write_text(yaml.safe_dump({**page, "sweep": {"space": space, "objectives": objectives}}))
    if not ended:
        return folder
    text = io.StringIO()
    table = csv.DictWriter(text, trials[0])
    table.writeheader()
    table.writerows(trials)
    (folder / "trials.csv").write_text(text.getvalue())
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


TRIALS = [
    {"trial": n, "state": "complete", "val/accuracy": score, "optimizer.lr": lr, "epochs": 3, "error": ""}
    for n, (score, lr) in enumerate([(0.8, 0.0001), (0.95, 0.01), (0.5, 0.1)])
]


def test_a_search_is_shown_with_its_winner_its_test_and_how_to_continue(snnlab: Snnlab, tmp_path: Path):
    folder = write_search(tmp_path / "sweep", TRIALS, ended=True)
    done = snnlab("report", str(folder))
    assert done.status == 0, done.err
    text = (folder / "report.html").read_text()
    assert "3 trials: 3 complete" in text
    assert_text_has(text, "<td>1: val/accuracy 95.00%</td>")
    assert_text_has(text, "<td>optimizer.lr=0.01</td>")
    assert "<td>test/accuracy</td><td>90.00%</td><td>1.00%</td>" in text
    assert "test/silent" not in text
    assert_text_has(text, "fresh", "seeds [5, 6]")
    assert [alt.partition(":")[0] for alt in re.findall('alt="(.*?)"', text)] == ["val/accuracy"] * 2
    assert f"snnlab sweep resume={folder} sweep.trials=6" in text
    assert "experiment=best" in text


def test_a_running_search_is_shown(snnlab: Snnlab, tmp_path: Path):
    optuna = pytest.importorskip("optuna")
    folder = write_search(tmp_path / "sweep", [], ended=False)
    assert_error_has(snnlab("report", str(folder)).error, "report", "search")
    study = optuna.create_study(study_name="sweep", storage=f"sqlite:///{folder}/study.db", direction="maximize")
    for trial in TRIALS:
        study.enqueue_trial({"optimizer.lr": trial["optimizer.lr"]})
        new_trial = study.ask()
        new_trial.suggest_float("optimizer.lr", 0.0001, 0.1, log=True)
        new_trial.set_user_attr("outcome", {"metrics": {"val/accuracy": trial["val/accuracy"]}, "epochs": 3})
        study.tell(new_trial, trial["val/accuracy"])
    done = snnlab("report", str(folder))
    assert done.status == 0, done.err
    text = (folder / "report.html").read_text()
    assert_text_has(text, "3 trials", "3 complete")
    assert_text_has(text, "<td>1: val/accuracy 95.00%</td>")
    assert text.count("<img") == 1
    assert "<h2>Test" not in text


def test_plots_of_a_search_without_a_study_are_its_png_files(snnlab: Snnlab, tmp_path: Path):
    folder = write_search(tmp_path / "sweep", TRIALS, ended=True)
    done = snnlab("report", str(folder), "--figures", "pdf")
    assert done.status == 0, done.err
    *figures, page = map(Path, done.out.split())
    assert page == folder / "report.html"
    drawn = sorted((folder / "plots").glob("*.png"))
    assert sorted(path.read_bytes() for path in figures) == [path.read_bytes() for path in drawn]
    assert done.err.count("\n") == 1
    assert "study.db" in done.err
    assert snnlab("report", str(folder), "--figures", "gif").status == 2


def test_a_summary_that_is_older_than_the_study_is_ignored(snnlab: Snnlab, tmp_path: Path):
    pytest.importorskip("optuna")
    folder = write_search(tmp_path / "sweep", TRIALS, ended=True)
    (folder / "study.db").touch()
    os.utime(folder / "search.json", (1, 1))
    assert_error_has(snnlab("report", str(folder)).error, "report", "trial")


@in_a_browser
def test_a_browser_shows_a_search_and_sorts_its_trials(snnlab: Snnlab, tmp_path: Path):
    folder = write_search(tmp_path / "sweep", TRIALS, ended=True)
    snnlab("report", str(folder))
    shown, complaints = seen(folder / "report.html", COUNT_AND + clicks("val/accuracy"))
    assert complaints == ""
    assert "<title>decoded 2</title>" in shown
    table = next(part for part in shown.split("<table") if 'aria-sort="descending"' in part)
    rows = re.findall(r"<tr><td class=\"figure\">(\d)</td>", table.partition("</table>")[0])
    assert rows == ["1", "0", "2"]


@pytest.mark.parametrize(("form", "begins"), [("pdf", b"%PDF"), ("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_plots_are_written_as_files(snnlab: Snnlab, suite: Path, form: str, begins: bytes):
    done = snnlab("report", str(suite), "--figures", form)
    assert done.status == 0, done.err
    *figures, page = map(Path, done.out.split())
    assert page == suite / "report.html"
    assert [path.name for path in figures] == [
        f"test_accuracy_against_{what}.{form}"
        for what in ("synaptic_operations_a_test_sample_MACs_and_ACs", "parameters")
    ]
    assert all(path.parent == suite / "figures" and path.read_bytes().startswith(begins) for path in figures)
