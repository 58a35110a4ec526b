"""The page of one run, from what its folder holds; the recordings are not needed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from snnlab.record.anytime import Clock, Row, answered, anytime
from snnlab.record.evaluation import findings
from snnlab.record.marks import limits, marks
from snnlab.record.pictures.anytime import draw_anytime
from snnlab.record.pictures.confusion import draw_accuracy_over_time, draw_confusion
from snnlab.record.pictures.style import default_style
from snnlab.record.report.curves import draw_curves
from snnlab.record.report.learned import HEAD, learned_rows
from snnlab.record.report.page import code, document, drawn, folded, note, pictures, png, section, table
from snnlab.record.report.training_pictures import last_pictures
from snnlab.record.run_folder import CONFIG, METRICS, PREDICTIONS
from snnlab.record.run_reading import Recorded
from snnlab.record.runs_table import flat

_STAGES = (("val", "validation"), ("test", "test"))


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
) -> str:
    """Return the page of a run.

    Args:
        recorded: The run.
        config: Its configuration.
        defaults: The configuration of `snnlab train` without any override.
        names: What its classes are called.
        when: What a step is.
    """
    folder, selection = recorded.folder, recorded.selection
    epochs = recorded.epochs() if (folder / METRICS).is_file() else {}
    curves = [(words, drawn(figure)) for words, figure in draw_curves(epochs, selection.get("epoch"))] if epochs else []
    sections = [
        section("Result", table(("", ""), _summary(recorded, config)), note(_protocol(selection))),
        section("Training", pictures(curves)),
        section("Layers", table(("layer", *_LAYER_COLUMNS), _layers(recorded.metrics))),
        section("Learned constants", table(HEAD, learned_rows(recorded.metrics))),
        section("Answers", pictures(_answers(recorded, names, when.clock.dt))),
        section("Answers before the end", *_early(recorded, when)),
        section("Recordings", pictures((words, png(image)) for words, image in last_pictures(folder / "tensorboard"))),
        section("Different from the defaults", table(("setting", "default", "here"), _different(config, defaults))),
        section("Where it comes from", table(("", ""), sorted(flat(recorded.provenance).items()))),
        section(
            "Again",
            code("\n".join(_again(recorded))),
            folded("config.yaml", code((folder / CONFIG).read_text(encoding="utf-8"))),
        ),
    ]
    status = ", ".join([recorded.status, *marks(flat(config))])
    return document(f"{recorded.name}, seed {recorded.seed}", f"{folder.absolute().name}, {status}", sections)


def _again(recorded: Recorded) -> Iterator[str]:
    """Yield the commands that do it again; first the one that was typed, with its --config-dir, where it is known."""
    command = recorded.provenance.get("command")
    if isinstance(command, list):
        command = shlex.join(map(str, command))
    if command:
        yield str(command)
    folder = shlex.quote(str(recorded.folder))
    yield from (f"snnlab reproduce {folder}", f"snnlab evaluate {folder}", f"snnlab reproduce {folder} --env")


def _summary(recorded: Recorded, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    page, metrics, selection, timing = recorded.page, recorded.metrics, recorded.selection, recorded.timing
    if page.get("control"):
        yield "control", f"{page['control']}; the figures are no result"
    if left_out := limits(flat(config)):
        yield "limited", f"{'  '.join(left_out)}; it was no training and test of all recordings"
    for stage, words in _STAGES[::-1]:
        windows = metrics.get(f"{stage}/windows")
        of = f" of {metrics.get(f'{stage}/recordings', 0):,.0f} recordings"
        of = of if windows is None else f" of {windows:,.0f} windows{of}"
        if (accuracy := metrics.get(f"{stage}/accuracy")) is not None:
            yield f"{words} accuracy", f"{accuracy:.1%}{of}"
        if (error := metrics.get(f"{stage}/mae")) is not None:
            yield f"{words} mean error", f"{error:.4g}{of}"
    before = selection.get("trained_before") or {}
    if seen := ", ".join(f"{before[part]:,} of {words}" for part, words in _STAGES if before.get(part)):
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


def _protocol(selection: Mapping[str, Any]) -> str:
    sizes = ", ".join(f"{selection.get(f'{part}_size', 0):,} to {words}" for part, words in _PARTS)
    return f"{sizes}. The epoch was chosen on validation recordings ({selection.get('val_rule')}); one seed."


_PARTS = (("train", "train"), ("val", "validate"), ("test", "test"))
_LAYER_COLUMNS = ("spikes a neuron and step", "rate (Hz)", "never fired")


def _layers(metrics: Mapping[str, float]) -> Iterator[tuple[str, ...]]:
    stage = "test" if any(key.startswith("test/silent/") for key in metrics) else "val"
    for key in metrics:
        if key.startswith(f"{stage}/silent/"):
            layer = key.removeprefix(f"{stage}/silent/")
            rate = metrics.get(f"{stage}/rate_hz/{layer}")
            shown = "-" if rate is None else f"{rate:.2f}"
            yield layer, f"{metrics[f'{stage}/spikes_per_step/{layer}']:.4f}", shown, f"{metrics[key]:.1%}"


def _answers(recorded: Recorded, names: list[str], dt: float | None) -> Iterator[tuple[str, str]]:
    """Yield confusion and accuracy over time of validation and test recordings that have a class each."""
    if not (recorded.folder / PREDICTIONS).is_file():
        return
    arrays = recorded.predictions()
    for stage, words in _STAGES[::-1]:
        if f"{stage}_answers" not in arrays or arrays[f"{stage}_target"].ndim != 1:
            continue
        targets, readout, answers = (arrays[f"{stage}_{what}"] for what in ("target", "readout", "answers"))
        found = findings(targets, readout, answers, names)
        with default_style():
            confusion = draw_confusion(np.array(found["confusion"]), names)
            over_time = draw_accuracy_over_time(np.array(found["accuracy_over_time"]), dt)
        yield f"{words} recordings: answers by class", drawn(confusion)
        yield f"{words} recordings: accuracy against time", drawn(over_time)


def _early(recorded: Recorded, when: When) -> Iterator[str]:
    """Yield what comes out if test recordings are answered as soon as the network is sure enough."""
    if when.no_early or not (recorded.folder / PREDICTIONS).is_file():
        return
    seen = answered(recorded.predictions(), "test")
    if seen is None:
        return
    rows = anytime(seen, when.clock)
    with default_style():
        picture = drawn(draw_anytime(rows, when.clock))
    yield pictures([("test recordings: accuracy of answers at a probability, against their time", picture)])
    head = ("answered at a probability of", "accuracy", f"mean latency ({when.clock.unit})", "before the end")
    cells = (
        ("- (at the end)" if row.threshold is None else f"{row.threshold:g}", f"{row.accuracy:.1%}", *_late(row))
        for row in rows
    )
    yield table(head, cells)
    yield note(
        "A threshold that is chosen by this table is chosen on test recordings: snnlab evaluate RUN --accuracy 0.95"
        " chooses it on validation recordings. --anytime counts the spikes until the answer too."
    )


def _late(row: Row) -> tuple[str, str]:
    return f"{row.latency:.1f}", f"{row.early:.1%}"


def _different(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    here, before = flat(config), flat(defaults)
    for key in dict.fromkeys([*here, *before]):
        if here.get(key) != before.get(key):
            yield key, before.get(key, "-"), here.get(key, "-")
