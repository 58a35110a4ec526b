"""The results of a search, written and read back: trials as a table and a file, importance, the winner's test."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from shlex import quote
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING, Any

from snnlab.experiments.search_plan import SCHEMA, SearchPlan
from snnlab.experiments.study import OUTCOME, PRUNED, SearchStudy, values_of
from snnlab.experiments.winner import Winner, best_trials, overheads
from snnlab.files import read_text, write_json, write_text
from snnlab.runs.recorded import reading_record
from snnlab.runs.statistics import small_validation_warning
from snnlab.runs.tables import Table, csv_text, format_path, format_value, mean_sd_text, metric_text

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial
SUMMARY, TRIALS = "search.json", "trials.csv"


def read_trials(folder: Path, objectives: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of `trials.csv`.

    Args:
        objectives: Names of the objectives, each of which has a column.

    Raises:
        DamagedError: if it is not what a search wrote.
    """
    path = folder / TRIALS
    with reading_search(path):
        rows = _parse_trials(read_text(path), objectives)
        if not rows:
            raise ValueError("it has no trial")
    return rows


def reading_search(path: Path) -> AbstractContextManager[None]:
    """Report any error within as damage of a file that a search wrote."""
    return reading_record(path, f"snnlab sweep {quote(f'resume={path.parent}')} writes it again")


def _parse_trials(text: str, objectives: Sequence[str]) -> list[dict[str, str]]:
    reader = csv.DictReader(text.splitlines())
    if missing := [name for name in ("trial", "state", *objectives) if name not in (reader.fieldnames or ())]:
        raise ValueError(f"it has no column {missing[0]}")
    rows = list(reader)
    for row in rows:
        if None in row or None in row.values() or not row["state"].split():
            raise ValueError(f"line {rows.index(row) + 2} is incomplete")
        if row["state"] == "complete":
            _ = [float(row[name]) for name in objectives if row[name]]
    return rows


# Number of trials in the printed table; all are in trials.csv.
MAX_SHOWN = 12


def print_trials(plan: SearchPlan, study: SearchStudy) -> None:
    """Print the best trials, their numbers by state and their overhead."""
    count, names, settings = study.count(), plan.sweep.names(), list(plan.space.parameters)
    what = f"{'Pareto front' if len(names) > 1 else 'best trials'} of {count.finished}, on validation recordings"
    print(f"{what}: chosen, so optimistically biased")  # as a title it would be as narrow as the table
    rows = []
    for trial in best_trials(study)[:MAX_SHOWN]:
        values = values_of(trial)
        cells = [metric_text(name, value) for name, value in zip(names, trial.values, strict=True)]
        rows.append(
            [str(trial.number), *cells, *(format_value(values[key]) if key in values else "" for key in settings)]
        )
    Table(["trial", *names, *settings], rows, text_columns=()).print()
    parts = [f"{count.complete} complete", f"{count.pruned} pruned", f"{count.failed} failed"]
    print(f"trials: {', '.join(parts)}; all of them: {format_path(plan.folder / TRIALS)}")
    if seconds := overheads(study):
        print(
            f"overhead of a trial beyond its training: {median(seconds):.1f} s (median; maximum {max(seconds):.1f} s)"
        )


def print_importance(found: Mapping[str, Mapping[str, float]]) -> None:
    """Print the importance of each setting for each objective."""
    for name, parts in found.items():
        text = ", ".join(f"{setting} {part:.0%}" for setting, part in parts.items())
        print(f"importance for {name}: {text}")


def print_winner(plan: SearchPlan, winner: Winner) -> None:
    """Print the winner and its test results."""
    best = winner.finalists[0]
    settings = "  ".join(plan.trial_overrides(best.values))
    print(f"winner: trial {best.number}, by {winner.chosen_by}\n  {settings}")
    if not winner.tested:
        print("It was not tested: sweep.test_seeds trains and tests it with new seeds.")
        return
    print(f"test of the winner: mean ± sd over {len(winner.tested)} new seeds {list(winner.test_seeds)}")
    names = [n for n in winner.tested[0] if n.count("/") == 1 and n not in ("test/recordings", "test/windows")]
    rows = [(name, mean_sd_text(name, [run[name] for run in winner.tested if name in run])) for name in names]
    Table(("", "test recordings"), rows).print()


def few_recordings_warning(study: SearchStudy) -> str | None:
    """Return a warning if the validation recordings are too few for the best accuracy, or None."""
    outcomes = [trial.user_attrs[OUTCOME] for trial in study.trials() if OUTCOME in trial.user_attrs]
    sizes = [outcome["val_size"] for outcome in outcomes if outcome["val_size"]]
    found = [outcome["metrics"]["val/accuracy"] for outcome in outcomes if "val/accuracy" in outcome["metrics"]]
    return small_validation_warning(sizes[0], max(found)) if sizes and found else None


def write_trials(plan: SearchPlan, study: SearchStudy) -> None:
    """Write `trials.csv`, with a row for each trial."""
    settings, names, ends = list(plan.space.parameters), plan.sweep.names(), ("epochs", "fit_s", "wall_s", "error")
    rows = []
    for trial in study.trials():
        outcome: dict[str, Any] = trial.user_attrs.get(OUTCOME) or {}
        metrics, values = outcome.get("metrics") or {}, values_of(trial)
        figures = [*(metrics.get(name, "") for name in names), *(values.get(name, "") for name in settings)]
        rows.append([trial.number, _state_text(trial), *figures, *(outcome.get(key) for key in ends)])
    text = csv_text(["trial", "state", *names, *settings, *ends], rows)
    write_text(plan.folder / TRIALS, text)


def write_summary(
    plan: SearchPlan, study: SearchStudy, winner: Winner | None, found: Mapping[str, Mapping[str, float]]
) -> None:
    """Write `search.json`."""
    count = study.count()
    seconds = overheads(study)
    content: dict[str, Any] = {
        "schema_version": SCHEMA,
        "objectives": dict(plan.sweep.objectives),
        "trials": vars(count),
        "importance": {name: dict(parts) for name, parts in found.items()},
        "overhead_s": median(seconds) if seconds else None,
    }
    if winner:
        content["chosen_by"], content["seeds"] = winner.chosen_by, list(winner.seeds)
        content["finalists"] = [vars(one) for one in winner.finalists]
        content["winner"] = {
            "trial": winner.finalists[0].number,
            "overrides": plan.trial_overrides(winner.finalists[0].values),
            "test_seeds": list(winner.test_seeds),
            "test": _means(winner.tested),
            "runs": [str(folder.relative_to(plan.folder)) for folder in winner.folders],
        }
    write_json(plan.folder / SUMMARY, content)


def _means(runs: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    found = {}
    for name in runs[0] if runs else ():
        values = [run[name] for run in runs if name in run and math.isfinite(run[name])]
        if values:
            found[name] = {"mean": fmean(values), "sd": stdev(values) if len(values) > 1 else None}
    return found


def _state_text(trial: FrozenTrial) -> str:
    if trial.state.name == "FAIL":
        return "failed" if OUTCOME in trial.user_attrs else "lost"
    epochs = trial.user_attrs.get(PRUNED)
    return f"pruned after {epochs}" if epochs else trial.state.name.lower()
