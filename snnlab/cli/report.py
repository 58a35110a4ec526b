"""`snnlab report`: writes one HTML page of a run, a search, a suite or a folder of runs."""

from __future__ import annotations

from pathlib import Path

from snnlab.cli.options import split_options
from snnlab.errors import ConfigError, RunFolderError, join_names
from snnlab.files import unwritable, write_text
from snnlab.printable import printable

USAGE = """usage: snnlab report FOLDER [--out FILE] [--figures pdf|svg|png]

Write one HTML file that needs no internet and no recordings. Of a run: result, learning curves, rates by layer,
accuracy by class and over time, early exit, the plots of the training, settings that differ from the defaults, origin,
and commands to repeat it. Of a suite (snnlab bench): its tables with intervals and protocol, accuracy against cost,
controls, and runs without a result. Of a search (snnlab sweep), finished or not: the winner and its test, trials, and
the importance of settings. Of another folder of runs: a table with the settings in which they differ, accuracy against
cost, and for a grid (snnlab train -m) against the swept settings. A click sorts a table. The path is printed; the
default FILE is report.html in the folder.
--figures also writes each plot of the page as a file, for a paper, into the folder figures next to the page.

  snnlab report outputs/NAME/TIME_SEED
  snnlab report outputs/suite_NAME --figures pdf
  snnlab report outputs --out all.html
"""
FORMS = ("pdf", "svg", "png")


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    options, positional = split_options("report", arguments)
    if len(positional) != 1:
        raise ConfigError("report", f"takes one folder, of a run or of runs, got {len(positional)}")
    folder, form = Path(positional[0]).expanduser(), options.get("--figures")
    if not folder.is_dir():
        raise RunFolderError("report", f"there is no folder {folder}")
    if form is not None and form not in FORMS:
        raise ConfigError("report", f"--figures must be one of {join_names(FORMS)}, got {form}")

    print(write_report(folder, Path(options["--out"]).expanduser() if "--out" in options else None, form))
    return 0


def write_report(folder: Path, out: Path | None = None, figures: str | None = None) -> Path:
    """Write the HTML page of a folder, and return its path.

    Args:
        folder: Of a run, a search, a suite, or of runs.
        out: The file; None: `report.html` in the folder.
        figures: The format in which plots are written as files too; their paths are printed. None: no files.

    Raises:
        SnnlabError: if there is nothing in it to show, or the file cannot be written.
    """
    from snnlab.session.reports import build_page  # brings Lightning

    path = out or folder / "report.html"
    page = build_page(folder, figures)
    text = page.html()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if figures is not None:
            print(*page.write_figures(path.parent / "figures", figures), sep="\n")
        write_text(path, printable(text, "\n\t"))
    except OSError as error:
        raise unwritable(path, error) from error
    return path
