"""The pictures of an opened run, as matplotlib's figures: how it learned, what it answered, what its layers do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial

import torch
from matplotlib.figure import Figure

from snnlab.errors import ConfigError, did_you_mean
from snnlab.experiments.report_figures import curves, draw_curve
from snnlab.runs.early_exit import answered, anytime
from snnlab.runs.plots import default_style, draw_answer, draw_recording
from snnlab.runs.plots.answers import draw_anytime, draw_findings
from snnlab.runs.plots.callback import see
from snnlab.runs.predictions import findings
from snnlab.runs.run_folder import METRICS, PREDICTIONS
from snnlab.session.early_answers import clock_of, no_early_answers
from snnlab.session.opened_run import OpenedRun

_OF_RECORDINGS = ("events", "events_over_time", "readout")


def figure_names(run: OpenedRun) -> list[str]:
    """Return the names of the pictures that a run has, those of the layers with the layer's name behind."""
    layers = [f"{what}/{layer}" for layer in run.built.spiking for what in ("raster", "membranes")]
    return [*_of_files(run, "test"), *_OF_RECORDINGS, *layers]


def figure(run: OpenedRun, name: str, part: str, recording: int) -> Figure:
    """Draw a picture of a run.

    Args:
        name: One of `figure_names`.
        part: Of which recordings: `train`, `val` or `test`.
        recording: Which of them, from 0, for a picture of one.

    Raises:
        ConfigError: if there is no such picture.
        IndexError: if there is no such recording.
    """
    with default_style():
        if name in _OF_RECORDINGS or name.startswith(("raster/", "membranes/")):
            found = dict(_of_recording(run, part, recording))
            if name in found:
                return found[name]
        elif (draw := _of_files(run, part).get(name)) is not None:
            return draw()
    known = figure_names(run)
    near = did_you_mean(name, known)
    raise ConfigError("figure", f"there is no {name} of {part} recordings", near, () if near else known)


def _of_files(run: OpenedRun, part: str) -> dict[str, Callable[[], Figure]]:
    """Return what draws each picture for which no recordings are needed."""
    found: dict[str, Callable[[], Figure]] = {}
    if (run.folder / METRICS).is_file():
        chosen = run.recorded.selection.get("epoch")
        found |= {name: partial(draw_curve, run.epochs, one, chosen) for name, one in curves(run.epochs).items()}
    if (run.folder / PREDICTIONS).is_file() and f"{part}_target" in run.predictions:
        found |= _of_answers(run, part)
    return found


def _of_answers(run: OpenedRun, part: str) -> dict[str, Callable[[], Figure]]:
    settings = run.session.settings
    names = run.recorded.class_names(settings.num_classes) or [str(number) for number in range(settings.num_classes)]
    targets, readout, answers = (run.predictions[f"{part}_{what}"] for what in ("target", "readout", "answers"))
    found, each = findings(targets, readout, answers, names), settings.targets == "steps"
    drawn = partial(draw_findings, found, names, settings.step_ms, labelled_steps=each)
    what = ["error_over_time"] if "error_over_time" in found else ["confusion", "accuracy_over_time"]
    pictures: dict[str, Callable[[], Figure]] = {name: lambda name=name: dict(drawn())[name] for name in what}
    seen = None if no_early_answers(run.experiment, settings) else answered(run.predictions, part)
    if seen is not None:
        clock = clock_of(settings)
        pictures["anytime"] = lambda: draw_anytime(anytime(seen, clock), clock)
    return pictures


def _of_recording(run: OpenedRun, part: str, recording: int) -> Iterator[tuple[str, Figure]]:
    (index,) = run.chosen(part, recording)
    loss = run.session.loss
    seen = see(run.data, run.network, loss, int(index), torch.device("cpu"), nullcontext())
    yield from draw_recording(seen)
    yield from draw_answer(seen)
