"""The page of a folder of runs: which there are, how they did, and what they cost."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from snnlab.record.differing import differing
from snnlab.record.grid import SEED, Grid, read_grid, texts
from snnlab.record.metric_text import metric_text
from snnlab.record.report.curves import draw_costs
from snnlab.record.report.page import document, drawn, note, pictures, section, table
from snnlab.record.runs_table import Line

_METRICS = ("val/accuracy", "val/loss", "test/accuracy", "val/spikes_per_sample", "params")
_COSTS = (("val/spikes_per_sample", "spikes a validation sample"), ("params", "parameters"))
# Of a run's own, and not what it was asked for.
_OWN = ("output_dir", "name")


def runs_page(root: Path, lines: Sequence[Line]) -> str:
    """Return the page of the runs below a folder.

    Args:
        root: The folder.
        lines: The runs.
    """
    grid = read_grid(root)
    settings = _settings(lines, grid)
    shown = [metric for metric in _METRICS if any(metric in line.result for line in lines)]
    rows = [
        (
            os.path.relpath(line.folder, root),
            line.marked_status,
            *(metric_text(metric, line.result.get(metric)) or "-" for metric in shown),
            *(values[place] for values in settings.values()),
        )
        for place, line in enumerate(lines)
    ]
    head = ("run", "status", *shown, *settings)
    done = sum(line.status == "completed" for line in lines)
    remark = "The best of several is better than it would be again: its validation figure is no result."
    sections = [
        _over_seeds(grid),
        section("Runs", table(head, rows, sorts=True), note(f"A click on a column sorts by it. {remark}")),
        section("What accuracy costs", pictures(_costs(lines))),
        section("Cannot be read", table(("",), ([line.problem] for line in lines if line.problem))),
    ]
    names = dict.fromkeys(line.name for line in lines)
    heading, where = (next(iter(names)), f"{root}: ") if len(names) == 1 else (root.absolute().name, "")
    return document(heading, f"{where}{len(lines)} runs, {done} completed", sections)


def _over_seeds(grid: Grid | None) -> str:
    """Return the table of a grid whose runs differ in their seed too, or nothing."""
    if grid is None or SEED not in grid.keys:
        return ""
    title, head, rows = texts(grid)
    return section("Over seeds", table(head, rows, sorts=True), note(title))


def _settings(lines: Sequence[Line], grid: Grid | None) -> dict[str, list[str]]:
    """Return the settings in which runs differ, with their values; of a grid those that were asked for, as typed."""
    if grid is not None:
        places = [os.path.relpath(line.folder, grid.folder) for line in lines]
        if all(place in grid.runs for place in places):
            return {key: [grid.runs[place].get(key, "-") for place in places] for key in grid.keys}
    return differing([{key: value for key, value in line.config.items() if key not in _OWN} for line in lines])


def _costs(lines: Sequence[Line]) -> Iterator[tuple[str, str]]:
    for cost, words in _COSTS:
        points = [
            (line.folder.name, float(line.result[cost]), float(line.result["val/accuracy"]))
            for line in lines
            if line.result.get(cost) is not None and line.result.get("val/accuracy") is not None
        ]
        if len({point[1] for point in points}) > 1:
            yield f"validation accuracy against {words}", drawn(draw_costs(points, words, "validation accuracy"))
