"""The pages of `snnlab report`, one HTML file each: of a run, a folder of runs, a suite, a search."""

from __future__ import annotations

import base64
import io
import logging
import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from snnlab.experiments.report_figures import Point, draw_costs, draw_curves, draw_swept, learned_rows
from snnlab.experiments.suite_statistics import MethodRow, SeedSummary
from snnlab.experiments.suite_table import VERDICTS, DatasetTables, SuiteTable, remarks, tables
from snnlab.files import write_atomically
from snnlab.runs.early_exit import StepTime, early_exit_curve, recorded_answers
from snnlab.runs.plots.answers import draw_confusion, draw_early_exit, draw_predictions
from snnlab.runs.plots.style import default_style
from snnlab.runs.plots.weight_plots import draw_weights
from snnlab.runs.pooled_folds import PooledFolds, pool_folds
from snnlab.runs.predictions import prediction_metrics
from snnlab.runs.recorded import RecordedRun, flat
from snnlab.runs.run_folder import METRICS, PREDICTIONS
from snnlab.runs.runs_table import (
    FOLD,
    RUN_KEYS,
    SEED,
    Grid,
    ListedRun,
    differing_settings,
    grid_rows,
    limits,
    read_grid,
    run_marks,
    table,
)
from snnlab.runs.tables import Table, metric_text, render

# Its description, which is also the alternative text of its image; and a figure, or the content of a PNG file.
Plot = tuple[str, Figure | bytes]


class Page(NamedTuple):
    """A page of a report.

    Attributes:
        template: Its file in `templates`.
        subtitle: The line below the title.
        plots: The plots by section.
        values: Further variables of the template.
    """

    template: str
    title: str
    subtitle: str
    plots: Mapping[str, Sequence[Plot]]
    values: Mapping[str, Any]

    def html(self) -> str:
        """Return the whole page."""
        own = {"title": self.title, "subtitle": self.subtitle, "plots": self.plots, "address": _data_url}
        return render(self.template, **own, **self.values)

    def write_figures(self, folder: Path, form: str) -> list[Path]:
        """Write each plot as a file that is named by its description, and return the files.

        Args:
            folder: Folder for the files; it is created.
            form: pdf, svg or png; plots that a training drew stay PNG files.
        """
        folder.mkdir(parents=True, exist_ok=True)
        files = []
        for name, plot in (one for section in self.plots.values() for one in section):
            stem = re.sub(r"\W+", "_", name).strip("_")
            files.append(folder / f"{stem}.{form if isinstance(plot, Figure) else 'png'}")
            content = _image_bytes(plot, form)
            write_atomically(files[-1], lambda file, content=content: file.write(content))
        return files


def _image_bytes(plot: Figure | bytes, form: str) -> bytes:
    if not isinstance(plot, Figure):
        return plot
    file = io.BytesIO()
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with default_style():
        plot.savefig(file, format=form, metadata=dates.get(form))
    return file.getvalue()


def _data_url(plot: Figure | bytes) -> str:
    """Return a plot as a data URL: a figure as SVG, which stays sharp when printed; bytes are a PNG file."""
    kind = "svg+xml" if isinstance(plot, Figure) else "png"
    return f"data:image/{kind};base64,{base64.b64encode(_image_bytes(plot, 'svg')).decode()}"


_STAGES = {"test": "test", "val": "validation"}
_FINDINGS = {"confusion": "answers by class", "accuracy_over_time": "accuracy against time"}
_PLOT_KINDS = {"events": "events", "events_over_time": "events over time", "readout": "readout"}


class TimeAxis(NamedTuple):
    """The time axis of a run.

    Attributes:
        step_time: The duration of a step and its unit.
        no_early_exit_reason: The reason why there is no early exit; None if there is.
    """

    step_time: StepTime
    no_early_exit_reason: str | None = None


class RunWeights(NamedTuple):
    """The weights of a run's chosen epoch by name, and why there are none."""

    arrays: Mapping[str, np.ndarray]
    problem: str = ""


