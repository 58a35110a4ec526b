"""The page of a folder of runs: which there are, how they did, and what they cost."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from snnlab.record.grid import SEED, read_grid, texts
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
    differing = _differing(lines)
    shown = [metric for metric in _METRICS if any(metric in line.result for line in lines)]
    rows = [
        (
            os.path.relpath(line.folder, root),
            line.status,
            *(_number(line.result.get(metric)) for metric in shown),
            *(line.config.get(key, "-") for key in differing),
        )
        for line in lines
    ]
    head = ("run", "status", *shown, *differing)
    done = sum(line.status == "completed" for line in lines)
    remark = "The best of several is better than it would be again: its validation figure is no result."
    sections = [
        _over_seeds(root),
        section("Runs", table(head, rows, sorts=True), note(f"A click on a column sorts by it. {remark}")),
        section("What accuracy costs", pictures(_costs(lines))),
    ]
    return document(root.name or str(root), f"{len(lines)} runs, {done} completed", sections)


def _over_seeds(root: Path) -> str:
    """Return the table of a grid whose runs differ in their seed too, or nothing."""
    grid = read_grid(root)
    if grid is None or SEED not in grid.keys:
        return ""
    title, head, rows = texts(grid)
    return section("Over seeds", table(head, rows, sorts=True), note(title))


def _differing(lines: Sequence[Line]) -> list[str]:
    """Return the settings that are not the same in all runs."""
    keys = dict.fromkeys(key for line in lines for key in line.config if key not in _OWN)
    return [key for key in keys if any(line.config.get(key) != lines[0].config.get(key) for line in lines)]


def _costs(lines: Sequence[Line]) -> Iterator[tuple[str, str]]:
    for cost, words in _COSTS:
        points = [
            (line.folder.name, float(line.result[cost]), float(line.result["val/accuracy"]))
            for line in lines
            if line.result.get(cost) is not None and line.result.get("val/accuracy") is not None
        ]
        if len({point[1] for point in points}) > 1:
            yield f"validation accuracy against {words}", drawn(draw_costs(points, words, "validation accuracy"))


def _number(value: object) -> str:
    if not isinstance(value, int | float):
        return "-"
    return f"{value:,.0f}".replace(",", "") if value >= 1000 else f"{value:.4g}"
