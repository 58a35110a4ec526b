"""The pages of suites and searches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from snnlab.experiments.suite_statistics import MethodRow
from snnlab.experiments.suite_table import VERDICTS, DatasetTables, SuiteTable, remarks, tables
from snnlab.runs.recorded import flat
from snnlab.runs.report_figures import Point, draw_costs
from snnlab.runs.report_pages import Page, Plot
from snnlab.runs.statistics import SeedSummary
from snnlab.runs.tables import Table, metric_text


def suite_page(suite: SuiteTable, folder: str) -> Page:
    """Return the page of a suite.

    Args:
        folder: The suite's folder, for commands.
    """
    rows = [row for part in suite.parts for row in part.rows]
    planned, done = sum(row.planned for row in rows), sum(len(row.tested) for row in rows)
    datasets = f"{len(suite.parts)} dataset{'s' if len(suite.parts) != 1 else ''}"
    subtitle = f"{datasets}, {len({row.method for row in rows})} methods, {done} of {planned} runs with a result"
    controls = [
        (
            *(one.get("name"), one.get("dataset") or "", one.get("method") or ""),
            *(VERDICTS.get(one.get("passed"), "-"), one.get("said") or ""),
        )
        for one in suite.controls
    ]
    missing = [
        (row.dataset, row.method, run.seed, run.status, run.error or "-")
        for row in rows
        for run in row.runs
        if not run.tested
    ]
    values = {"suite": suite, "folder": folder, "tables": tables, "remarks": remarks}
    several = len(suite.parts) > 1
    plots = {part.dataset: list(_suite_costs(part, several=several)) for part in suite.parts}
    return Page("suite.html", suite.name, subtitle, plots, {**values, "controls": controls, "missing": missing})


def _suite_costs(part: DatasetTables, *, several: bool) -> Iterator[Plot]:
    """Yield a plot for each cost in which the methods differ; accuracies are in percent."""
    on = f", {part.dataset}" if several else ""
    for label, cost in _SUITE_COSTS.items():
        points = [
            Point(str(number), row.role == "baseline", spent, row.values["test_accuracy"])
            for number, row in enumerate(part.rows, 1)
            if "test_accuracy" in row.values and (spent := cost(row)) is not None
        ]
        if (figure := draw_costs(points, label, "test accuracy (%)")) is not None:
            yield f"test accuracy against {label}{on}", figure


def _operations_per_sample(row: MethodRow) -> SeedSummary | None:
    macs, acs = (row.values.get(f"test_synops_{kind}") for kind in ("macs", "acs"))
    # The interval of a sum is not the sum of the intervals.
    return None if macs is None or acs is None else SeedSummary(macs.n, macs.mean + acs.mean)


_SUITE_COSTS: Mapping[str, Callable[[MethodRow], SeedSummary | None]] = {
    "synaptic operations a test sample (MACs and ACs)": _operations_per_sample,
    "parameters": lambda row: row.values.get("params"),
    "spikes a test sample": lambda row: row.values.get("test_spikes_per_sample"),
    "wall time of a run (s)": lambda row: row.values.get("wall_s"),
}
# Titles of the plots by the first word of their files' names, in the order of the page.
_PLOT_TITLES = {
    "importance": "importance of the settings",
    "pareto": "Pareto front of the objectives",
    "slice": "over each setting",
}


class SearchFolder(NamedTuple):
    """The content of a search's folder.

    Attributes:
        folder: The folder, for commands.
        content: The content of `sweep.yaml`.
        summary: The content of `search.json`; empty while the search is running.
        trials: The rows of `trials.csv`, one for each trial.
        plots: The plots with their names.
    """

    folder: str
    content: Mapping[str, Any]
    summary: Mapping[str, Any]
    trials: Sequence[Mapping[str, str]]
    plots: Sequence[Plot]


def sweep_page(search: SearchFolder) -> Page:
    """Return the page of a search."""
    winner = search.summary.get("winner") or {}
    tested = winner.get("test") or {}
    importance = search.summary.get("importance") or {}
    values = {
        "result": list(_result_rows(search)),
        "tested": [
            (name, metric_text(name, value["mean"]), metric_text(name, value["sd"]) or "-")
            for name, value in tested.items()
            if name.count("/") == 1 and name not in ("test/recordings", "test/windows")
        ],
        "seeds": winner.get("test_seeds") if tested else None,
        "finalists": list(_finalist_rows(search)),
        "importance": [(name, key, f"{part:.0%}") for name, parts in importance.items() for key, part in parts.items()],
        "trials": _trials_table(search.trials),
        "settings": sorted(flat(search.content["sweep"]).items()),
        "overrides": search.content["overrides"],
        "again": list(_search_commands(search)),
    }
    states = Counter(row["state"].split()[0] for row in search.trials)
    counts = ", ".join(f"{many} {state}" for state, many in states.items())
    subtitle = f"{len(search.trials)} trials: {counts}{'' if search.summary else '; the search has not ended'}"
    return Page(
        "sweep.html", f"{search.content['name']}: search", subtitle, {"search": list(_titled_plots(search))}, values
    )


def _result_rows(search: SearchFolder) -> Iterator[tuple[str, str]]:
    objectives: Mapping[str, str] = search.content["sweep"]["objectives"]
    for name, direction in objectives.items():
        yield "objective", f"{direction} {name}, on validation recordings"
    first = next(iter(objectives))
    if done := [row for row in search.trials if row["state"] == "complete" and row.get(first)]:
        best = (min if objectives[first] == "minimize" else max)(done, key=lambda row: float(row[first]))
        found = ", ".join(f"{name} {metric_text(name, float(best[name]))}" for name in objectives)
        yield "best trial", f"{best['trial']}: {found}"
    if winner := search.summary.get("winner"):
        yield "winner", f"trial {winner['trial']}, by {search.summary.get('chosen_by')}"
        common = set(search.content["overrides"])
        yield "its settings", "  ".join(text for text in winner["overrides"] if text not in common)


def _finalist_rows(search: SearchFolder) -> Iterator[tuple[str, ...]]:
    for one in search.summary.get("finalists") or ():
        found = ", ".join(f"{name} {metric_text(name, value)}" for name, value in one["found"].items())
        means = {name: fmean(run[name] for run in one["again"]) for name in one["found"] if one["again"]}
        again = ", ".join(f"{name} {metric_text(name, mean)}" for name, mean in means.items())
        settings = "  ".join(f"{name}={_short(value)}" for name, value in one["values"].items())
        yield str(one["number"]), found, again or "-", settings


def _titled_plots(search: SearchFolder) -> Iterator[Plot]:
    kinds = list(_PLOT_TITLES)
    known = [(name.partition("_"), plot) for name, plot in search.plots if name.partition("_")[0] in kinds]
    for (kind, _, objective), plot in sorted(known, key=lambda one: kinds.index(one[0][0])):
        yield f"{objective.replace('_', '/', 1)}: {_PLOT_TITLES[kind]}" if objective else _PLOT_TITLES[kind], plot


def _trials_table(trials: Sequence[Mapping[str, str]]) -> Table:
    head = [name for name in (trials[0] if trials else ()) if any(row[name] for row in trials)]
    text_columns = [column for column, name in enumerate(head) if name in ("state", "error")]
    return Table(head, [[_trial_text(name, row[name]) for name in head] for row in trials], text_columns=text_columns)


def _trial_text(name: str, text: str) -> str:
    return metric_text(name, float(text)) if text and name.endswith("/accuracy") else _short(text)


def _search_commands(search: SearchFolder) -> Iterator[str]:
    yield f"snnlab sweep resume={search.folder} sweep.trials={2 * max(len(search.trials), 1)}"
    if search.summary.get("winner"):
        own = search.content.get("config_dir")
        if own:  # the winner's experiment uses files of that folder
            yield f"cp {search.folder}/config/experiment/best.yaml {own}/experiment/"
        yield f"snnlab train --config-dir {own or f'{search.folder}/config'} experiment=best"
    yield f"snnlab report {search.folder}"


def _short(value: Any) -> str:
    """Return a number with four digits, anything else unchanged."""
    if isinstance(value, str):
        try:
            value = int(value) if value.lstrip("-").isdigit() else float(value)
        except ValueError:
            return value
    return f"{value:.4g}" if isinstance(value, float) else str(value)
