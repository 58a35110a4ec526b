"""What `snnlab report --help`, docs/runs.md and docs/search.md promise of pages: of a run, a folder of runs, a grid.

tests/acceptance/test_bench.py and test_sweep.py have those of a suite and of a search.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ..cli.browser import COUNT, clicks, in_a_browser, seen
from ..refusals import assert_error_has, assert_text_has
from .calling import call
from .conftest import FAST, Outcome

Snnlab = Callable[..., Outcome]


SWEPT = ("optimizer.lr=0.001,0.1", "seed=0,1")
KEPT = ("plots=null", "monitors=null", "logger=none", "hydra.sweep.dir=outputs/mine")


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory, digits_store: str) -> Path:
    """Return the folder of a grid: four runs, of two learning rates and two seeds."""
    root = tmp_path_factory.mktemp("grid")
    done = call(root, "train", "-m", *FAST, digits_store, *SWEPT, *KEPT)
    assert done.status == 0, done.err
    assert Path(done.out.splitlines()[-1]) == root / "outputs" / "mine"
    return root / "outputs" / "mine"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, digits_store: str) -> Path:
    """Return a run with plots, and with its page."""
    root = tmp_path_factory.mktemp("run")
    done = call(root, "train", *FAST, digits_store, "optimizer.lr=0.1", "plots.recordings=1", "hydra.run.dir=run")
    assert done.status == 0, done.err
    done = call(root, "report", "run")
    assert (done.status, done.out) == (0, "run/report.html\n"), done.err
    return root / "run"


def test_a_page_of_a_run_has_result_curves_layers_answers_recordings_origin_and_commands(run: Path):
    text = (run / "report.html").read_text()
    titles = ["Result", "Training", "Layers", "Answers", "Early", "Recordings", "Different", "Provenance", "Commands"]
    assert re.findall(r"<h2>(\w+).*?</h2>", text) == titles
    assert "snnlab reproduce run" in text
    assert "<td>optimizer.lr</td><td>0.01</td><td>0.1</td>" in text
    assert all(f'alt="{words}' in text for words in ("loss", "test recordings: ", "recording "))


def test_a_page_needs_no_internet(run: Path):
    text = (run / "report.html").read_text()
    assert text.count("<img") >= 12
    assert all(address.startswith("data:image/") for address in re.findall('src="(.*?)"', text))
    assert "http" not in re.sub('src="data:[^"]*"', "", text)


def test_the_plots_of_a_page_are_written_as_files(snnlab: Snnlab, run: Path, tmp_path: Path):
    done = snnlab("report", str(run), "--out", str(tmp_path / "page.html"), "--figures", "pdf")
    assert done.status == 0, done.err
    files = [Path(line) for line in done.out.splitlines()[:-1]]
    assert len(files) == len(set(files)) == (tmp_path / "page.html").read_text().count("<img")
    assert (tmp_path / "figures" / "loss_epoch_by_epoch.pdf").read_bytes().startswith(b"%PDF")
    drawn_in_training = [path for path in files if path.suffix == ".png"]
    assert drawn_in_training
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn_in_training)


def test_an_interrupted_run_has_a_page_up_to_its_end(snnlab: Snnlab, run: Path, tmp_path: Path):
    part = Path(shutil.copytree(run, tmp_path / "part"))
    (part / "predictions.npz").unlink()
    shutil.rmtree(part / "tensorboard")
    done = snnlab("report", str(part), "--out", str(tmp_path / "deep" / "page.html"))
    assert done.status == 0, done.err
    text = (tmp_path / "deep" / "page.html").read_text()
    assert "<h2>Training</h2>" in text
    assert "<h2>Answers</h2>" not in text


def test_a_folder_of_runs_has_a_table_with_the_settings_that_differ(snnlab: Snnlab, grid: Path, tmp_path: Path):
    for name in ("0_0", "2_0"):
        shutil.copytree(grid / name, tmp_path / name)
    done = snnlab("report", str(tmp_path), "--out", str(tmp_path / "all.html"))
    assert done.status == 0, done.err
    text = (tmp_path / "all.html").read_text()
    heads = re.findall("<th>(.*?)</th>", text)
    assert heads[:3] == ["run", "status", "val/accuracy"]
    assert heads[-1] == "optimizer.lr"
    assert_text_has(text, "2 runs", "2 completed")


def test_a_page_of_a_grid_plots_the_results_against_the_swept_settings(snnlab: Snnlab, grid: Path):
    done = snnlab("report", str(grid))
    assert done.status == 0, done.err
    text = (grid / "report.html").read_text()
    assert_text_has(text, "4 runs", "4 completed")
    assert re.search('alt="[^"]*accuracy[^"]*optimizer.lr', text)


def test_what_has_no_page_is_refused(snnlab: Snnlab, tmp_path: Path):
    for words, facts in ((("nowhere",), ("report", "nowhere")), ((str(tmp_path),), ("report", tmp_path))):
        done = snnlab("report", *words)
        assert (done.status, done.out) == (2, "")
        assert_error_has(done.error, *facts)
    assert snnlab("report", "docs/results/yin_yang", "--figures", "gif").status == 2


@in_a_browser
def test_a_browser_reports_no_error_and_shows_every_image(run: Path):
    shown, complaints = seen(run / "report.html", COUNT)
    assert complaints == ""
    number = (run / "report.html").read_text().count("<img")
    assert f"<title>decoded {number}</title>" in shown


@in_a_browser
def test_a_table_sorts_by_a_click(snnlab: Snnlab, grid: Path):
    snnlab("report", str(grid))
    shown, complaints = seen(grid / "report.html", clicks("val/loss"))
    assert complaints == ""
    assert 'aria-sort="descending"' in shown
    table = next(part for part in shown.split("<table") if 'aria-sort="descending"' in part)
    losses = [float(re.findall("<td>(.*?)</td>", row)[3].split()[0]) for row in re.findall("<tr>(<td>.*?)</tr>", table)]
    assert len(losses) == 2  # means over the seeds
    assert losses == sorted(losses, reverse=True)
    assert losses != sorted(losses)


def test_a_grid_ends_with_a_table_over_every_key_but_the_seed(snnlab: Snnlab, grid: Path):
    head, *rows = (line.split(",") for line in (grid / "table.csv").read_text().splitlines())
    found = [dict(zip(head, row, strict=True)) for row in rows]
    assert [(row["optimizer.lr"], row["test/accuracy_n"]) for row in found] == [("0.001", "2"), ("0.1", "2")]
    assert_text_has(snnlab("runs", str(grid)).out, "4 runs", "mean ± sd")


def test_the_same_grid_repeats_no_run_and_another_one_needs_another_folder(grid: Path, digits_store: str):
    kept = ("train", "-m", *FAST, digits_store, *KEPT)
    before = {path: path.stat().st_mtime_ns for path in grid.glob("*/result.json")}
    (grid / "3_1" / "result.json").unlink()  # as after a kill in the test of the last one
    again = call(grid.parents[1], *kept, *SWEPT)
    assert again.status == 0, again.err
    after = {path: path.stat().st_mtime_ns for path in grid.glob("*/result.json")}
    assert {path for path in after if after[path] != before[path]} == {grid / "3_1" / "result.json"}
    for others, named in ((("optimizer.lr=0.001,0.3", "seed=0,1"), "2_0"), (("seed=0,1",), "0_0")):
        refused = call(grid.parents[1], *kept, *others)
        assert refused.status == 2
        assert_error_has(refused.error, "outputs/mine", "hydra.sweep.dir=FOLDER", named)


def test_a_grid_is_checked_completely_before_its_first_run(workplace: Path, snnlab: Snnlab):
    done = snnlab("train", "-m", *FAST, "neuron=lif,liff")
    assert done.status == 2
    assert done.err.count("neuron=liff:") == 1
    assert not list(workplace.iterdir())
