"""The page of a search: its winner and the test of it, the trials, what mattered, and how it goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from snnlab.record.metric_text import metric_text
from snnlab.record.report.page import code, document, note, pictures, png, section, table
from snnlab.record.runs_table import flat

# Pictures by the first word of their files' names, in the order in which they are looked at.
_PICTURES = {
    "importance": "what it depends on",
    "pareto": "the front between the objectives",
    "slice": "over each setting",
    "parallel": "each trial as a line",
}


class Search(NamedTuple):
    """What a search's folder holds.

    Attributes:
        folder: Where it lies, for commands.
        page: `sweep.yaml`.
        summary: `search.json`; empty while the search goes on.
        trials: A row a trial, as `trials.csv` has them.
        pictures: The pictures' names and files.
    """

    folder: str
    page: Mapping[str, Any]
    summary: Mapping[str, Any]
    trials: Sequence[Mapping[str, str]]
    pictures: Sequence[tuple[str, bytes]]


def sweep_page(search: Search) -> str:
    """Return the page of a search."""
    sections = [
        section("Result", table(("", ""), _result(search)), note(_LUCK)),
        section("Test of the winner", table(("", "mean", "sd"), _tested(search)), *_test_note(search)),
        section("Finalists", table(("trial", "in the search", "again, mean", "settings"), _finalists(search))),
        section("Pictures", pictures(_pictures(search), large=True)),
        section("What explains the objectives", table(("objective", "setting", "part"), _importance(search))),
        section("Trials", _trials(search.trials), note("A click on a column sorts by it.")),
        section("Settings of the search", table(("setting", "value"), sorted(flat(search.page["sweep"]).items()))),
        section("Overrides that all trials have", code("\n".join(search.page["overrides"]))),
        section("Again", code("\n".join(_again(search)))),
    ]
    return document(f"{search.page['name']}: search", _subtitle(search), [each for each in sections if each])


_LUCK = (
    "The best of many trials is better on the validation recordings that chose it than it would be again: only the test"
    " of the winner, with fresh seeds, is a result."
)


def _subtitle(search: Search) -> str:
    counts: dict[str, int] = {}
    for row in search.trials:
        state = row["state"].split()[0]
        counts[state] = counts.get(state, 0) + 1
    said = ", ".join(f"{many} {state}" for state, many in counts.items())
    return f"{len(search.trials)} trials: {said}{'' if search.summary else '; the search has not ended'}"


def _objectives(search: Search) -> Mapping[str, str]:
    return search.page["sweep"]["objectives"]


def _best(search: Search) -> Mapping[str, str] | None:
    """Return the complete trial that is best by the first objective."""
    name, direction = next(iter(_objectives(search).items()))
    done = [row for row in search.trials if row["state"] == "complete" and row.get(name)]
    choose = min if direction == "minimize" else max
    return choose(done, key=lambda row: float(row[name])) if done else None


def _result(search: Search) -> Iterator[tuple[str, str]]:
    for name, direction in _objectives(search).items():
        yield "objective", f"{direction} {name}, on validation recordings"
    if (best := _best(search)) is not None:
        found = ", ".join(f"{name} {metric_text(name, float(best[name]))}" for name in _objectives(search))
        yield "best trial", f"{best['trial']}: {found}"
    winner = search.summary.get("winner")
    if winner:
        yield "winner", f"trial {winner['trial']}, by {search.summary.get('chosen_by')}"
        common = set(search.page["overrides"])
        yield "its settings", "  ".join(text for text in winner["overrides"] if text not in common)


def _tested(search: Search) -> Iterator[tuple[str, str, str]]:
    found = (search.summary.get("winner") or {}).get("test") or {}
    for name, value in found.items():
        if name.count("/") == 1 and name not in ("test/recordings", "test/windows"):
            yield name, metric_text(name, value["mean"]), metric_text(name, value["sd"]) or "-"


def _test_note(search: Search) -> Iterator[str]:
    winner = search.summary.get("winner") or {}
    if winner.get("test"):
        yield note(f"On test recordings, trained with the fresh seeds {winner.get('test_seeds')}.")


def _finalists(search: Search) -> Iterator[tuple[str, ...]]:
    for one in search.summary.get("finalists") or ():
        found = ", ".join(f"{name} {metric_text(name, value)}" for name, value in one["found"].items())
        means = {name: fmean(run[name] for run in one["again"]) for name in one["found"] if one["again"]}
        again = [f"{name} {metric_text(name, mean)}" for name, mean in means.items()]
        settings = "  ".join(f"{name}={_short(value)}" for name, value in one["values"].items())
        yield str(one["number"]), found, ", ".join(again) or "-", settings


def _pictures(search: Search) -> Iterator[tuple[str, str]]:
    """Yield the pictures in their order, each with its words."""
    kinds = list(_PICTURES)
    known = [(name, content) for name, content in search.pictures if name.partition("_")[0] in kinds]
    for name, content in sorted(known, key=lambda one: kinds.index(one[0].partition("_")[0])):
        kind, _, objective = name.partition("_")
        yield f"{objective.replace('_', '/', 1)}: {_PICTURES[kind]}" if objective else _PICTURES[kind], png(content)


def _importance(search: Search) -> Iterator[tuple[str, str, str]]:
    for objective, parts in (search.summary.get("importance") or {}).items():
        for setting, part in parts.items():
            yield objective, setting, f"{part:.0%}"


def _trials(trials: Sequence[Mapping[str, str]]) -> str:
    if not trials:
        return ""
    head = [name for name in trials[0] if any(row[name] for row in trials)]
    words = [place for place, name in enumerate(head) if name in ("state", "error")]
    return table(head, ([_cell(name, row[name]) for name in head] for row in trials), sorts=True, words=words)


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
            return str(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
