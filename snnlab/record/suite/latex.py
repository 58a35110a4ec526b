"""A table in LaTeX, for the packages booktabs and xcolor, with its protocol."""

from __future__ import annotations

from collections.abc import Sequence

from snnlab.record.suite.sheets import Sheet, control_line, remarks, sheets
from snnlab.record.suite.table import Table

_SIGNS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "≈": r"$\approx$",
    "µ": r"$\mu$",
    "×": r"$\times$",
    "→": r"$\to$",
    "[": "{[}",  # at the beginning of a line of a table, \\ would take it for its own
    "]": "{]}",
    '"': "''",
}


def latex(table: Table) -> str:
    r"""Return the text of `table.tex`, to be \input into a document."""
    lines = [r"% \usepackage{booktabs,xcolor}, in UTF-8", f"% {' '.join(table.name.split())}"]
    for part in table.parts:
        for sheet in sheets(part):
            lines += _sheet(sheet)
        said = [*remarks(part), *(f"{clause.about}: {clause.said}" for clause in part.protocol)]
        lines += _items([f"{part.dataset}, protocol", *said])
    for title, said in (("Controls", [control_line(one) for one in table.controls]), ("Not shown", table.problems)):
        if said:
            lines += _items([title, *said])
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Return a text of which no letter is taken for a command."""
    return "".join(_SIGNS.get(letter, letter) for letter in " ".join(text.split()))


def _sheet(sheet: Sheet) -> list[str]:
    columns = "".join("l" if place in sheet.words else "r" for place in range(len(sheet.head)))
    return [
        r"\begin{table}",
        rf"\caption{{{escaped(sheet.title)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _line(sheet.head),
        r"\midrule",
        *(_line(row, faint=place in sheet.faint) for place, row in enumerate(sheet.rows)),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        "",
    ]


def _line(texts: Sequence[str], *, faint: bool = False) -> str:
    shown = (rf"\textcolor{{gray}}{{{escaped(text)}}}" if faint and text else escaped(text) for text in texts)
    return " & ".join(shown) + r" \\"


def _items(lines: Sequence[str]) -> list[str]:
    title, *said = lines
    items = [rf"\item {escaped(line)}" for line in said]
    return [rf"\paragraph{{{escaped(title)}}}", r"\begin{itemize}", *items, r"\end{itemize}", ""] if said else []
