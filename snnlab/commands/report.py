"""`snnlab report`: a run, a search, a suite, or a folder of runs, as one page to look at, print or send."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from snnlab.commands.options import split_options
from snnlab.errors import ConfigError, RecordError, listing
from snnlab.printable import printable

if TYPE_CHECKING:
    from snnlab.record.report.page import Page

USAGE = """usage: snnlab report FOLDER [--out FILE] [--figures pdf|svg|png]

Write one HTML file that needs no network and no recordings. Of a run: result, learning curves, rates by layer, answers
by class, against time and before the end, the pictures that the training drew, what differs from the defaults, where it
comes from and how to do it again. Of a suite (snnlab bench): its tables with intervals and protocol, what accuracy
costs, controls, and runs without a result. Of a search (snnlab sweep), also one that goes on: the winner and its test,
trials, and what mattered. Of another folder of runs: a table, with the settings in which they differ, accuracy against
its cost, and of a grid (snnlab train -m) against what was swept. Tables sort by a click. Its path is printed; FILE is
report.html in the folder where none is named.
--figures writes each picture of the page as a file too, for a paper, into the folder figures beside the page.

  snnlab report outputs/NAME/TIME_SEED
  snnlab report outputs/suite_NAME --figures pdf
  snnlab report outputs --out all.html
"""
FORMS = ("pdf", "svg", "png")


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    options, words = split_options("report", arguments)
    if len(words) != 1:
        raise ConfigError("report", f"takes one folder, of a run or of runs, got {len(words)}")
    folder, form = Path(words[0]).expanduser(), options.get("--figures")
    if not folder.is_dir():
        raise RecordError("report", f"there is no folder {folder}")
    if form is not None and form not in FORMS:
        raise ConfigError("report", f"--figures must be one of {listing(FORMS)}, got {form}")

    print(write_report(folder, Path(options["--out"]).expanduser() if "--out" in options else None, form))
    return 0


def write_report(folder: Path, out: Path | None = None, figures: str | None = None) -> Path:
    """Write the page of a folder, and return where it is.

    Args:
        folder: Of a run, a search, a suite, or of runs.
        out: The file; None: `report.html` in the folder.
        figures: In which form each picture is a file too, whose paths are printed; None: in none.

    Raises:
        SnnlabError: if there is nothing in it to show, or the file cannot be written.
    """
    from snnlab.files import unwritable, write_text

    path = out or folder / "report.html"
    page = _page_of(folder, figures)
    text = page.html()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if figures is not None:
            print(*page.write_figures(path.parent / "figures", figures), sep="\n")
        write_text(path, printable(text, "\n\t"))
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def _page_of(folder: Path, figures: str | None) -> Page:
    from snnlab.record.lock import require_no_links

    kinds = {"config.yaml": _of_run, "suite.yaml": _of_suite, "sweep.yaml": _of_sweep}
    make = next((make for name, make in kinds.items() if (folder / name).is_file()), None)
    if make is not None:
        require_no_links(folder)  # the page is made to be sent: it shows nothing of the user's other files
    return _of_sweep(folder, redrawn=figures is not None) if make is _of_sweep else (make or _of_runs)(folder)


def _of_suite(folder: Path) -> Page:
    from snnlab.record.report.of_suite import suite_page
    from snnlab.record.suite.tables import read_table

    return suite_page(read_table(folder), str(folder))


def _of_sweep(folder: Path, redrawn: bool = False) -> Page:
    from snnlab.commands.searches import drawn_now, trials_now
    from snnlab.record.report.of_sweep import Search, sweep_page
    from snnlab.search.plan import read_page
    from snnlab.search.reading import SUMMARY, parsed_trials, read_summary, read_trials

    page, summary = read_page(folder), folder / SUMMARY
    objectives = list(page["sweep"]["objectives"])
    ended = summary.is_file() and not _newer(folder / "study.db", summary)
    found = read_summary(folder) if ended else {}
    rows = read_trials(folder, objectives) if ended else parsed_trials(trials_now(folder, page), objectives)
    images = [(path.stem, path.read_bytes()) for path in sorted((folder / "pictures").glob("*.png"))]
    if not ended or (redrawn and (folder / "study.db").is_file()):
        images = drawn_now(folder, page)
    elif redrawn:
        said = f"snnlab: {folder}: has no study.db to draw from; its pictures stay the PNG files they are"
        print(said, file=sys.stderr)
    return sweep_page(Search(str(folder), page, found, rows, images))


def _newer(one: Path, other: Path) -> bool:
    return one.is_file() and one.stat().st_mtime > other.stat().st_mtime


def _of_run(folder: Path) -> Page:
    from snnlab.commands.early import clock_of, no_early_answers
    from snnlab.config.composing import compose_once
    from snnlab.config.of_run import compose_run
    from snnlab.data.settings import read_shared
    from snnlab.record.report.of_run import When, run_page
    from snnlab.record.run_reading import read_run

    recorded = read_run(folder)
    recorded.check_files()
    experiment = compose_run(folder, use="record")
    defaults, _ = compose_once([], None)
    settings = read_shared(experiment.data)
    when = When(clock_of(settings), no_early_answers(experiment, settings))
    names = recorded.class_names(settings.num_classes) or [str(number) for number in range(settings.num_classes)]
    return run_page(recorded, experiment.record or {}, defaults.record or {}, names, when)


def _of_runs(folder: Path) -> Page:
    from snnlab.record.grid import find_all_runs
    from snnlab.record.report.of_runs import runs_page
    from snnlab.record.runs_table import read_line

    lines = [read_line(run) for run in find_all_runs(folder)]
    if not lines:
        raise RecordError("report", f"there is no run below {folder}")
    return runs_page(folder, lines)
