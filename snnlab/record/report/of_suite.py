"""The page of a suite: its tables with their protocols, what accuracy costs, controls, and what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from snnlab.record.report.page import Page, Picture
from snnlab.record.report.scores import Point, draw_costs
from snnlab.record.suite.figures import Row, Spread
from snnlab.record.suite.table import Part, SuiteTable
from snnlab.record.suite.tables import VERDICTS, remarks, tables


def suite_page(suite: SuiteTable, folder: str) -> Page:
    """Return the page of a suite.

    Args:
        folder: Where it lies, for commands.
    """
    rows = [row for part in suite.parts for row in part.rows]
    asked, done = sum(row.asked for row in rows), sum(len(row.tested) for row in rows)
    datasets = f"{len(suite.parts)} dataset{'s' if len(suite.parts) != 1 else ''}"
    subtitle = f"{datasets}, {len({row.arm for row in rows})} arms, {done} of {asked} runs with a result"
    controls = [
        (
            *(one.get("name"), one.get("dataset") or "", one.get("arm") or ""),
            *(VERDICTS.get(one.get("passed"), "-"), one.get("said") or ""),
        )
        for one in suite.controls
    ]
    missing = [
        (row.dataset, row.arm, cell.seed, cell.status, cell.error or "-")
        for row in rows
        for cell in row.cells
        if not cell.tested
    ]
    values = {"suite": suite, "folder": folder, "tables": tables, "remarks": remarks}
    pictures = {part.dataset: list(_costs(part, several=len(suite.parts) > 1)) for part in suite.parts}
    return Page("suite.html", suite.name, subtitle, pictures, {**values, "controls": controls, "missing": missing})


def _costs(part: Part, *, several: bool) -> Iterator[Picture]:
    """Yield a picture for each cost in which the arms differ; accuracies are said in percent."""
    on = f", {part.dataset}" if several else ""
    for words, cost in _COSTS.items():
        points = [
            Point(str(place), row.role == "baseline", spent, row.values["test_accuracy"])
            for place, row in enumerate(part.rows, 1)
            if "test_accuracy" in row.values and (spent := cost(row)) is not None
        ]
        if (figure := draw_costs(points, words, "test accuracy (%)")) is not None:
            yield f"test accuracy against {words}{on}", figure


def _operations(row: Row) -> Spread | None:
    macs, acs = (row.values.get(f"test_synops_{kind}") for kind in ("macs", "acs"))
    # The interval of a sum is not that of its parts.
    return None if macs is None or acs is None else Spread(macs.n, macs.mean + acs.mean)


_COSTS: Mapping[str, Callable[[Row], Spread | None]] = {
    "synaptic operations a test sample (MACs and ACs)": _operations,
    "parameters": lambda row: row.values.get("params"),
    "spikes a test sample": lambda row: row.values.get("test_spikes_per_sample"),
    "wall time of a run (s)": lambda row: row.values.get("wall_s"),
}
