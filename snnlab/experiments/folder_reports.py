"""The folders of suites and searches, read for their pages."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from snnlab.errors import RunFolderError
from snnlab.experiments.result_pages import SearchFolder, suite_page, sweep_page
from snnlab.experiments.search_plan import read_sweep_yaml
from snnlab.experiments.search_report import SUMMARY, TRIALS, read_trials, reading_search
from snnlab.experiments.suite_table import read_table
from snnlab.files import read_text
from snnlab.runs.report_pages import Page


def suite_report(folder: Path, *, redraw: bool) -> Page:
    """Return the page of a suite; its plots are always drawn anew."""
    return suite_page(read_table(folder), str(folder))


def search_report(folder: Path, *, redraw: bool) -> Page:
    """Return the page of a search, finished or not; its plots are PNG files."""
    content, summary, trials = read_sweep_yaml(folder), folder / SUMMARY, folder / TRIALS
    ended = summary.is_file()
    if not ended and not trials.is_file():
        raise RunFolderError("report", f"{folder}: the search has no trial yet")
    rows = read_trials(folder, list(content["sweep"]["objectives"]))
    images = [(path.stem, path.read_bytes()) for path in sorted((folder / "plots").glob("*.png"))] if ended else []
    if redraw and images:
        print(f"snnlab: {folder}: the plots of a search stay PNG files", file=sys.stderr)
    with reading_search(summary):
        result = json.loads(read_text(summary)) if ended else {}
        return sweep_page(SearchFolder(str(folder), content, result, rows, images))
