"""The tables of a folder, written beside what they were made from, or printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from snnlab.files import json_text, unwritable, write_text
from snnlab.record.suite.console_table import print_on_console
from snnlab.record.suite.csv_text import csv_text
from snnlab.record.suite.latex import latex
from snnlab.record.suite.markdown import markdown
from snnlab.record.suite.table import Table
from snnlab.record.suite.table import read_table as read_table

FORMS: Mapping[str, Callable[[Table], str]] = {
    "md": markdown,
    "csv": csv_text,
    "json": lambda table: json_text(table.record()),
    "tex": latex,
}


def write_tables(folder: Path, best_on_test: bool = False) -> list[Path]:
    """Write `table.md`, `table.csv`, `table.json` and `table.tex` into a folder; return where they are.

    Args:
        folder: A suite's folder, or a plain folder of runs.
        best_on_test: See `read_table`.

    Raises:
        RecordError: if there is nothing in it that can be read, or it cannot be written.
    """
    table = read_table(folder, best_on_test)
    paths = {form: folder / f"table.{form}" for form in FORMS}
    try:
        for form, path in paths.items():
            write_text(path, FORMS[form](table))
    except OSError as error:
        raise unwritable(folder, error) from error
    return list(paths.values())


def print_table(folder: Path, best_on_test: bool = False) -> None:
    """Print the table of a folder to stdout; see `write_tables`."""
    print_on_console(read_table(folder, best_on_test))
