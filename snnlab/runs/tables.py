r"""Tables of texts: on the console by rich, as CSV, and for Jinja2's templates.

Not by pandas' `to_latex` and `to_markdown` (pandas 3.0, 85 MB): a row that begins with `[lif]` becomes an argument of
the `\\` above it, `≈`, `±` and `<` stay as they are, and the cell `x|y` is two of Markdown's.
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

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable

from snnlab.console import table_console
from snnlab.printable import cell


def describe(values: Mapping[str, Any]) -> str:
    """Return what was proposed."""
    return "  ".join(f"{name}={figure(value)}" for name, value in values.items())


def figure(value: Any) -> str:
    """Return a value, a number with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def span(seconds: float) -> str:
    """Return a time: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def shown(path: Path) -> str:
    """Return a path as seen from the working folder, where it lies in that."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


_NUMBER = re.compile(r"(?P<digits>-?\d[\d,]*(\.\d+)?)( (?P<unit>[kMG])\b)?")
_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_NAMES = ("backslash", "asciitilde", "asciicircum", "less", "greater", "bar")
_SIGNS = str.maketrans(
    {sign: f"\\{sign}" for sign in "{}$&#%_"}
    | {sign: f"\\text{name}{{}}" for sign, name in zip("\\~^<>|", _NAMES, strict=True)}
    | {
        sign: f"$\\{name}$"
        for sign, name in zip("±≈µ×→†", ("pm", "approx", "mu", "times", "to", "dagger"), strict=True)
    }
    | {"[": "{[}", "]": "{]}", '"': "''"}
)


def render(template: str, **values: Any) -> str:
    """Return a template with its values.

    Args:
        template: A file in `templates`; its ending says in which form values are written.
        values: What it names.
    """
    return _environment(template.rpartition(".")[2]).get_template(template).render(values)


def latex(text: object) -> str:
    """Return a text of which LaTeX takes no letter for a command."""
    return " ".join(str(text).split()).translate(_SIGNS)


def markdown(text: object) -> str:
    """Return a text of which Markdown takes no letter for a sign of its own."""
    return " ".join(re.sub(r"([\\`*_|<#\[\]])", r"\\\1", str(text)).split())


