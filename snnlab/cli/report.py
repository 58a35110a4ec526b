"""What a search has come to so far, while it goes on: its trials and its pictures, read from its study."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from sqlite3 import DatabaseError, connect
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from snnlab.cli.options import split_options
from snnlab.errors import ConfigError, RecordError, listing
from snnlab.printable import masked, printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from optuna import Study

    from snnlab.experiments.report_pages import Page


def trials_now(folder: Path, page: Mapping[str, Any]) -> str:
    """Return what `trials.csv` would hold now.

    Args:
        page: Its `sweep.yaml`.

    Raises:
        SnnlabError: if there is no study that can be read.
    """
    from snnlab.experiments.search_plan import read_plan
    from snnlab.experiments.search_report import trials_text

    with _study(folder, page) as study:
        return trials_text(read_plan(folder, page["sweep"]), study.get_trials(deepcopy=False))


def drawn_now(folder: Path, page: Mapping[str, Any]) -> list[tuple[str, Figure]]:
    """Return the pictures that the search's trials so far are enough for, each with its name.

    Args:
        page: Its `sweep.yaml`.

    Raises:
        SnnlabError: if there is no study that can be read.
    """
    from snnlab.experiments.search_plots import figures
    from snnlab.experiments.study import quiet_optuna

    with _study(folder, page) as study, quiet_optuna():
        return list(figures(study, list(page["sweep"]["objectives"])).items())


@contextmanager
def _study(folder: Path, page: Mapping[str, Any]) -> Iterator[Study]:
    """Give the study of a search, out of a copy of its file: nothing is written, and nothing but that file is opened.

    Raises:
        RecordError: if there is none that can be read, or it is kept elsewhere.
    """
    from snnlab.experiments.study import FILE, open_storage, quiet_optuna, require_optuna, storage_url

    require_optuna()
    named, path = page["sweep"].get("storage"), folder / FILE
    if named is not None:
        raise RecordError(
            "report",
            (
                f"{folder}: its trials are in {masked(str(named))}, which no report opens: it stands"
                " in a file that anybody may have written"
            ),
            f"there is a report once {folder}/search.json is there",
        )
    if path.is_symlink() or not path.is_file():
        raise RecordError("report", f"{folder}: the search has no trial yet")

    import optuna

    with TemporaryDirectory() as place, quiet_optuna():
        _copy(path, Path(place) / FILE)
        storage = open_storage(storage_url(Path(place), None))
        try:
            # The only one in it, which is called as the folder was when the search began.
            yield optuna.load_study(study_name=None, storage=storage)
        except (KeyError, ValueError) as error:
            raise RecordError("report", f"{folder}: the search has no trial yet") from error


def _copy(path: Path, copy: Path) -> None:
    """Copy a database as it is at one moment; one that was left in the middle of a change is mended in the copy."""
    try:
        with (
            closing(connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as one,
            closing(connect(copy)) as other,
        ):
            one.backup(other)
    except DatabaseError:
        for end in ("", "-journal", "-wal"):
            left = path.with_name(f"{path.name}{end}")
            if left.is_file() and not left.is_symlink():
                shutil.copyfile(left, copy.with_name(f"{copy.name}{end}"))


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
    from snnlab.runs.run_folder import require_no_links

    kinds = {"config.yaml": _of_run, "suite.yaml": _of_suite, "sweep.yaml": _of_sweep}
    make = next((make for name, make in kinds.items() if (folder / name).is_file()), None)
    if make is not None:
        require_no_links(folder)  # the page is made to be sent: it shows nothing of the user's other files
    return _of_sweep(folder, redrawn=figures is not None) if make is _of_sweep else (make or _of_runs)(folder)


def _of_suite(folder: Path) -> Page:
    from snnlab.experiments.report_pages import suite_page
    from snnlab.experiments.suite_table import read_table

    return suite_page(read_table(folder), str(folder))


def _of_sweep(folder: Path, redrawn: bool = False) -> Page:
    from snnlab.experiments.report_pages import Search, sweep_page
    from snnlab.experiments.search_plan import read_page
    from snnlab.experiments.search_report import SUMMARY, parsed_trials, read_summary, read_trials

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
    from snnlab.config.compose import compose_once
    from snnlab.config.recorded_run import compose_run
    from snnlab.data.data_settings import read_shared
    from snnlab.experiments.report_pages import When, run_page
    from snnlab.runs.recorded import read_run
    from snnlab.session.early_answers import clock_of, no_early_answers

    recorded = read_run(folder)
    recorded.check_files()
    experiment = compose_run(folder, use="record")
    defaults, _ = compose_once([], None)
    settings = read_shared(experiment.data)
    when = When(clock_of(settings), no_early_answers(experiment, settings))
    names = recorded.class_names(settings.num_classes) or [str(number) for number in range(settings.num_classes)]
    return run_page(recorded, experiment.record or {}, defaults.record or {}, names, when)


def _of_runs(folder: Path) -> Page:
    from snnlab.experiments.report_pages import runs_page
    from snnlab.runs.runs_table import find_all_runs, read_line

    lines = [read_line(run) for run in find_all_runs(folder)]
    if not lines:
        raise RecordError("report", f"there is no run below {folder}")
    return runs_page(folder, lines)
