"""The page of one run, from what its folder holds; the recordings are not needed."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from snnlab.record.anytime import Clock, answered, anytime
from snnlab.record.evaluation import findings
from snnlab.record.pictures.answers import draw_anytime, draw_findings
from snnlab.record.pictures.style import default_style
from snnlab.record.report.curves import draw_curves, learned_rows
from snnlab.record.report.page import Page, Picture
from snnlab.record.run_folder import CONFIG, METRICS, PREDICTIONS
from snnlab.record.run_reading import Recorded
from snnlab.record.runs_table import flat, limits, marks

_STAGES = {"test": "test", "val": "validation"}
_FINDINGS = {"confusion": "answers by class", "accuracy_over_time": "accuracy against time"}
_KINDS = {"events": "events", "events_over_time": "events over time", "readout": "readout"}


class When(NamedTuple):
    """What a run's steps are in time.

    Attributes:
        clock: What a step is.
        no_early: Why there are no answers before a recording's end; None where there are.
    """

    clock: Clock
    no_early: str | None = None


def run_page(
    recorded: Recorded, config: Mapping[str, Any], defaults: Mapping[str, Any], names: list[str], when: When
) -> Page:
    """Return the page of a run.

    Args:
        names: What its classes are called.
        when: What a step is.
    """
    folder, selection, here, before = recorded.folder, recorded.selection, flat(config), flat(defaults)
    epochs = recorded.epochs() if (folder / METRICS).is_file() else {}
    arrays = recorded.predictions() if (folder / PREDICTIONS).is_file() else {}
    seen = None if when.no_early else answered(arrays, "test")
    early = [] if seen is None else anytime(seen, when.clock)
    parts = {"train": "to train", "val": "to validate", "test": "to test"}
    values = {
        "summary": list(_summary(recorded, here)),
        "sizes": ", ".join(f"{selection.get(f'{part}_size', 0):,} {words}" for part, words in parts.items()),
        "val_rule": selection.get("val_rule"),
        "layers": list(_layers(recorded.metrics)),
        "learned": list(learned_rows(recorded.metrics)),
        "unit": when.clock.unit,
        "early": [
            (
                *("- (at the end)" if row.threshold is None else f"{row.threshold:g}", f"{row.accuracy:.1%}"),
                *(f"{row.latency:.1f}", f"{row.early:.1%}"),
            )
            for row in early
        ],
        "different": [
            (key, before.get(key, "-"), here.get(key, "-"))
            for key in dict.fromkeys([*here, *before])
            if here.get(key) != before.get(key)
        ],
        "provenance": sorted(flat(recorded.provenance).items()),
        "again": list(_again(recorded)),
        "config": (folder / CONFIG).read_text(encoding="utf-8"),
    }
    with default_style():
        of_early = [draw_anytime(early, when.clock)] if early else []
    pictures: dict[str, Sequence[Picture]] = {
        "training": list(draw_curves(epochs, selection.get("epoch"))) if epochs else [],
        "answers": list(_answers(arrays, names, when.clock.dt)),
        "early": [("test recordings: accuracy of answers at a probability, against their time", of) for of in of_early],
        "recordings": list(_last_pictures(folder / "tensorboard")),
    }
    status = ", ".join([recorded.status, *marks(here)])
    title = f"{recorded.name}, seed {recorded.seed}"
    return Page("run.html", title, f"{folder.absolute().name}, {status}", pictures, values)


def _again(recorded: Recorded) -> Iterator[str]:
    """Yield the commands that do it again; first the one that was typed, with its --config-dir, where it is known."""
    if command := recorded.provenance.get("command"):
        yield shlex.join(map(str, command)) if isinstance(command, list) else str(command)
    folder = shlex.quote(str(recorded.folder))
    yield from (f"snnlab reproduce {folder}", f"snnlab evaluate {folder}", f"snnlab reproduce {folder} --env")


def _summary(recorded: Recorded, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    page, metrics, selection, timing = recorded.page, recorded.metrics, recorded.selection, recorded.timing
    if page.get("control"):
        yield "control", f"{page['control']}; the figures are no result"
    if tags := config.get("tags"):
        yield "tags", ", ".join(map(str, tags))
    if left_out := limits(config):
        yield "limited", f"{'  '.join(left_out)}; it was no training and test of all recordings"
    for stage, words in _STAGES.items():
        windows = metrics.get(f"{stage}/windows")
        of = f" of {metrics.get(f'{stage}/recordings', 0):,.0f} recordings"
        of = of if windows is None else f" of {windows:,.0f} windows{of}"
        if (accuracy := metrics.get(f"{stage}/accuracy")) is not None:
            yield f"{words} accuracy", f"{accuracy:.1%}{of}"
        if (error := metrics.get(f"{stage}/mae")) is not None:
            yield f"{words} mean error", f"{error:.4g}{of}"
    before = selection.get("trained_before") or {}
    if seen := ", ".join(f"{before[part]:,} of {words}" for part, words in _STAGES.items() if before.get(part)):
        yield "the run that it began with was trained on", seen
    if (epoch := selection.get("epoch")) is not None:
        yield "chosen epoch", f"{epoch + 1} of {selection.get('epochs')} ({selection.get('rule')})"
    if (last := metrics.get("last/val/accuracy")) is not None:
        yield "last epoch's validation accuracy", f"{last:.1%}"
    for key, words in (("test/spikes_per_sample", "spikes a test sample"), ("params", "parameters")):
        if (value := metrics.get(key)) is not None:
            yield words, f"{value:,.0f}"
    if timing.get("fit_s") is not None:
        yield "training", f"{timing['fit_s']:,.0f} s"
    for entry in recorded.resumed:
        others = ", with other kernels" if entry.get("kernels") else ""
        yield "resumed", f"{entry.get('at')}, in epoch {entry['epoch'] + 1}{others}"
    if page.get("error"):
        yield "error", str(page["error"])


def _layers(metrics: Mapping[str, float]) -> Iterator[tuple[str, ...]]:
    stage = "test" if any(key.startswith("test/silent/") for key in metrics) else "val"
    for key in metrics:
        if key.startswith(f"{stage}/silent/"):
            layer = key.removeprefix(f"{stage}/silent/")
            rate = metrics.get(f"{stage}/rate_hz/{layer}")
            shown = "-" if rate is None else f"{rate:.2f}"
            yield layer, f"{metrics[f'{stage}/spikes_per_step/{layer}']:.4f}", shown, f"{metrics[key]:.1%}"


def _answers(arrays: Mapping[str, np.ndarray], names: list[str], dt: float | None) -> Iterator[Picture]:
    """Yield confusion and accuracy over time of validation and test recordings that have a class each."""
    for stage, words in _STAGES.items():
        if f"{stage}_answers" not in arrays or arrays[f"{stage}_target"].ndim != 1:
            continue
        targets, readout, answers = (arrays[f"{stage}_{what}"] for what in ("target", "readout", "answers"))
        found = findings(targets, readout, answers, names)
        with default_style():
            drawn = list(draw_findings(found, names, dt))
        yield from ((f"{words} recordings: {_FINDINGS[name]}", figure) for name, figure in drawn)


def _last_pictures(folder: Path) -> Iterator[Picture]:
    """Yield the newest picture of each kind that the training drew for TensorBoard; nothing where there is none."""
    if not folder.is_dir():
        return
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    said = logging.getLogger("tensorboard")
    before = said.level
    said.setLevel(logging.ERROR)  # that a resumed run was cut back is no news
    try:
        events = EventAccumulator(str(folder), size_guidance={"images": 1, "scalars": 1, "histograms": 1, "tensors": 1})
        events.Reload()
    finally:
        said.setLevel(before)
    for tag in events.Tags()["images"]:
        first, *rest = tag.removeprefix("pictures/").split("/")
        what = " of ".join([*(_KINDS.get(kind) or kind for kind in rest[:1]), *rest[1:]])
        yield f"{first.replace('_', ' ')}: {what}" if what else first, events.Images(tag)[-1].encoded_image_string
