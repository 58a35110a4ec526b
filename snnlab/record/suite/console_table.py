"""A table on the console, with its protocol."""

from __future__ import annotations

from rich import box
from rich.table import Table as RichTable

from snnlab.console import table_console
from snnlab.record.suite.sheets import Sheet, control_line, remarks, sheets
from snnlab.record.suite.table import Table


def print_on_console(table: Table) -> None:
    """Print a table to stdout."""
    console = table_console()
    for part in table.parts:
        for sheet in sheets(part):
            console.print(_rich(sheet))
        for said in remarks(part):
            console.print(said, soft_wrap=True)
        protocol = RichTable(title=f"{part.dataset}: protocol", title_justify="left", box=None, show_header=False)
        for clause in part.protocol:
            protocol.add_row(clause.about, clause.said)
        console.print(protocol)
    lines = [f"control {control_line(one)}" for one in table.controls]
    for line in [*lines, *table.problems]:
        console.print(line, soft_wrap=True)


def _rich(sheet: Sheet) -> RichTable:
    made = RichTable(title=sheet.title, title_justify="left", box=box.SIMPLE_HEAD)
    for place, head in enumerate(sheet.head):
        made.add_column(head, justify="left" if place in sheet.words else "right", overflow="fold")
    for place, row in enumerate(sheet.rows):
        made.add_row(*row, style="dim" if place in sheet.faint else None)
    return made
