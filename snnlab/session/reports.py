"""The plots of an opened run, as matplotlib figures, and the pages of runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from matplotlib.figure import Figure

from snnlab.config.compose import compose_experiment
from snnlab.config.recorded_run import compose_run
from snnlab.data.data_settings import read_shared_settings
from snnlab.errors import ConfigError, RunFolderError, did_you_mean
from snnlab.features import provided, provides
from snnlab.runs.early_exit import early_exit_curve, recorded_answers
from snnlab.runs.plots import default_style, draw_network_activity, draw_recording
from snnlab.runs.plots.answers import draw_early_exit, draw_predictions
from snnlab.runs.plots.callback import run_recording
from snnlab.runs.predictions import prediction_metrics
from snnlab.runs.recorded import read_run
from snnlab.runs.report_figures import curves, draw_curve
from snnlab.runs.report_pages import Page, RunWeights, TimeAxis, run_page, runs_page
from snnlab.runs.run_folder import CONFIG, METRICS, PREDICTIONS, require_no_links
from snnlab.runs.runs_table import find_all_runs, read_listed_run
from snnlab.session.early_exit_options import early_exit_problem, step_time
from snnlab.session.opened_run import OpenedRun, require_part
from snnlab.session.weights import run_weights

_RECORDING_FIGURES = ("events", "events_over_time", "readout")


def figure_names(run: OpenedRun) -> list[str]:
    """Return the names of the plots of a run; those of a layer end with its name."""
    layers = [f"{what}/{layer}" for layer in run.built.spiking for what in ("raster", "membranes")]
    return [*_file_figures(run, "test"), *_RECORDING_FIGURES, *layers]


def figure(run: OpenedRun, name: str, part: str, recording: int | None) -> Figure:
    """Draw a plot of a run.

    Args:
        name: One of `figure_names`.
        part: The recordings: `train`, `val` or `test`.
        recording: The number in the store, for a plot of one recording; None: the first of the part.
    """
    with default_style():
        if name in _RECORDING_FIGURES or name.startswith(("raster/", "membranes/")):
            found = dict(_recording_figures(run, part, recording))
            if name in found:
                return found[name]
        elif (draw := _file_figures(run, part).get(name)) is not None:
            return draw()
    known = figure_names(run)
    near = did_you_mean(name, known)
    raise ConfigError("figure", f"there is no plot {name} of {part} recordings", near, () if near else known)


def _file_figures(run: OpenedRun, part: str) -> dict[str, Callable[[], Figure]]:
    """Return the functions that draw the plots that need no recordings."""
    found: dict[str, Callable[[], Figure]] = {}
    if run.recorded.has(METRICS):
        chosen_epoch = run.recorded.selection.get("epoch")
        found |= {name: partial(draw_curve, run.epochs, one, chosen_epoch) for name, one in curves(run.epochs).items()}
    if run.recorded.has(PREDICTIONS) and f"{part}_target" in run.predictions:
        found |= _prediction_figures(run, part)
    return found


def _prediction_figures(run: OpenedRun, part: str) -> dict[str, Callable[[], Figure]]:
    settings = run.session.settings
    names = run.recorded.class_names(settings.num_classes) or [str(number) for number in range(settings.num_classes)]
    targets, readout, answers = (run.predictions[f"{part}_{what}"] for what in ("target", "readout", "answers"))
    found, each = prediction_metrics(targets, readout, answers, names), settings.targets == "steps"
    drawn = partial(draw_predictions, found, names, settings.step_ms, labelled_steps=each)
    what = ["error_over_time"] if "error_over_time" in found else ["confusion", "accuracy_over_time"]
    plots: dict[str, Callable[[], Figure]] = {name: lambda name=name: dict(drawn())[name] for name in what}
    refused = early_exit_problem(run.experiment, settings, run.network)
    seen = None if refused else recorded_answers(run.predictions, part)
    if seen is not None:
        times = step_time(settings)
        plots["anytime"] = lambda: draw_early_exit(early_exit_curve(seen, times), times)
    return plots


def _recording_figures(run: OpenedRun, part: str, recording: int | None) -> Iterator[tuple[str, Figure]]:
    if recording is None:
        require_part(part)
        recording = int(getattr(run.data.split, part)[0])
    if not 0 <= recording < len(run.data.store):
        raise IndexError(f"there are {len(run.data.store):,} recordings, 0 to {len(run.data.store) - 1}")
    seen = run_recording(run.data, run.network, run.session.loss, recording, torch.device("cpu"), nullcontext())
    yield from draw_recording(seen)
    yield from draw_network_activity(seen)


def build_page(folder: Path, figures: str | None = None) -> Page:
    """Build the report page of a folder.

    Args:
        folder: The folder of a run, of runs, or of something that a feature knows by a file in it.
        figures: The file format in which each plot is written too; None: no files.
    """
    of_features = (what for what in provides() if what.startswith("report of "))
    known = next((what for what in of_features if (folder / what.removeprefix("report of ")).is_file()), None)
    if known or (folder / CONFIG).is_file():
        require_no_links(folder)  # pages are sent to others: they must not show other files of the user
    if (folder / CONFIG).is_file():
        return _run_page(folder)
    return provided(known)(folder, redraw=figures is not None) if known else _runs_page(folder)


def _run_page(folder: Path) -> Page:
    recorded = read_run(folder)
    recorded.check_files()
    experiment = compose_run(folder, use="record")
    defaults, _ = compose_experiment([], None)
    settings = read_shared_settings(experiment.data)
    when = TimeAxis(step_time(settings), early_exit_problem(experiment, settings))
    names = recorded.class_names(settings.num_classes) or [str(number) for number in range(settings.num_classes)]
    try:
        weights, problem = {name: values.float().numpy() for name, values in run_weights(folder, "best").items()}, ""
    except RunFolderError as error:  # a run that failed early, or a record of several seeds
        weights, problem = {}, str(error)
    drawn = RunWeights(weights, problem)
    return run_page(recorded, experiment.record or {}, defaults.record or {}, names, when, drawn)


def _runs_page(folder: Path) -> Page:
    lines = [read_listed_run(run) for run in find_all_runs(folder)]
    if not lines:
        raise RunFolderError("report", f"there is no run below {folder}")
    return runs_page(folder, lines)
