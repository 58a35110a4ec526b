r"""Tables of texts: on the console by rich, as CSV, and in Jinja2's templates.

pandas' `to_latex` and `to_markdown` (pandas 3.0, 85 MB) are not used: a row that begins with `[lif]` becomes an
argument of the `\\` above it, `≈`, `±` and `<` are not escaped, and Markdown splits the cell `x|y` into two.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable

from snnlab.console import table_console
from snnlab.features import folders_of_features
from snnlab.printable import csv_cell


def format_settings(values: Mapping[str, Any]) -> str:
    """Return settings as text: `NAME=VALUE  NAME=VALUE`."""
    return "  ".join(f"{name}={format_value(value)}" for name, value in values.items())


def format_value(value: Any) -> str:
    """Return a value as text, a float with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def short_number(value: float) -> str:
    """Return a number with three digits, in thousands, millions or billions: `3.15 M`."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def format_duration(seconds: float) -> str:
    """Return a duration as text: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def format_path(path: Path) -> str:
    """Return a path as text, relative to the working folder if it is in it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


_NUMBER = re.compile(r"(?P<digits>-?\d[\d,]*(\.\d+)?)( (?P<unit>[kMG])\b)?")
_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_LATEX_NAMES = ("backslash", "asciitilde", "asciicircum", "less", "greater", "bar")
_LATEX_ESCAPES = str.maketrans(
    {sign: f"\\{sign}" for sign in "{}$&#%_"}
    | {sign: f"\\text{name}{{}}" for sign, name in zip("\\~^<>|", _LATEX_NAMES, strict=True)}
    | {
        sign: f"$\\{name}$"
        for sign, name in zip("±≈µ×→†", ("pm", "approx", "mu", "times", "to", "dagger"), strict=True)
    }
    | {"[": "{[}", "]": "{]}", '"': "''"}
)


def render(template: str, **values: Any) -> str:
    """Return a template filled with values.

    Args:
        template: A file in `templates`, or in that folder of a feature; its ending sets how values are escaped.
        values: The template's variables.
    """
    return _template_environment(template.rpartition(".")[2]).get_template(template).render(values)


def latex(text: object) -> str:
    """Return a text escaped for LaTeX."""
    return " ".join(str(text).split()).translate(_LATEX_ESCAPES)


def markdown(text: object) -> str:
    """Return a text escaped for Markdown."""
    return " ".join(re.sub(r"([\\`*_|<#\[\]])", r"\\\1", str(text)).split())


_TEMPLATES = Path(__file__).with_name("templates")


@cache
def _template_environment(file_format: str) -> Environment:
    options: dict[str, Any] = {"autoescape": True}
    if file_format != "html":
        options = {"finalize": {"md": markdown, "tex": latex}[file_format]}
    if file_format == "tex":  # braces belong to LaTeX
        names = ("block_start_string", "block_end_string", "variable_start_string", "variable_end_string")
        options |= dict(zip(names, ("<%", "%>", "<<", ">>"), strict=True))
    options |= {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    loader = FileSystemLoader([_TEMPLATES, *folders_of_features("templates")])
    result = Environment(loader=loader, undefined=StrictUndefined, **options)
    result.filters["sorted_by"] = _sorted_by
    return result


def _sorted_by(text: object) -> float | None:
    """Return the number to sort a cell by if it is not the number at its start: `12,000` and `3.15 M`."""
    found = _NUMBER.match(str(text))
    if found is None or not (found["unit"] or "," in found["digits"]):
        return None
    return float(found["digits"].replace(",", "")) * _UNITS[found["unit"] or ""]


# The width of a column with sentences, characters.
_SENTENCE_WIDTH = 24
# The width of a column in addition to its text (a space on each side and one between columns), and the table's edge.
_PADDING, _EDGE = 3, 1


@dataclass(frozen=True)
class Table:
    """Texts in rows and columns.

    Attributes:
        head: Headers of the columns; not shown if all are empty.
        rows: The texts; empty for a missing value.
        title: The line above the table.
        text_columns: Columns of text, the others being numbers; the columns up to the first of them name a row.
        sentences: Columns of text that need the width of a sentence.
        faint: Rows that are not comparable with the others.
        dim: Columns not to choose by.
        sum: Whether the last row is the sum of the others.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    text_columns: Collection[int] = (0,)
    sentences: Collection[int] = ()
    faint: Collection[int] = ()
    dim: Collection[int] = ()
    sum: bool = False

    def print(self, width: int | None = None) -> None:
        """Print the table to stdout, in several pieces if it is too wide; print nothing if it has no rows.

        Args:
            width: Width of the console, characters; None: that of stdout.
        """
        console = table_console(width)
        for sub_table, widths in self.sub_tables(console.width) if self.rows else ():
            console.print(sub_table.rich(widths))

    def text(self, width: int = 80) -> str:
        """Return the table as lines of text without trailing spaces.

        Args:
            width: Characters.
        """
        file = io.StringIO()
        Console(file=file, width=width, markup=False, highlight=False).print(self.rich())
        return "\n".join(line.rstrip() for line in file.getvalue().splitlines())

    def rich(self, widths: Sequence[int | None] | None = None) -> RichTable:
        """Return the table for rich with the given widths of its columns."""
        result = RichTable(
            title=self.title or None, title_justify="left", box=box.SIMPLE_HEAD, show_header=any(self.head)
        )
        for index, (head, width) in enumerate(zip(self.head, widths or [None] * len(self.head), strict=True)):
            justify, style = "left" if index in self.text_columns else "right", "dim" if index in self.dim else None
            result.add_column(head, justify=justify, overflow="fold", width=width, style=style)
        for index, row in enumerate(self.rows):
            if self.sum and index == len(self.rows) - 1:
                result.add_section()
            result.add_row(*row, style="dim" if index in self.faint else None)
        return result

    def sub_tables(self, width: int) -> list[tuple[Table, list[int]]]:
        """Return the table in pieces with the widths of their columns; the columns that name a row are in all pieces.

        rich itself would make the widest columns narrow first, and wrap numbers.

        Args:
            width: Width of the console, characters.
        """
        texts = [[str(text) for text in column] for column in zip(self.head, *self.rows, strict=True)]
        least_widths = [self._least_width(index, column, width) for index, column in enumerate(texts)]
        full_widths = [max(map(cell_len, column)) for column in texts]
        names = list(range(min(self.text_columns, default=0) + 1))
        found = [names]
        for index in range(len(names), len(self.head)):
            if _total_width([least_widths[one] for one in [*found[-1], index]]) > width and found[-1] != names:
                found.append(names)
            found[-1] = [*found[-1], index]
        return [
            (
                replace(self.only(columns), title="" if number else self.title),
                _share_width(columns, least_widths, full_widths, width),
            )
            for number, columns in enumerate(found)
        ]

    def only(self, columns: Sequence[int]) -> Table:
        """Return the table with only the given columns."""
        return replace(
            self,
            head=[self.head[index] for index in columns],
            rows=[[row[index] for index in columns] for row in self.rows],
            **{
                kind: [number for number, index in enumerate(columns) if index in getattr(self, kind)]
                for kind in ("text_columns", "sentences", "dim")
            },
        )

    def _least_width(self, index: int, texts: Sequence[str], width: int) -> int:
        """Return the smallest width of a column: no number or word is wrapped, except in text wider than a third."""
        is_text = index in self.text_columns
        parts = [part for text in texts[1:] for part in (text.split() if is_text else [text])]
        longest = max(map(cell_len, parts), default=1)
        if is_text:
            sentence = min(_SENTENCE_WIDTH, max(map(cell_len, texts))) if index in self.sentences else 0
            longest = min(max(longest, sentence), width // 3)
        return max(longest, 1, *map(cell_len, texts[0].replace(" /", "_/").split()))


def csv_text(head: Sequence[str], rows: Iterable[Sequence[Any] | Mapping[str, Any]]) -> str:
    """Return rows as CSV; a cell that a spreadsheet would evaluate gets an apostrophe as prefix.

    Args:
        head: Names of the columns.
        rows: Values in the order of the columns, or by name.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([csv_cell(name) for name in head])
    for row in rows:
        values = [row.get(name, "") for name in head] if isinstance(row, Mapping) else row
        writer.writerow([csv_cell(value) for value in values])
    return text.getvalue()


def _total_width(widths: Sequence[int]) -> int:
    return sum(widths) + _PADDING * len(widths) + _EDGE


def _share_width(
    columns: Sequence[int], least_widths: Sequence[int], full_widths: Sequence[int], width: int
) -> list[int]:
    """Return the widths of columns: the least widths, plus the same share of the remaining width for all wider ones."""
    widths = {index: least_widths[index] for index in columns}
    spare = max(width - _total_width(list(widths.values())), 0)
    while spare and (narrow := [index for index in columns if widths[index] < full_widths[index]]):
        for index in narrow[:spare]:
            widths[index] += 1
        spare -= len(narrow[:spare])
    return list(widths.values())


def metric_text(name: str, value: object) -> str:
    """Return a metric as text: an accuracy in percent, others with four digits; empty if it is no number.

    Args:
        name: Name of the metric, such as `val/accuracy`.
    """
    if not isinstance(value, int | float):
        return ""
    if name.rpartition("/")[2] == "accuracy":
        return f"{value:.2%}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def mean_sd_text(name: str, values: Sequence[float]) -> str:
    """Return the mean of several runs' metric as text, with the standard deviation if there are several runs."""
    if not values:
        return ""
    deviation = f" ± {_sd_text(name, stdev(values))}" if len(values) > 1 else ""
    return f"{metric_text(name, fmean(values))}{deviation}"


def _sd_text(name: str, value: float) -> str:
    plain = name.rpartition("/")[2] != "accuracy" and value < 1000
    return f"{value:.2g}" if plain and value < 100 else f"{value:.0f}" if plain else metric_text(name, value)
