"""A table's figures as texts in rows and columns, for every form that is read by people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from snnlab.errors import listing
from snnlab.record.suite.columns import COLUMNS, short_number
from snnlab.record.suite.rows import Row
from snnlab.record.suite.table import Part

TIED = "≈: cannot be told from the row above, or not with these seeds and recordings."
BEST_ON_TEST = (
    "best on test: the best of the epochs that were tested, chosen on the test recordings; it is no result, and not"
    " comparable with one."
)
# What a control came to; figures have no verdict.
VERDICTS: Mapping[object, str] = {True: "passed", False: "FAILED"}
# Rows of which each two neighbours have a sentence.
_FEW = 8
_TITLES = {
    "accuracy": "",
    "time": ": accuracy (%) if recordings ended earlier",
    "cost": ": cost",
    "operations": ": synaptic operations and energy",
}


class Sheet(NamedTuple):
    """Texts in rows and columns.

    Attributes:
        title: What stands above.
        head: What stands above each column.
        rows: The texts; empty where there is nothing.
        words: Which columns are words, and not figures.
        faint: Which rows are not to be held against the others.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Sequence[int]
    faint: Sequence[int] = ()


def sheets(part: Part) -> list[Sheet]:
    """Return a dataset's sheets: accuracy, cost, synaptic operations, and what others have published."""
    made = [_figures(part, about) for about in _TITLES]
    return [sheet for sheet in made if len(sheet.head) > 2] + ([_published(part)] if part.published else [])


def remarks(part: Part) -> list[str]:
    """Return what has to be said under a dataset's sheets."""
    said = [f"{row.arm}: {row.note}" for row in part.rows if row.note]
    if any(pair.told is False for pair in part.neighbours):
        said.append(TIED)
    if level := [pair.worse for pair in part.behind if pair.told is False]:
        said.append(f"Cannot be told from the best, {part.behind[0].better}: {listing(level)}.")
    # Of many arms the marks say as much as a sentence for each.
    said += [pair.said for pair in part.neighbours if len(part.rows) <= _FEW or pair.told]
    if any("best_test_accuracy" in row.values for row in part.rows):
        said.append(BEST_ON_TEST)
    return said


def control_line(control: dict[str, object]) -> str:
    """Return what a control came to, in a line."""
    verdict = VERDICTS.get(control.get("passed"), "")
    where = " ".join(str(control[key]) for key in ("dataset", "arm") if control.get(key))
    return f"{control.get('name')} ({where}): {f'{verdict}: ' if verdict else ''}{control.get('said')}"


def name_of(row: Row) -> str:
    """Return an arm's name, marked where it is a baseline."""
    return f"{row.arm} (baseline)" if row.role == "baseline" else row.arm


def _figures(part: Part, about: str) -> Sheet:
    columns = [c for c in COLUMNS if c.about == about]
    columns = [c for c in columns if any(c.of in row.values and c.text(row.values[c.of]) for row in part.rows)]
    accuracy = about == "accuracy"
    head = ["#", "arm", *(["runs"] if accuracy else []), *(c.heading for c in columns)]
    flagged = accuracy and any(row.flags for row in part.rows)
    rows = []
    for row in part.rows:
        texts = [c.text(row.values[c.of]) if c.of in row.values else "" for c in columns]
        runs = [f"{len(row.seeds)}/{row.asked}"] if accuracy else []
        rows.append([part.rank(row), name_of(row), *runs, *texts, *(["; ".join(row.flags)] if flagged else [])])
    words = [1, len(head)] if flagged else [1]
    return Sheet(part.dataset + _TITLES[about], [*head, *(["flags"] if flagged else [])], rows, words)


def _published(part: Part) -> Sheet:
    head = ["published", "accuracy (%)", "architecture", "T", "parameters", "protocol", "epoch chosen on", "source"]
    rows = [
        [
            one.name,
            f"{100 * one.accuracy:.1f}",
            one.architecture,
            str(one.steps),
            short_number(one.params),
            one.protocol,
            one.chosen_on,
            one.source or "",
        ]
        for one in part.published
    ]
    faint = [place for place, one in enumerate(part.published) if one.on_test]
    return Sheet(f"{part.dataset}: published by others, not ranked", head, rows, [0, 2, 5, 6, 7], faint)
