"""The page of a search: its winner and the test of it, the trials, what mattered, and how it goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from snnlab.record.report.page import Page, Picture
from snnlab.record.runs_table import flat
from snnlab.record.tables import Table, metric_text

# Pictures by the first word of their files' names, in the order in which they are looked at.
_PICTURES = {
    "importance": "what it depends on",
    "pareto": "the front between the objectives",
    "slice": "over each setting",
    "parallel": "each trial as a line",  # of older searches
}


class Search(NamedTuple):
    """What a search's folder holds.

    Attributes:
        folder: Where it lies, for commands.
        page: `sweep.yaml`.
        summary: `search.json`; empty while the search goes on.
        trials: A row a trial, as `trials.csv` has them.
        pictures: The pictures' names, and what they are.
    """

    folder: str
    page: Mapping[str, Any]
    summary: Mapping[str, Any]
    trials: Sequence[Mapping[str, str]]
    pictures: Sequence[Picture]


def sweep_page(search: Search) -> Page:
    """Return the page of a search."""
    winner = search.summary.get("winner") or {}
    tested = winner.get("test") or {}
    importance = search.summary.get("importance") or {}
    values = {
        "result": list(_result(search)),
        "tested": [
            (name, metric_text(name, value["mean"]), metric_text(name, value["sd"]) or "-")
            for name, value in tested.items()
            if name.count("/") == 1 and name not in ("test/recordings", "test/windows")
        ],
        "seeds": winner.get("test_seeds") if tested else None,
        "finalists": list(_finalists(search)),
        "importance": [(name, key, f"{part:.0%}") for name, parts in importance.items() for key, part in parts.items()],
        "trials": _trials(search.trials),
        "settings": sorted(flat(search.page["sweep"]).items()),
        "overrides": search.page["overrides"],
        "again": list(_again(search)),
    }
    states = Counter(row["state"].split()[0] for row in search.trials)
    said = ", ".join(f"{many} {state}" for state, many in states.items())
    subtitle = f"{len(search.trials)} trials: {said}{'' if search.summary else '; the search has not ended'}"
    return Page("sweep.html", f"{search.page['name']}: search", subtitle, {"search": list(_pictures(search))}, values)


def _result(search: Search) -> Iterator[tuple[str, str]]:
    objectives: Mapping[str, str] = search.page["sweep"]["objectives"]
    for name, direction in objectives.items():
        yield "objective", f"{direction} {name}, on validation recordings"
    first = next(iter(objectives))
    if done := [row for row in search.trials if row["state"] == "complete" and row.get(first)]:
        best = (min if objectives[first] == "minimize" else max)(done, key=lambda row: float(row[first]))
        found = ", ".join(f"{name} {metric_text(name, float(best[name]))}" for name in objectives)
        yield "best trial", f"{best['trial']}: {found}"
    if winner := search.summary.get("winner"):
        yield "winner", f"trial {winner['trial']}, by {search.summary.get('chosen_by')}"
        common = set(search.page["overrides"])
        yield "its settings", "  ".join(text for text in winner["overrides"] if text not in common)


def _finalists(search: Search) -> Iterator[tuple[str, ...]]:
    for one in search.summary.get("finalists") or ():
        found = ", ".join(f"{name} {metric_text(name, value)}" for name, value in one["found"].items())
        means = {name: fmean(run[name] for run in one["again"]) for name in one["found"] if one["again"]}
        again = ", ".join(f"{name} {metric_text(name, mean)}" for name, mean in means.items())
        settings = "  ".join(f"{name}={_short(value)}" for name, value in one["values"].items())
        yield str(one["number"]), found, again or "-", settings


def _pictures(search: Search) -> Iterator[Picture]:
    kinds = list(_PICTURES)
    known = [(name.partition("_"), picture) for name, picture in search.pictures if name.partition("_")[0] in kinds]
    for (kind, _, objective), picture in sorted(known, key=lambda one: kinds.index(one[0][0])):
        yield f"{objective.replace('_', '/', 1)}: {_PICTURES[kind]}" if objective else _PICTURES[kind], picture


def _trials(trials: Sequence[Mapping[str, str]]) -> Table:
    head = [name for name in (trials[0] if trials else ()) if any(row[name] for row in trials)]
    words = [place for place, name in enumerate(head) if name in ("state", "error")]
    return Table(head, [[_cell(name, row[name]) for name in head] for row in trials], words=words)


def _cell(name: str, text: str) -> str:
    return metric_text(name, float(text)) if text and name.endswith("/accuracy") else _short(text)


def _again(search: Search) -> Iterator[str]:
    yield f"snnlab sweep resume={search.folder} sweep.trials={2 * max(len(search.trials), 1)}"
    if search.summary.get("winner"):
        own = search.page.get("config_dir")
        if own:  # the winner takes files of it
            yield f"cp {search.folder}/config/experiment/best.yaml {own}/experiment/"
        yield f"snnlab train --config-dir {own or f'{search.folder}/config'} experiment=best"
    yield f"snnlab report {search.folder}"


def _short(value: Any) -> str:
    """Return a number with four digits, anything else as it is."""
    if isinstance(value, str):
        try:
            value = int(value) if value.lstrip("-").isdigit() else float(value)
        except ValueError:
            return value
    return f"{value:.4g}" if isinstance(value, float) else str(value)
