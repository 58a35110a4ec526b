"""The pages of `snnlab report`, one HTML file each: of a run, a folder of runs, a suite, a search."""

from __future__ import annotations

import base64
import io
import logging
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from snnlab.files import write_atomically
from snnlab.runs.early_exit import StepTime, early_exit_curve, recorded_answers
from snnlab.runs.plots.answers import draw_confusion, draw_early_exit, draw_predictions
from snnlab.runs.plots.style import default_style
from snnlab.runs.plots.weight_plots import draw_weights
from snnlab.runs.pooled_folds import PooledFolds, pool_folds
from snnlab.runs.predictions import prediction_metrics
from snnlab.runs.recorded import RecordedRun, flat
from snnlab.runs.report_figures import Point, draw_costs, draw_curves, draw_swept, learned_rows
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
from snnlab.runs.statistics import SeedSummary
from snnlab.runs.tables import metric_text, render

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
        "recordings": list(_newest_plots(folder / "tensorboard", arrays, names)),
    }
    status = ", ".join([recorded.status, *run_marks(here)])
    title = f"{recorded.name}, seed {recorded.seed}"
    return Page("run.html", title, f"{folder.absolute().name}, {status}", plots, values)


def _repeat_commands(recorded: RecordedRun) -> Iterator[str]:
    """Yield the commands that repeat the run; first the command that started it, if it was recorded."""
    if command := recorded.provenance.get("command"):
        yield shlex.join(map(str, command)) if isinstance(command, list) else str(command)
    folder = shlex.quote(str(recorded.folder))
    yield from (
        f"snnlab reproduce {folder}",
        f"snnlab evaluate {folder} --mistakes",
        f"snnlab reproduce {folder} --env",
    )


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
        if not _has_classes(arrays, stage):
            continue
        targets, readout, answers = (arrays[f"{stage}_{what}"] for what in ("target", "readout", "answers"))
        found = prediction_metrics(targets, readout, answers, names)
        with default_style():
            drawn = list(draw_predictions(found, names, dt))
        yield from ((f"{label} recordings: {_FINDINGS[name]}", figure) for name, figure in drawn)


def _has_classes(arrays: Mapping[str, np.ndarray], stage: str) -> bool:
    return f"{stage}_answers" in arrays and arrays[f"{stage}_target"].ndim == 1


def _newest_plots(folder: Path, arrays: Mapping[str, np.ndarray], names: Sequence[str]) -> Iterator[Plot]:
    """Yield the newest plot of each kind that the training drew for TensorBoard, if any, and is not in the page yet."""
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
        if first == "confusion" and _has_classes(arrays, "val"):
            continue
        what = " of ".join([*(_PLOT_KINDS.get(kind) or kind for kind in rest[:1]), *rest[1:]])
        number = re.fullmatch(r"recording_(\d+)", first)
        subject = first if number is None else _recording_text(int(number[1]), arrays, names)
        yield f"{subject}: {what}" if what else subject, events.Images(tag)[-1].encoded_image_string


def _recording_text(number: int, arrays: Mapping[str, np.ndarray], names: Sequence[str]) -> str:
    """Return number, part and answer of a recording that the training drew: one of those to validate."""
    text = f"recording {number}, validation"
    if not _has_classes(arrays, "val") or not (rows := np.flatnonzero(arrays["val_recording"] == number)).size:
        return text
    target, answer = int(arrays["val_target"][rows[0]]), int(arrays["val_readout"][rows[0]].argmax())
    return f"{text}, right" if answer == target else f"{text}, wrong ({names[target]} answered as {names[answer]})"


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