def run_page(
    recorded: RecordedRun,
    config: Mapping[str, Any],
    defaults: Mapping[str, Any],
    names: list[str],
    when: TimeAxis,
    weights: RunWeights,
) -> Page:
    """Return the page of a run.

    Args:
        names: Names of the classes.
        when: The time axis of its steps.
        weights: Its weights.
    """
    folder, selection, here, before = recorded.folder, recorded.selection, flat(config), flat(defaults)
    epochs = recorded.epochs() if recorded.has(METRICS) else {}
    arrays = recorded.predictions() if recorded.has(PREDICTIONS) else {}
    seen = None if when.no_early_exit_reason else recorded_answers(arrays, "test")
    exits = [] if seen is None else early_exit_curve(seen, when.step_time)
    parts = {"train": "to train", "val": "to validate", "test": "to test"}
    values = {
        "summary": list(_summary_rows(recorded, here)),
        "sizes": ", ".join(f"{selection.get(f'{part}_size', 0):,} {label}" for part, label in parts.items()),
        "val_rule": selection.get("val_rule"),
        "layers": list(_layer_rows(recorded.metrics)),
        "learned": list(learned_rows(recorded.metrics)),
        "unit": when.step_time.unit,
        "early": [
            (
                *("- (at the end)" if row.threshold is None else f"{row.threshold:g}", f"{row.accuracy:.1%}"),
                *(f"{row.latency:.1f}", f"{row.early:.1%}"),
            )
            for row in exits
        ],
        "different": [
            (key, before.get(key, "-"), here.get(key, "-"))
            for key in dict.fromkeys([*here, *before])
            if here.get(key) != before.get(key)
        ],
        "provenance": sorted(flat(recorded.provenance).items()),
        "again": list(_repeat_commands(recorded)),
        "config": recorded.config_text,
        "no_weights": weights.problem,
    }
    with default_style():
        of_early = [draw_early_exit(exits, when.step_time)] if exits else []
        of_weights = list(draw_weights(weights.arrays))
    plots: dict[str, Sequence[Plot]] = {
        "training": list(draw_curves(epochs, selection.get("epoch"))) if epochs else [],
        "answers": list(_prediction_plots(arrays, names, when.step_time.dt)),
        "early": [("test recordings: accuracy of answers at a probability, against their time", of) for of in of_early],
        "weights": of_weights,
        "recordings": list(_newest_plots(folder / "tensorboard")),
    }
    status = ", ".join([recorded.status, *run_marks(here)])
    title = f"{recorded.name}, seed {recorded.seed}"
    return Page("run.html", title, f"{folder.absolute().name}, {status}", plots, values)


def _repeat_commands(recorded: RecordedRun) -> Iterator[str]:
    """Yield the commands that repeat the run; first the command that started it, if it was recorded."""
    if command := recorded.provenance.get("command"):
        yield shlex.join(map(str, command)) if isinstance(command, list) else str(command)
    folder = shlex.quote(str(recorded.folder))
    yield from (f"snnlab reproduce {folder}", f"snnlab evaluate {folder}", f"snnlab reproduce {folder} --env")


