"""A table on the console, with its protocol."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table as RichTable

from snnlab.console import table_console
from snnlab.record.suite.sheets import Sheet, control_line, remarks, sheets
from snnlab.record.suite.table import Table

# Enough for a sentence in a column.
_WORDS = 24
# What a column takes beside its text: a space at each side, and one between columns; and the table's edge.
_BESIDE, _EDGE = 3, 1


def print_on_console(table: Table) -> None:
    """Print a table to stdout."""
    console = table_console()
    for part in table.parts:
        for sheet in sheets(part):
            for piece, widths in pieces(sheet, console.width):
                console.print(_rich(piece, widths))
        for said in remarks(part):
            console.print(said, soft_wrap=True)
        protocol = RichTable(title=f"{part.dataset}: protocol", title_justify="left", box=None, show_header=False)
        for clause in part.protocol:
            protocol.add_row(clause.about, clause.said)
        console.print(protocol)
    lines = [f"control {control_line(one)}" for one in table.controls]
    for line in [*lines, *table.problems]:
        console.print(line, soft_wrap=True)


def pieces(sheet: Sheet, width: int) -> list[tuple[Sheet, list[int]]]:
    """Return a sheet in as many pieces as its columns need, each with the columns' widths; names are in all of them.

    Args:
        sheet: The sheet.
        width: Of the console, characters.
    """
    least, wanted = _least(sheet, width), _wanted(sheet)
    names = list(range(sheet.words[0] + 1))
    found = [names]
    for place in range(len(names), len(sheet.head)):
        if _taken([least[one] for one in [*found[-1], place]]) > width and found[-1] != names:
            found.append(names)
        found[-1] = [*found[-1], place]
    return [
        (_piece(sheet, columns, first=not number), _spread(columns, least, wanted, width))
        for number, columns in enumerate(found)
    ]


def _least(sheet: Sheet, width: int) -> list[int]:
    """Return how narrow the columns may be: no word and no figure is broken, but for words that take a third of all."""
    least = []
    for place, texts in enumerate(_columns(sheet)):
        head = max(map(len, texts[0].replace(" /", "_/").split()), default=1)
        of_words = place in sheet.words
        longest = max((len(part) for text in texts[1:] for part in (text.split() if of_words else [text])), default=1)
        if of_words:
            sentence = 0 if place == sheet.words[0] else min(_WORDS, max(map(len, texts)))
            longest = min(max(longest, sentence), width // 3)
        least.append(max(head, longest, 1))
    return least


def _wanted(sheet: Sheet) -> list[int]:
    return [max(map(len, texts)) for texts in _columns(sheet)]


def _columns(sheet: Sheet) -> list[list[str]]:
    return [[str(text) for text in texts] for texts in zip(sheet.head, *sheet.rows, strict=True)]


def _taken(widths: Sequence[int]) -> int:
    return sum(widths) + _BESIDE * len(widths) + _EDGE


def _spread(columns: Sequence[int], least: Sequence[int], wanted: Sequence[int], width: int) -> list[int]:
    """Return the widths of columns: at least what they need, and of the rest the same for all that want more."""
    widths = {place: least[place] for place in columns}
    spare = max(width - _taken(list(widths.values())), 0)
    while spare and (narrow := [place for place in columns if widths[place] < wanted[place]]):
        for place in narrow[:spare]:
            widths[place] += 1
        spare -= len(narrow[:spare])
    return list(widths.values())


def _piece(sheet: Sheet, columns: Sequence[int], *, first: bool) -> Sheet:
    return Sheet(
        sheet.title if first else "",
        [sheet.head[place] for place in columns],
        [[row[place] for place in columns] for row in sheet.rows],
        [number for number, place in enumerate(columns) if place in sheet.words],
        sheet.faint,
    )


def _rich(sheet: Sheet, widths: Sequence[int]) -> RichTable:
    made = RichTable(title=sheet.title or None, title_justify="left", box=box.SIMPLE_HEAD)
    for place, head in enumerate(sheet.head):
        justify = "left" if place in sheet.words else "right"
        made.add_column(head, justify=justify, overflow="fold", width=widths[place])
    for place, row in enumerate(sheet.rows):
        made.add_row(*row, style="dim" if place in sheet.faint else None)
    return made
