"""The reports of a run and of a folder of runs: complete, offline, and working in a browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from snnlab import train

from .browser import COUNT, clicks, in_a_browser, seen
from .conftest import FAST, Outcome

Snnlab = Callable[..., Outcome]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, digits_store: str) -> Path:
    """Return a folder with three runs of different learning rates."""
    folder = tmp_path_factory.mktemp("runs")
    for lr in (0.001, 0.01, 0.1):
        train(*FAST, digits_store, f"output_dir={folder}", f"optimizer.lr={lr}", f"name=lr{lr}", "plots.recordings=1")
    return folder


def test_a_report_of_a_run_has_all_sections(snnlab: Snnlab, runs: Path):
    (run,) = runs.glob("lr0.1/*")
    done = snnlab("report", str(run))
    assert done.status == 0, done.err
    assert done.out.splitlines()[-1] == str(run / "report.html")
    text = (run / "report.html").read_text()
    titles = ["Result", "Training", "Layers", "Answers", "Early", "Recordings", "Different", "Provenance", "Commands"]
    assert re.findall(r"<h2>(\w+).*?</h2>", text) == titles
    assert f"snnlab reproduce {run}" in text
    assert "<td>optimizer.lr</td><td>0.01</td><td>0.1</td>" in text
    assert text.count("<img") >= 12
    assert all(address.startswith("data:image/") for address in re.findall('src="(.*?)"', text))
    assert "http" not in re.sub('src="data:[^"]*"', "", text)
    assert all(f'alt="{words}' in text for words in ("loss", "test recordings: ", "recording "))


def test_plots_of_a_run_are_written_as_files(snnlab: Snnlab, runs: Path, tmp_path: Path):
    (run,) = runs.glob("lr0.1/*")
    done = snnlab("report", str(run), "--out", str(tmp_path / "page.html"), "--figures", "svg")
    assert done.status == 0, done.err
    files = [Path(line) for line in done.out.splitlines()[:-1]]
    assert len(files) == len(set(files)) == (tmp_path / "page.html").read_text().count("<img")
    assert tmp_path / "figures" / "loss_epoch_by_epoch.svg" in files
    drawn_in_training = [path for path in files if path.suffix == ".png"]
    assert drawn_in_training
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn_in_training)


def test_an_interrupted_run_has_a_report_up_to_its_end(snnlab: Snnlab, runs: Path, tmp_path: Path):
    (run,) = runs.glob("lr0.01/*")
    part = Path(shutil.copytree(run, tmp_path / "part"))
    (part / "predictions.npz").unlink()
    shutil.rmtree(part / "tensorboard")
    done = snnlab("report", str(part), "--out", str(tmp_path / "deep" / "page.html"))
    assert done.status == 0, done.err
    text = (tmp_path / "deep" / "page.html").read_text()
    assert "<h2>Training</h2>" in text
    assert "<h2>Answers</h2>" not in text


def test_runs_are_shown_with_their_differing_settings(snnlab: Snnlab, runs: Path):
    done = snnlab("report", str(runs), "--out", str(runs / "all.html"))
    assert done.status == 0, done.err
    text = (runs / "all.html").read_text()
    heads = re.findall("<th>(.*?)</th>", text)
    assert heads[:3] == ["run", "status", "val/accuracy"]
    assert heads[-1] == "optimizer.lr"
    assert "3 runs, 3 completed" in text


@in_a_browser
def test_a_browser_reports_no_error_and_shows_every_image(snnlab: Snnlab, runs: Path):
    (run,) = runs.glob("lr0.1/*")
    snnlab("report", str(run))
    shown, complaints = seen(run / "report.html", COUNT)
    assert complaints == ""
    number = (run / "report.html").read_text().count("<img")
    assert f"<title>decoded {number}</title>" in shown


@in_a_browser
def test_a_table_sorts_by_a_click(snnlab: Snnlab, runs: Path):
    snnlab("report", str(runs))
    shown, complaints = seen(runs / "report.html", clicks("val/loss"))
    assert complaints == ""
    assert 'aria-sort="descending"' in shown
    body = shown[shown.index("<tbody>") : shown.index("</tbody>")]
    losses = [float(re.findall("<td>(.*?)</td>", row)[3]) for row in re.findall("<tr>(.*?)</tr>", body)]
    assert len(losses) == 3
    assert losses == sorted(losses, reverse=True)
    assert losses != sorted(losses)