def _summary_rows(recorded: RecordedRun, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    content, metrics, selection, timing = recorded.content, recorded.metrics, recorded.selection, recorded.timing
    if content.get("control"):
        yield "control", f"{content['control']}; the numbers are no valid result"
    if tags := config.get("tags"):
        yield "tags", ", ".join(map(str, tags))
    if active := limits(config):
        yield "limited", f"{'  '.join(active)}; training and test did not use all recordings"
    for stage, label in _STAGES.items():
        windows = metrics.get(f"{stage}/windows")
        of = f" of {metrics.get(f'{stage}/recordings', 0):,.0f} recordings"
        of = of if windows is None else f" of {windows:,.0f} windows{of}"
        if (accuracy := metrics.get(f"{stage}/accuracy")) is not None:
            yield f"{label} accuracy", f"{accuracy:.1%}{of}"
        if (error := metrics.get(f"{stage}/mae")) is not None:
            yield f"{label} mean error", f"{error:.4g}{of}"
    before = selection.get("trained_before") or {}
    if seen := ", ".join(f"{before[part]:,} of {label}" for part, label in _STAGES.items() if before.get(part)):
        yield "the run that it began with was trained on", seen
    if (epoch := selection.get("epoch")) is not None:
        yield "chosen epoch", f"{epoch + 1} of {selection.get('epochs')} ({selection.get('rule')})"
    if (last := metrics.get("last/val/accuracy")) is not None:
        yield "last epoch's validation accuracy", f"{last:.1%}"
    for key, label in (("test/spikes_per_sample", "spikes a test sample"), ("params", "parameters")):
        if (value := metrics.get(key)) is not None:
            yield label, f"{value:,.0f}"
    if timing.get("fit_s") is not None:
        yield "training", f"{timing['fit_s']:,.0f} s"
    for entry in recorded.resumed:
        others = ", with other kernels" if entry.get("kernels") else ""
        yield "resumed", f"{entry.get('at')}, in epoch {entry['epoch'] + 1}{others}"
    if content.get("error"):
        yield "error", str(content["error"])


def _layer_rows(metrics: Mapping[str, float]) -> Iterator[tuple[str, ...]]:
    stage = "test" if any(key.startswith("test/silent/") for key in metrics) else "val"
    for key in metrics:
        if key.startswith(f"{stage}/silent/"):
            layer = key.removeprefix(f"{stage}/silent/")
            rate = metrics.get(f"{stage}/rate_hz/{layer}")
            shown = "-" if rate is None else f"{rate:.2f}"
            yield layer, f"{metrics[f'{stage}/spikes_per_step/{layer}']:.4f}", shown, f"{metrics[key]:.1%}"


def _prediction_plots(arrays: Mapping[str, np.ndarray], names: list[str], dt: float | None) -> Iterator[Plot]:
    """Yield confusion and accuracy over time of validation and test recordings that have one class each."""
    for stage, label in _STAGES.items():
        if f"{stage}_answers" not in arrays or arrays[f"{stage}_target"].ndim != 1:
            continue
        targets, readout, answers = (arrays[f"{stage}_{what}"] for what in ("target", "readout", "answers"))
        found = prediction_metrics(targets, readout, answers, names)
        with default_style():
            drawn = list(draw_predictions(found, names, dt))
        yield from ((f"{label} recordings: {_FINDINGS[name]}", figure) for name, figure in drawn)


def _newest_plots(folder: Path) -> Iterator[Plot]:
    """Yield the newest plot of each kind that the training drew for TensorBoard, if any."""
    if not folder.is_dir():
        return
    logger = logging.getLogger("tensorboard")
    before = logger.level
    logger.setLevel(logging.ERROR)  # a warning that a resumed run's log was cut back is not useful here
    try:
        events = EventAccumulator(str(folder), size_guidance={"images": 1, "scalars": 1, "histograms": 1, "tensors": 1})
        events.Reload()
    finally:
        logger.setLevel(before)
    for tag in events.Tags()["images"]:
        first, *rest = tag.removeprefix("plots/").split("/")
        what = " of ".join([*(_PLOT_KINDS.get(kind) or kind for kind in rest[:1]), *rest[1:]])
        yield f"{first.replace('_', ' ')}: {what}" if what else first, events.Images(tag)[-1].encoded_image_string


_METRICS = ("val/accuracy", "val/loss", "test/accuracy", "val/spikes_per_sample", "params")
_COSTS = (("val/spikes_per_sample", "spikes a validation sample"), ("params", "parameters"))


def runs_page(root: Path, lines: Sequence[ListedRun]) -> Page:
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
            *(values[index] for values in settings.values()),
        )
        for index, line in enumerate(lines)
    ]
    done, names = sum(line.status == "completed" for line in lines), dict.fromkeys(line.name for line in lines)
    title, where = (next(iter(names)), f"{root}: ") if len(names) == 1 else (root.absolute().name, "")
    swept = list(draw_swept(grid_rows(grid), grid.settings)) if grid is not None else []
    pooled = list(pool_folds(grid)) if grid is not None else []
    values = {
        "grid": table(grid) if grid is not None and {SEED, FOLD} & set(grid.keys) else None,
        "folds": [line for one in pooled for line in one.lines()],
        "head": ["run", "status", *shown, *settings],
        "rows": rows,
        "problems": [[line.problem] for line in lines if line.problem],
    }
    subtitle = f"{where}{len(lines)} runs, {done} completed"
    return Page(
        "runs.html",
        title,
        subtitle,
        {"swept": swept, "folds": list(_fold_plots(pooled)), "costs": list(_cost_plots(lines))},
        values,
    )


def _settings(lines: Sequence[ListedRun], grid: Grid | None) -> dict[str, list[str]]:
    """Return the settings in which runs differ, with their values; of a grid its own settings, as typed."""
    if grid is not None:
        subfolders = [os.path.relpath(line.folder, grid.folder) for line in lines]
        if all(subfolder in grid.runs for subfolder in subfolders):
            return {key: [grid.runs[subfolder].get(key, "-") for subfolder in subfolders] for key in grid.keys}
    return differing_settings(
        [{key: value for key, value in line.settings.items() if key not in RUN_KEYS or key == "seed"} for line in lines]
    )


def _fold_plots(pooled: Sequence[PooledFolds]) -> Iterator[Plot]:
    for one in pooled:
        with default_style():
            figure = draw_confusion(one.counts, one.names)
        yield "  ".join(["confusion of all folds", *(f"{key}={value}" for key, value in one.values.items())]), figure


def _cost_plots(lines: Sequence[ListedRun]) -> Iterator[Plot]:
    for cost, label in _COSTS:
        points = [
            Point(
                "", False, SeedSummary(1, float(line.result[cost])), SeedSummary(1, float(line.result["val/accuracy"]))
            )
            for line in lines
            if line.result.get(cost) is not None and line.result.get("val/accuracy") is not None
        ]
        if (figure := draw_costs(points, label, "validation accuracy (%)")) is not None:
            yield f"validation accuracy against {label}", figure


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
    plots = {part.dataset: list(_suite_costs(part, several=len(suite.parts) > 1)) for part in suite.parts}
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
