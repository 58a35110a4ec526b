"""The folders of suites and searches, read for their pages."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from snnlab.experiments import search_plots
from snnlab.experiments.result_pages import SearchFolder, suite_page, sweep_page
from snnlab.experiments.search_plan import read_plan, read_sweep_yaml
from snnlab.experiments.search_report import SUMMARY, parse_trials, read_summary, read_trials, trials_text
from snnlab.experiments.study import open_study_copy, quiet_optuna
from snnlab.experiments.suite_table import read_table
from snnlab.runs.report_pages import Page


def suite_report(folder: Path, *, redraw: bool) -> Page:
    """Return the page of a suite; its plots are always drawn anew."""
    return suite_page(read_table(folder), str(folder))


def search_report(folder: Path, *, redraw: bool) -> Page:
    """Return the page of a search, finished or not.

    Args:
        redraw: Draw the plots again in place of the PNG files, where the study is there.
    """
    content, summary = read_sweep_yaml(folder), folder / SUMMARY
    objectives = list(content["sweep"]["objectives"])
    ended = summary.is_file() and not _is_newer(folder / "study.db", summary)
    found = read_summary(folder) if ended else {}
    rows = read_trials(folder, objectives) if ended else parse_trials(_current_trials(folder, content), objectives)
    images = [(path.stem, path.read_bytes()) for path in sorted((folder / "plots").glob("*.png"))]
    if not ended or (redraw and (folder / "study.db").is_file()):
        images = _current_figures(folder, content)
    elif redraw:
        message = f"snnlab: {folder}: has no study.db, so its plots stay PNG files"
        print(message, file=sys.stderr)
    return sweep_page(SearchFolder(str(folder), content, found, rows, images))


def _is_newer(one: Path, other: Path) -> bool:
    return one.is_file() and one.stat().st_mtime > other.stat().st_mtime


def _current_trials(folder: Path, content: Mapping[str, Any]) -> str:
    """Return the current content of `trials.csv`.

    Args:
        content: The content of `sweep.yaml`.
    """
    with open_study_copy(folder, content) as study:
        return trials_text(read_plan(folder, content["sweep"]), study.get_trials(deepcopy=False))


def _current_figures(folder: Path, content: Mapping[str, Any]) -> list[tuple[str, Figure]]:
    """Draw the plots that the trials so far allow; return them with their names.

    Args:
        content: The content of `sweep.yaml`.
    """
    with open_study_copy(folder, content) as study, quiet_optuna():
        return list(search_plots.figures(study, list(content["sweep"]["objectives"])).items())
