"""`snnlab report`: one HTML page of a run, a search, a suite or a folder of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from snnlab.cli.command import command
from snnlab.errors import RunFolderError
from snnlab.files import unwritable, write_text
from snnlab.printable import printable


@command("report", section="use a run", page="runs")
def report(
    folder: Annotated[str, "folder"],
    *,
    out: Annotated[str | None, "file"] = None,
    figures: Literal["pdf", "svg", "png"] | None = None,
) -> None:
    """Write one HTML page of a run, or of a folder of runs; it needs no internet and no recordings.

    Of a run: result, learning curves, rates by layer, kernels and weights, accuracy by class and over time, early exit,
    the plots of the training, settings that differ from the defaults, origin, and commands to repeat it. Of a suite
    (snnlab bench): its tables with intervals and protocol, accuracy against cost, controls, and runs without a result.
    Of a search (snnlab sweep), finished or not: the winner and its test, trials, and the importance of settings. Of
    another folder of runs: a table with the settings in which they differ, accuracy against cost, and for a grid
    (snnlab train -m) against the swept settings. A click sorts a table. The path is printed.

    Args:
        folder: of a run, a search, a suite, or of runs
        out: the page; by default report.html in the folder
        figures: also write each plot of the page as a file, for a paper, into the folder figures next to the page

    Examples:
        snnlab report outputs/NAME/TIME_SEED
        snnlab report outputs/suite_NAME --figures pdf
        snnlab report outputs --out all.html
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise RunFolderError("report", f"there is no folder {path}")
    print(write_report(path, Path(out).expanduser() if out is not None else None, figures))


def write_report(folder: Path, out: Path | None = None, figures: str | None = None) -> Path:
    """Write the HTML page of a folder, and return its path.

    Args:
        folder: Of a run, a search, a suite, or of runs.
        out: The file; None: `report.html` in the folder.
        figures: The format in which plots are written as files too; their paths are printed. None: no files.
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
