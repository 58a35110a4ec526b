"""The page itself: sections of tables and pictures in one HTML file, for a screen and for paper."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Collection, Iterable, Sequence
from html import escape

from matplotlib.figure import Figure

from snnlab.record.pictures.style import default_style

_NUMBER = re.compile(r"(?P<digits>-?\d[\d,]*(\.\d+)?)( (?P<unit>[kMG])\b)?")
_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fff; max-width: 70rem; margin: 2rem auto;
  padding: 0 1.2rem; }
h1 { font-size: 1.5rem; margin: 0 0 .2rem; } h2 { font-size: 1.12rem; margin: 2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; font-weight: 600; }
table { border-collapse: collapse; margin: .4rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .22rem .8rem .22rem 0; text-align: left; vertical-align: top; }
th { font-weight: 600; border-bottom: 1px solid #999; } td { border-bottom: 1px solid #e4e4e4; }
th.figure, td.figure { text-align: right; } td.figure { white-space: nowrap; } th { vertical-align: bottom; }
tr.faint td { color: #777; font-style: italic; }
table.sorts th { cursor: pointer; } table.sorts th[aria-sort=ascending]::after { content: " \\25b2"; }
table.sorts th[aria-sort=descending]::after { content: " \\25bc"; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
.pictures figure { margin: 0; width: 21.5rem; max-width: 100%; }
.pictures img { width: 100%; height: auto; }
.large figure { width: auto; } .large img { width: auto; max-width: 100%; max-height: 26rem; }
figcaption { font-size: .85rem; color: #555; }
code, pre { font: 13px/1.4 ui-monospace, monospace; } pre { background: #f5f5f5; padding: .7rem; overflow-x: auto; }
.note { color: #555; } .wide { overflow-x: auto; }
@media print { body { margin: 0; max-width: none; font-size: 11px; } h2, figure, tr { break-inside: avoid; }
  .pictures figure { width: 17rem; } .large figure { width: auto; } .wide { overflow: visible; }
  details > * { display: block; } pre { white-space: pre-wrap; } }
"""
# A click on a column's head sorts by it: as numbers where both cells begin with one, else as text.
_SORTING = """
for (const table of document.querySelectorAll("table.sorts"))
  for (const [column, head] of [...table.tHead.rows[0].cells].entries())
    head.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const compare = (a, b) => {
        const [x, y] = [parseFloat(a), parseFloat(b)];
        return isNaN(x) || isNaN(y) ? (isNaN(x) - isNaN(y)) || a.localeCompare(b) : x - y;
      };
      const rows = [...table.tBodies[0].rows].sort((a, b) => compare(value(a), value(b)) * (up ? 1 : -1));
      table.tBodies[0].append(...rows);
    });
"""


def document(title: str, subtitle: str, sections: Iterable[str]) -> str:
    """Return a whole page.

    Args:
        title: Its name.
        subtitle: A line below.
        sections: HTML.
    """
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_STYLE}</style></head>\n'
        f'<body><h1>{escape(title)}</h1>\n<p class="note">{escape(subtitle)}</p>\n'
        + "\n".join(section for section in sections if section)
        + f"\n<script>{_SORTING}</script></body></html>\n"
    )


def section(title: str, *content: str) -> str:
    """Return a section with a title; nothing where it would be empty."""
    inside = "\n".join(part for part in content if part)
    return f"<section><h2>{escape(title)}</h2>\n{inside}\n</section>" if inside else ""


def folded(title: str, content: str) -> str:
    """Return what is opened by a click, and printed open."""
    return f"<details><summary>{escape(title)}</summary>\n{content}\n</details>"


def subtitle(text: str) -> str:
    """Return a title within a section."""
    return f"<h3>{escape(text)}</h3>"


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    sorts: bool = False,
    faint: Collection[int] = (),
    words: Collection[int] | None = None,
) -> str:
    """Return a table; nothing where it has no rows.

    Args:
        head: Names of the columns; none are shown where all are empty.
        rows: Cells, shown as text.
        sorts: Whether a click on a column's name sorts by it.
        faint: Which rows are not to be held against the others.
        words: Which columns are words, the others being figures; None: all are.
    """
    figures = () if words is None else [place for place in range(len(head)) if place not in words]
    body = "\n".join(
        f"<tr{' class=faint' if number in faint else ''}>{_cells(row, sorts, figures)}</tr>"
        for number, row in enumerate(rows)
    )
    if not body:
        return ""
    marks = [' class="figure"' if place in figures else "" for place in range(len(head))]
    heads = "".join(f"<th{mark}>{escape(name)}</th>" for mark, name in zip(marks, head, strict=True))
    names = f"<thead><tr>{heads}</tr></thead>" if any(head) else ""
    kind = ' class="sorts"' if sorts else ""
    return f'<div class="wide"><table{kind}>{names}<tbody>\n{body}\n</tbody></table></div>'


def _cells(row: Sequence[object], sorts: bool, figures: Collection[int]) -> str:
    return "".join(
        f"<td{' class=figure' if place in figures else ''}{_sorted_by(text) if sorts else ''}>{escape(text)}</td>"
        for place, text in enumerate(map(str, row))
    )


def _sorted_by(text: str) -> str:
    """Return what a cell is sorted by, where it is not what it begins with: `12,000` and `3.15 M`."""
    found = _NUMBER.match(text)
    if found is None or not (found["unit"] or "," in found["digits"]):
        return ""
    return f' data-value="{float(found["digits"].replace(",", "")) * _UNITS[found["unit"] or ""]:g}"'


def code(text: str) -> str:
    """Return lines to be copied."""
    return f"<pre>{escape(text)}</pre>"


def note(text: str) -> str:
    """Return a remark."""
    return f'<p class="note">{escape(text)}</p>'


def pictures(images: Iterable[tuple[str, str]], *, large: bool = False) -> str:
    """Return pictures beside each other.

    Args:
        images: Of each what it shows, for who cannot see it too, and its address, see `drawn` and `png`.
        large: Whether each needs the page's width.
    """
    shown = "\n".join(
        f'<figure><img src="{address}" alt="{escape(name)}"><figcaption>{escape(name)}</figcaption></figure>'
        for name, address in images
    )
    return f'<div class="pictures{" large" if large else ""}">{shown}</div>' if shown else ""


def drawn(figure: Figure) -> str:
    """Return a figure's address: the picture itself, as lines that stay sharp on paper."""
    content = io.BytesIO()
    with default_style():
        figure.savefig(content, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(content.getvalue()).decode()}"


def png(content: bytes) -> str:
    """Return a PNG's address: the picture itself."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
