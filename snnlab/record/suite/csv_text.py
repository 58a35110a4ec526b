"""A table as CSV: a line for each arm on each dataset, and for each published figure; accuracies in 0..1."""

from __future__ import annotations

import csv
import io
from typing import Any

from snnlab.printable import cell
from snnlab.record.suite.columns import COLUMNS
from snnlab.record.suite.published import Published
from snnlab.record.suite.rows import Row
from snnlab.record.suite.table import Part, Table

_FIRST = ("dataset", "rank", "arm", "role", "seeds", "asked", "failed")
_LAST = ("flags", "note")


def csv_text(table: Table) -> str:
    """Return the text of `table.csv`."""
    rows = [line for part in table.parts for line in _lines(part)]
    known = dict.fromkeys(key for line in rows for key in line)
    head = [*_FIRST, *(key for key in known if key not in (*_FIRST, *_LAST)), *_LAST]
    text = io.StringIO()
    writer = csv.DictWriter(text, head, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _lines(part: Part) -> list[dict[str, Any]]:
    return [_of_row(part, row) for row in part.rows] + [_of_published(part, one) for one in part.published]


def _of_row(part: Part, row: Row) -> dict[str, Any]:
    line: dict[str, Any] = {
        "dataset": row.dataset,
        "rank": part.rank(row),
        "arm": row.arm,
        "role": row.role,
        "seeds": " ".join(map(str, row.seeds)),
        "asked": row.asked,
        "failed": row.failed,
        "flags": "; ".join(row.flags),
        "note": row.note or "",
    }
    for column in COLUMNS:
        value = row.values.get(column.of)
        if value is None:
            continue
        if column.key.endswith("_interval"):
            line[f"{column.of}_low"], line[f"{column.of}_high"] = _number(value.low), _number(value.high)
        else:
            line[column.of], line[f"{column.of}_sd"] = _number(value.mean), _number(value.sd)
    return line


def _of_published(part: Part, one: Published) -> dict[str, Any]:
    return {
        "dataset": part.dataset,
        "arm": one.name,
        "role": "published",
        "test_accuracy": _number(one.accuracy),
        "params": _number(one.params),
        "flags": f"not ranked; epoch chosen on {one.chosen_on}",
        "note": f"{one.architecture}, T = {one.steps}; {one.protocol}; {one.source or 'no source'}",
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
