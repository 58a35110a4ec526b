"""A table in Markdown, with its protocol."""

from __future__ import annotations

from collections.abc import Sequence

from snnlab.record.suite.sheets import Sheet, control_line, remarks, sheets
from snnlab.record.suite.table import Table


def markdown(table: Table) -> str:
    """Return the text of `table.md`."""
    lines = [f"# {_plain(table.name)}", ""]
    for part in table.parts:
        for sheet in sheets(part):
            lines += [f"## {_plain(sheet.title)}", "", *_sheet(sheet), ""]
        lines += [f"- {_plain(said)}" for said in remarks(part)]
        lines += ["", f"### {_plain(part.dataset)}: protocol", ""]
        lines += [f"- **{clause.about}**: {_plain(clause.said)}" for clause in part.protocol]
        lines.append("")
    for title, said in (("Controls", [control_line(one) for one in table.controls]), ("Not shown", table.problems)):
        if said:
            lines += [f"## {title}", "", *(f"- {_plain(line)}" for line in said), ""]
    return "\n".join(lines)


def _sheet(sheet: Sheet) -> list[str]:
    rule = [":--" if place in sheet.words else "--:" for place in range(len(sheet.head))]
    body = [_line(row, faint=place in sheet.faint) for place, row in enumerate(sheet.rows)]
    return [_line(sheet.head), _line(rule, escaped=False), *body]


def _line(texts: Sequence[str], *, faint: bool = False, escaped: bool = True) -> str:
    shown = [_plain(text) if escaped else text for text in texts]
    return f"| {' | '.join(f'*{text}*' if faint and text else text for text in shown)} |"


def _plain(text: str) -> str:
    """Return a text of which no letter is taken for a sign of Markdown's."""
    for sign in ("\\", "`", "*", "_", "|", "<", "#", "[", "]"):
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
