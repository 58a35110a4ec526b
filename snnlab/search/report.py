"""What a search ends with: trials as a table and a file, importance, the winner's test."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from snnlab.console import table_console
from snnlab.files import write_json, write_text
from snnlab.printable import cell
from snnlab.record.metric_text import mean_sd_text, metric_text
from snnlab.search.plan import Plan
from snnlab.search.reading import SUMMARY, TRIALS
from snnlab.search.study import OUTCOME, PRUNED, SCHEMA, SharedStudy, values_of
from snnlab.search.winner import Winner, best_trials, overheads
from snnlab.search.words import figure, shown, uncertainty

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

# So many trials are in the table; all are in trials.csv.
SHOWN = 12


def print_trials(plan: Plan, study: SharedStudy) -> None:
    """Print the best trials, and how much their figures are worth."""
    count, names = study.count(), plan.sweep.names()
    several = len(names) > 1
    front = best_trials(study)
    what = f"{'Pareto front' if several else 'best trials'} of {count.finished}, on validation recordings"
    print(f"{what}: chosen, so better than they are")  # as a title it would be as narrow as the table
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("trial", justify="right")
    for name in [*names, *plan.space.parts]:
        table.add_column(name, justify="right", overflow="fold")
    for trial in front[:SHOWN]:
        values = values_of(trial)
        cells = [metric_text(name, value) for name, value in zip(names, trial.values, strict=True)]
        proposed = [figure(values[name]) if name in values else "" for name in plan.space.parts]
        table.add_row(str(trial.number), *cells, *proposed)
    table_console().print(table)
    parts = [f"{count.complete} complete", f"{count.pruned} pruned", f"{count.failed} failed"]
    print(f"trials: {', '.join(parts)}; all of them: {shown(plan.folder / TRIALS)}")
    if seconds := overheads(study):
        print(f"beyond its training a trial took {median(seconds):.1f} s (median; most: {max(seconds):.1f} s)")


def print_importance(found: Mapping[str, Mapping[str, float]]) -> None:
    """Print which setting explains how much of each objective."""
    for name, parts in found.items():
        said = ", ".join(f"{setting} {part:.0%}" for setting, part in parts.items())
        print(f"what {name} depends on: {said}")


def print_winner(plan: Plan, winner: Winner) -> None:
    """Print the winner, and what it came to on test recordings."""
    best = winner.finalists[0]
    settings = "  ".join(plan.trial_overrides(best.values))
    print(f"winner: trial {best.number}, by {winner.chosen_by}\n  {settings}")
    if not winner.tested:
        print("It was not tested: sweep.test_seeds trains and tests it with fresh seeds.")
        return
    print(f"test of the winner: mean ± sd over {len(winner.tested)} fresh seeds {list(winner.test_seeds)}")
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("", "test recordings"):
        table.add_column(column, justify="left" if not column else "right")
    for name in winner.tested[0]:
        if name.count("/") == 1 and name not in ("test/recordings", "test/windows"):
            table.add_row(name, mean_sd_text(name, [run[name] for run in winner.tested if name in run]))
    table_console().print(table)


def warn_of_few(study: SharedStudy) -> str | None:
    """Return a warning where validation recordings are few, for the accuracy that was found."""
    outcomes = [trial.user_attrs[OUTCOME] for trial in study.trials() if OUTCOME in trial.user_attrs]
    sizes = [outcome["val_size"] for outcome in outcomes if outcome["val_size"]]
    found = [outcome["metrics"]["val/accuracy"] for outcome in outcomes if "val/accuracy" in outcome["metrics"]]
    return uncertainty(sizes[0], max(found)) if sizes and found else None


def write_trials(plan: Plan, study: SharedStudy) -> None:
    """Write `trials.csv`: a row a trial."""
    write_text(plan.folder / TRIALS, trials_text(plan, study.trials()))


def trials_text(plan: Plan, trials: Sequence[FrozenTrial]) -> str:
    """Return what `trials.csv` holds of some trials."""
    settings, names = list(plan.space.parts), plan.sweep.names()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", *map(cell, [*names, *settings]), "epochs", "fit_s", "wall_s", "error"])
    for trial in trials:
        outcome: dict[str, Any] = trial.user_attrs.get(OUTCOME) or {}
        metrics, values = outcome.get("metrics") or {}, values_of(trial)
        writer.writerow(
            [
                trial.number,
                _state(trial),
                *(metrics.get(name, "") for name in names),
                *(cell(values.get(name, "")) for name in settings),
                *(outcome.get(key, "") for key in ("epochs", "fit_s", "wall_s")),
                cell(outcome.get("error") or ""),
            ]
        )
    return text.getvalue()


def write_summary(
    plan: Plan, study: SharedStudy, winner: Winner | None, found: Mapping[str, Mapping[str, float]]
) -> None:
    """Write `search.json`."""
    count = study.count()
    seconds = overheads(study)
    page: dict[str, Any] = {
        "schema_version": SCHEMA,
        "objectives": dict(plan.sweep.objectives),
        "trials": vars(count),
        "importance": {name: dict(parts) for name, parts in found.items()},
        "overhead_s": median(seconds) if seconds else None,
    }
    if winner:
        page["chosen_by"], page["seeds"] = winner.chosen_by, list(winner.seeds)
        page["finalists"] = [vars(one) for one in winner.finalists]
        page["winner"] = {
            "trial": winner.finalists[0].number,
            "overrides": plan.trial_overrides(winner.finalists[0].values),
            "test_seeds": list(winner.test_seeds),
            "test": _means(winner.tested),
            "runs": [str(folder.relative_to(plan.folder)) for folder in winner.folders],
        }
    write_json(plan.folder / SUMMARY, page)


def _means(runs: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    found = {}
    for name in runs[0] if runs else ():
        values = [run[name] for run in runs if name in run and math.isfinite(run[name])]
        if values:
            found[name] = {"mean": fmean(values), "sd": stdev(values) if len(values) > 1 else None}
    return found


def _state(trial: FrozenTrial) -> str:
    if trial.state.name == "FAIL":
        return "failed" if OUTCOME in trial.user_attrs else "lost"
    epochs = trial.user_attrs.get(PRUNED)
    return f"pruned after {epochs}" if epochs else trial.state.name.lower()
