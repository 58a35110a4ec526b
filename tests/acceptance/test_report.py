"""What `snnlab report --help` and docs/runs.md promise of the page of a run.

Those of a suite, a search and a grid are in test_bench.py, test_sweep.py and test_grid.py.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ..cli.browser import COUNT, in_a_browser, seen
from ..refusals import assert_error_has
from .calling import call
from .conftest import FAST, Outcome

Snnlab = Callable[..., Outcome]


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
    titles = [
        "Result",
        "Training",
        "Layers",
        "Weights",
        "Answers",
        "Early",
        "Recordings",
        "Different",
        "Provenance",
        "Commands",
    ]
    assert re.findall(r"<h2>(\w+).*?</h2>", text) == titles
    assert "snnlab reproduce run" in text
    assert "<td>optimizer.lr</td><td>0.01</td><td>0.1</td>" in text
    assert all(f'alt="{words}' in text for words in ("loss", "test recordings: ", "recording ", "out.weight"))


def test_a_recording_of_the_page_has_number_part_and_whether_it_was_answered_rightly(run: Path):
    text = (run / "report.html").read_text()
    (number,) = set(re.findall(r'alt="recording (\d+), validation, (?:right|wrong)', text))
    with np.load(run / "predictions.npz") as arrays:
        (row,) = np.flatnonzero(arrays["val_recording"] == int(number))
        target, answer = int(arrays["val_target"][row]), int(arrays["val_readout"][row].argmax())
    said = "right" if answer == target else f"wrong ({target} answered as {answer})"
    assert f'alt="recording {number}, validation, {said}: events"' in text
    assert [text.count(f'alt="{part} recordings: answers by class"') for part in ("validation", "test")] == [1, 1]
    assert 'alt="confusion' not in text
    assert "snnlab evaluate run --mistakes" in text


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
