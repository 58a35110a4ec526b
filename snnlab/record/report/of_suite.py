"""The page of a suite: its tables with their protocols, what accuracy costs, controls, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator

from snnlab.record.report.page import code, document, drawn, folded, note, pictures, section, subtitle, table
from snnlab.record.report.suite_costs import cost_pictures
from snnlab.record.suite.sheets import VERDICTS, Sheet, remarks, sheets
from snnlab.record.suite.table import Part, Table

_INTERVALS = (
    "A click on a column sorts by it. ± is the standard deviation over the seeds; the 95 % interval holds for new seeds"
    " and new test recordings. Every figure is of the epoch that was chosen on validation recordings."
)
_NUMBERS = (
    "Numbers are the places in the table; bars are 95 % intervals: of costs over the seeds, of accuracies also over"
    " recordings."
)


def suite_page(table_: Table, folder: str) -> str:
    """Return the page of a suite.

    Args:
        table_: All that its tables hold.
        folder: Where it lies, for commands.
    """
    sections = [
        *(section(part.dataset, *_part(part)) for part in table_.parts),
        section("Controls", table(("control", "dataset", "arm", "verdict", "what came out"), _controls(table_))),
        section("Runs without a result", table(("dataset", "arm", "seed", "status", "why"), _missing(table_))),
        section("Not shown", table(("",), ([problem] for problem in table_.problems))),
        section("Again", code("\n".join(_again(table_.command, folder)))),
    ]
    return document(table_.name, _summary(table_), sections)


def _summary(table_: Table) -> str:
    rows = [row for part in table_.parts for row in part.rows]
    asked, done = sum(row.asked for row in rows), sum(len(row.tested) for row in rows)
    arms = len({row.arm for row in rows})
    datasets = f"{len(table_.parts)} dataset{'s' if len(table_.parts) != 1 else ''}"
    return f"{datasets}, {arms} arms, {done} of {asked} runs with a result"


def _part(part: Part) -> Iterator[str]:
    """Yield a dataset's tables, what has to be said of them, the protocol, and the pictures."""
    for place, sheet in enumerate(sheets(part)):
        yield _sheet(sheet, part.dataset)
        if place == 0:
            yield note(_INTERVALS)
    pairs = [pair.said for pair in part.neighbours]
    yield from (note(text) for text in remarks(part) if text not in pairs)
    yield folded("Each row against the one below it", table(("",), ([said] for said in pairs))) if pairs else ""
    yield subtitle("Protocol")
    yield table(("", ""), ((clause.about, clause.said) for clause in part.protocol))
    shown = [(words, drawn(figure)) for words, figure in cost_pictures(part)]
    if shown:
        yield subtitle("What accuracy costs")
        yield pictures(shown)
        yield note(_NUMBERS)


def _sheet(sheet: Sheet, dataset: str) -> str:
    title = sheet.title.removeprefix(dataset).removeprefix(": ")
    above = subtitle(title[:1].upper() + title[1:]) if title else ""
    return above + table(sheet.head, sheet.rows, sorts=True, faint=sheet.faint, words=sheet.words)


def _controls(table_: Table) -> Iterator[tuple[str, ...]]:
    for one in table_.controls:
        where = (str(one.get(key) or "") for key in ("dataset", "arm"))
        yield str(one.get("name")), *where, VERDICTS.get(one.get("passed"), "-"), str(one.get("said") or "")


def _missing(table_: Table) -> Iterator[tuple[object, ...]]:
    for part in table_.parts:
        for row in part.rows:
            for cell in row.cells:
                if not cell.tested:
                    yield part.dataset, row.arm, cell.seed, cell.status, cell.error or "-"


def _again(command: str | None, folder: str) -> Iterator[str]:
    if command:
        yield command
    yield f"snnlab bench table {folder}"
    yield f"snnlab report {folder}"
