"""The page of a folder of runs: which there are, how they did, and what they cost."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from snnlab.record.grid import SEED, Grid, grouped, read_grid, table
from snnlab.record.groups import differing
from snnlab.record.report.page import Page, Picture
from snnlab.record.report.scores import Point, draw_costs, draw_swept
from snnlab.record.runs_table import OWN, Line
from snnlab.record.suite.figures import Spread
from snnlab.record.tables import metric_text

_METRICS = ("val/accuracy", "val/loss", "test/accuracy", "val/spikes_per_sample", "params")
_COSTS = (("val/spikes_per_sample", "spikes a validation sample"), ("params", "parameters"))


def runs_page(root: Path, lines: Sequence[Line]) -> Page:
    """Return the page of the runs below a folder.

    Args:
        root: The folder.
    """
    grid = read_grid(root)
    settings = _settings(lines, grid)
    shown = [metric for metric in _METRICS if any(metric in line.result for line in lines)]
    rows = [
        (
            *(os.path.relpath(line.folder, root), line.marked_status),
            *(metric_text(metric, line.result.get(metric)) or "-" for metric in shown),
            *(values[place] for values in settings.values()),
        )
        for place, line in enumerate(lines)
    ]
    done, names = sum(line.status == "completed" for line in lines), dict.fromkeys(line.name for line in lines)
    title, where = (next(iter(names)), f"{root}: ") if len(names) == 1 else (root.absolute().name, "")
    swept = list(draw_swept(grouped(grid), grid.settings)) if grid is not None else []
    values = {
        "grid": table(grid) if grid is not None and SEED in grid.keys else None,
        "head": ["run", "status", *shown, *settings],
        "rows": rows,
        "problems": [[line.problem] for line in lines if line.problem],
    }
    subtitle = f"{where}{len(lines)} runs, {done} completed"
    return Page("runs.html", title, subtitle, {"swept": swept, "costs": list(_costs(lines))}, values)


def _settings(lines: Sequence[Line], grid: Grid | None) -> dict[str, list[str]]:
    """Return the settings in which runs differ, with their values; of a grid those that were asked for, as typed."""
    if grid is not None:
        places = [os.path.relpath(line.folder, grid.folder) for line in lines]
        if all(place in grid.runs for place in places):
            return {key: [grid.runs[place].get(key, "-") for place in places] for key in grid.keys}
    return differing(
        [{key: value for key, value in line.config.items() if key not in OWN or key == "seed"} for line in lines]
    )


def _costs(lines: Sequence[Line]) -> Iterator[Picture]:
    for cost, words in _COSTS:
        points = [
            Point("", False, Spread(1, float(line.result[cost])), Spread(1, float(line.result["val/accuracy"])))
            for line in lines
            if line.result.get(cost) is not None and line.result.get("val/accuracy") is not None
        ]
        if (figure := draw_costs(points, words, "validation accuracy (%)")) is not None:
            yield f"validation accuracy against {words}", figure