@cache
def _environment(form: str) -> Environment:
    options: dict[str, Any] = {"autoescape": True}
    if form != "html":
        options = {"finalize": {"md": markdown, "tex": latex}[form]}
    if form == "tex":  # braces are LaTeX's own
        names = ("block_start_string", "block_end_string", "variable_start_string", "variable_end_string")
        options |= dict(zip(names, ("<%", "%>", "<<", ">>"), strict=True))
    options |= {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    made = Environment(loader=PackageLoader("snnlab.runs"), undefined=StrictUndefined, **options)
    made.filters["sorted_by"] = _sorted_by
    return made


def _sorted_by(text: object) -> float | None:
    """Return what a cell is sorted by, where that is not what it begins with: `12,000` and `3.15 M`."""
    found = _NUMBER.match(str(text))
    if found is None or not (found["unit"] or "," in found["digits"]):
        return None
    return float(found["digits"].replace(",", "")) * _UNITS[found["unit"] or ""]


# Enough for a sentence in a column.
_SENTENCE = 24
# What a column takes beside its text, a space at each side and one between columns; and the table's edge.
_BESIDE, _EDGE = 3, 1


@dataclass(frozen=True)
class Table:
    """Texts in rows and columns.

    Attributes:
        head: What stands above each column; nothing is shown where all are empty.
        rows: The texts; empty where there is nothing.
        title: What stands above.
        words: Which columns are words, the others being figures; those until the first of them name a row.
        sentences: Which of these need room for a sentence.
        faint: Which rows are not to be held against the others.
        dim: Which columns are not to choose by.
        sum: Whether the last row is that of all others.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    words: Collection[int] = (0,)
    sentences: Collection[int] = ()
    faint: Collection[int] = ()
    dim: Collection[int] = ()
    sum: bool = False

    def print(self, width: int | None = None) -> None:
        """Print the table to stdout, in as many pieces as its columns need; nothing where it has no rows.

        Args:
            width: Of the console, characters, whatever stdout is.
        """
        console = table_console(width)
        for piece, widths in self.pieces(console.width) if self.rows else ():
            console.print(piece.rich(widths))

    def text(self, width: int = 80) -> str:
        """Return the table as lines of text; nothing stands behind them.

        Args:
            width: Characters.
        """
        file = io.StringIO()
        Console(file=file, width=width, markup=False, highlight=False).print(self.rich())
        return "\n".join(line.rstrip() for line in file.getvalue().splitlines())

    def rich(self, widths: Sequence[int | None] | None = None) -> RichTable:
        """Return the table for rich, its columns as wide as is said."""
        made = RichTable(
            title=self.title or None, title_justify="left", box=box.SIMPLE_HEAD, show_header=any(self.head)
        )
        for place, (head, width) in enumerate(zip(self.head, widths or [None] * len(self.head), strict=True)):
            justify, style = "left" if place in self.words else "right", "dim" if place in self.dim else None
            made.add_column(head, justify=justify, overflow="fold", width=width, style=style)
        for place, row in enumerate(self.rows):
            if self.sum and place == len(self.rows) - 1:
                made.add_section()
            made.add_row(*row, style="dim" if place in self.faint else None)
        return made

    def pieces(self, width: int) -> list[tuple[Table, list[int]]]:
        """Return the table in pieces with their columns' widths; what names a row is in all of them.

        rich makes the widest columns narrow first, and breaks figures.

        Args:
            width: Of the console, characters.
        """
        texts = [[str(text) for text in column] for column in zip(self.head, *self.rows, strict=True)]
        least = [self._least(place, column, width) for place, column in enumerate(texts)]
        wanted = [max(map(cell_len, column)) for column in texts]
        names = list(range(min(self.words, default=0) + 1))
        found = [names]
        for place in range(len(names), len(self.head)):
            if _taken([least[one] for one in [*found[-1], place]]) > width and found[-1] != names:
                found.append(names)
            found[-1] = [*found[-1], place]
        return [
            (replace(self.only(columns), title="" if number else self.title), _spread(columns, least, wanted, width))
            for number, columns in enumerate(found)
        ]

    def only(self, columns: Sequence[int]) -> Table:
        """Return some of the columns, in their order."""
        return replace(
            self,
            head=[self.head[place] for place in columns],
            rows=[[row[place] for place in columns] for row in self.rows],
            **{
                kind: [number for number, place in enumerate(columns) if place in getattr(self, kind)]
                for kind in ("words", "sentences", "dim")
            },
        )

    def _least(self, place: int, texts: Sequence[str], width: int) -> int:
        """Return how narrow a column may be: no word and no figure is broken, but words that take a third of all."""
        words = place in self.words
        parts = [part for text in texts[1:] for part in (text.split() if words else [text])]
        longest = max(map(cell_len, parts), default=1)
        if words:
            sentence = min(_SENTENCE, max(map(cell_len, texts))) if place in self.sentences else 0
            longest = min(max(longest, sentence), width // 3)
        return max(longest, 1, *map(cell_len, texts[0].replace(" /", "_/").split()))


def csv_text(head: Sequence[str], rows: Iterable[Sequence[Any] | Mapping[str, Any]]) -> str:
    """Return rows as CSV; what a spreadsheet would compute gets an apostrophe in front.

    Args:
        head: Names of the columns.
        rows: Values in their order, or by name.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([cell(name) for name in head])
    for row in rows:
        values = [row.get(name, "") for name in head] if isinstance(row, Mapping) else row
        writer.writerow([cell(value) for value in values])
    return text.getvalue()


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


def metric_text(name: str, value: object) -> str:
    """Return a figure: an accuracy in percent, anything else with four digits; nothing where there is none.

    Args:
        name: What it is, such as `val/accuracy`.
    """
    if not isinstance(value, int | float):
        return ""
    if name.rpartition("/")[2] == "accuracy":
        return f"{value:.2%}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def mean_sd_text(name: str, values: Sequence[float]) -> str:
    """Return the mean of several runs' figures, with the standard deviation where there are several."""
    if not values:
        return ""
    spread = f" ± {_sd_text(name, stdev(values))}" if len(values) > 1 else ""
    return f"{metric_text(name, fmean(values))}{spread}"


def _sd_text(name: str, value: float) -> str:
    plain = name.rpartition("/")[2] != "accuracy" and value < 1000
    return f"{value:.2g}" if plain and value < 100 else f"{value:.0f}" if plain else metric_text(name, value)
