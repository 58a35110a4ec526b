"""Evaluates a recorded run: metrics per class and over time, predictions, plots."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.image import imsave

from snnlab.bundles import is_bundle
from snnlab.config.schema import Experiment
from snnlab.console import quiet_lightning
from snnlab.data.data_module import EventDataModule
from snnlab.data.dataset import Dataset
from snnlab.errors import ConfigError, did_you_mean
from snnlab.files import unwritable, write_json, write_npz, write_text
from snnlab.nn.neurons.whole_neuron import WholeNeuron
from snnlab.runs.early_exit import at_threshold, early_exit_csv, early_exit_curve, fastest_threshold, recorded_answers
from snnlab.runs.mistakes import mistakes_table, wrong_answers
from snnlab.runs.onsets import onset_errors
from snnlab.runs.plots.answers import draw_early_exit, draw_predictions
from snnlab.runs.plots.style import default_style, render
from snnlab.runs.predictions import CumulativeSpikes, Predictions, layer_names, prediction_metrics
from snnlab.runs.recorded import is_run, read_run_if_ended
from snnlab.runs.run_folder import PREDICTIONS, RESULT, CheckpointName, require_no_links
from snnlab.runs.tables import csv_text
from snnlab.session.early_exit_options import EarlyExitOptions, EarlyExitResult, early_exit_lines, step_time
from snnlab.session.fit import evaluate_stage
from snnlab.session.opened_run import PARTS
from snnlab.session.session import Session
from snnlab.session.weights import require_not_trained_on
from snnlab.training.progress import Timing, bar_callbacks
from snnlab.zoo import is_packaged

_log = logging.getLogger(__name__)


def evaluate(
    run: Path,
    experiment: Experiment,
    part: str,
    checkpoint: CheckpointName,
    out: str | Path | None,
    overrides: list[str],
    exit_options: EarlyExitOptions | None = None,
    *,
    mistakes: bool = False,
) -> tuple[dict[str, Any], Path]:
    """Evaluate, write the results, and return them with their folder.

    Args:
        part: The recordings: `test`, `val` or `train`.
        checkpoint: The weights: `best` or `last`.
        out: The output folder; None: a new one in the run's folder, or in `outputs` for a packaged network.
        overrides: The overrides of the user, for the results.
        exit_options: Evaluate early exit too.
        mistakes: Return and write the wrong answers too.
    """
    if part not in PARTS:
        raise ConfigError("evaluate", f"there is no split {part}", did_you_mean(part, PARTS), PARTS)
    folder = evaluation_folder(run, part, checkpoint) if out is None else Path(out).expanduser()
    if out is not None and is_run(folder):
        raise ConfigError(
            "evaluate", f"--out: {out} is a run folder, and its result would be overwritten", "choose another folder"
        )
    session = Session(experiment, folder, run=run, checkpoint=checkpoint)
    session.use_threads()
    session.build("loss", "network")
    settings, data = session.settings, session.data
    if mistakes and settings.targets != "class":
        raise ConfigError(
            "evaluate: --mistakes", f"needs one class a recording, and data.targets is {settings.targets}"
        )
    for used in {part, "val"} if exit_options and exit_options.accuracy is not None else {part}:
        if used != "train":
            require_not_trained_on(run, data, used)
    _select_part(data, part)
    if exit_options:
        exit_options.check(experiment, settings, data, session.network)
    if not any(override.lstrip("+~").startswith("data") for override in overrides):
        _warn_if_recordings_changed(run, data.store.fingerprint)
    with quiet_lightning():
        # As in the training: a first convolution on events and one on frames differ in the last digits.
        session.set_computation()
        found, tested = evaluate_stage(session, "test", bar_callbacks(Timing(time.perf_counter())))
        early_exit = _evaluate_early_exit(exit_options, tested, session) if exit_options else None
    plain = {**tested, **(early_exit.arrays if early_exit else {})}
    arrays = {name.replace("test_", f"{part}_", 1): values for name, values in plain.items()}
    values = _evaluation_record(experiment, session.dataset, data, part, checkpoint, overrides, dict(found), arrays)
    ended = read_run_if_ended(run)
    if settings.targets == "steps" and settings.step_ms is not None:
        of_part = (arrays[f"{part}_target"], arrays[f"{part}_readout"].argmax(-1))
        found_onsets = onset_errors(*of_part, list(values["accuracy_of_class"]), settings.step_ms)
        values["onsets"] = {name: one._asdict() for name, one in found_onsets.items()}
    if widths := {one.target.state_bits for one in session.network.modules() if isinstance(one, WholeNeuron)}:
        values["membrane_bits"] = max(widths)
    values["imported"] = ended is not None and ended.imported is not None
    if early_exit:
        values["anytime"] = early_exit.record
    if mistakes:
        values["mistakes"] = wrong_answers(arrays, part, list(values["accuracy_of_class"]), session.dataset.name)
    _write_evaluation(
        folder, values, {"layers": layer_names(session.built.spiking), **arrays}, settings.step_ms, early_exit
    )
    return values, folder


def result_lines(values: dict[str, Any]) -> list[str]:
    """Return the results as lines of text."""
    metrics, part = values["metrics"], values["split"]
    if values["targets"] in ("value", "series"):
        mae, rmse, r2 = (metrics[f"{part}/{name}"] for name in ("mae", "rmse", "r2"))
        score = f"mean error {mae:.4g}, rms error {rmse:.4g}, R2 {r2:.3f}"
    elif values.get("imported"):
        right, of = (sum(column) for column in zip(*values["accuracy_of_class"].values(), strict=True))
        score = f"{right:,} of {of:,} right, no accuracy: what an imported network was trained on is not known"
    else:
        score = f"accuracy {metrics[f'{part}/accuracy']:.1%}"
        if values["targets"] == "steps":
            score += f", balanced {values['balanced_accuracy']:.1%}"
    text_lines = [f"control: {values['control']}: these numbers are not a result"] if values.get("control") else []
    windows = f"{values['windows']:,} windows of " if "windows" in values else ""
    text_lines += [
        f"{windows}{values['recordings']:,} {part} recordings, weights of the {values['checkpoint']} epoch:"
        f" {score}, loss {metrics[f'{part}/loss']:.4f}"
    ]
    names = values.get("accuracy_of_class", {})
    width = max(map(len, names), default=0)
    for name, (right, of) in names.items():
        share = f"  {right / of:6.1%}" if of and not values.get("imported") else ""
        text_lines.append(f"  {name:{width}}  {right:>6,} of {of:>6,}{share}")
    for name, one in values.get("onsets", {}).items():
        if one["found"]:
            late = f"{one['mean_ms']:+.0f} ms, median of sizes {one['median_ms']:.0f} ms"
            text_lines.append(f"  onset of {name:{width}}  {one['found']:>6,} of {one['onsets']:>6,} found  {late}")
    text_lines += operation_lines(values)
    if "anytime" in values:
        text_lines += early_exit_lines(values["anytime"], imported=values.get("imported", False))
    return text_lines


def operation_lines(values: Mapping[str, Any]) -> list[str]:
    """Return the operations of a recording by kind and width; none if they are not known."""
    metrics, part = values["metrics"], values["split"]
    if f"{part}/synops_acs" not in metrics:
        return []
    found = re.compile(rf"{part}/synops_(macs|acs)_(\d+)_bits")
    of_bits = [
        (match[1], f"{match[2]}-bit weights", n) for name, n in metrics.items() if (match := found.fullmatch(name))
    ]
    kinds = of_bits or [(kind, "32-bit floats", metrics[f"{part}/synops_{kind}"]) for kind in ("macs", "acs")]
    names = {"macs": "multiply-accumulates (MACs)", "acs": "accumulates (ACs)"}
    lines = [(n, f"{names[kind]} of {width}") for kind, width, n in kinds if n]
    width = f"{values['membrane_bits']} bits" if "membrane_bits" in values else "32-bit floats"
    lines.append((metrics[f"{part}/membrane_updates"], f"updates of neurons, of {width}"))
    sample = "window" if "windows" in values else "recording"
    return [f"operations a {sample}, the mean:", *(f"  {n:>14,.0f}  {what}" for n, what in lines)]


def _evaluate_early_exit(
    exit_options: EarlyExitOptions, arrays: Mapping[str, np.ndarray], session: Session
) -> EarlyExitResult:
    """Evaluate early exit from the arrays of a test; spikes and validation need one more pass each.

    If a threshold is chosen, the data's test recordings are the validation recordings afterwards.
    """
    data = session.data

    def test_with(callback: CumulativeSpikes | Predictions) -> dict[str, np.ndarray]:
        session.evaluator([callback]).test(session.module, datamodule=data, verbose=False)
        return callback.arrays()

    # A separate pass, since the test itself counts operations.
    spikes = test_with(CumulativeSpikes())
    times, seen = step_time(data.settings), recorded_answers({**arrays, **spikes}, "test")
    assert seen is not None
    rows = early_exit_curve(seen, times)
    record: dict[str, Any] = {
        "unit": times.unit,
        "recordings": len(seen.targets),
        "thresholds": [row._asdict() for row in rows],
    }
    if exit_options.accuracy is None:
        return EarlyExitResult(rows, times, spikes, record)
    data.split = replace(data.split, test=data.split.val)
    of_val = recorded_answers(test_with(Predictions("test")), "test")
    assert of_val is not None
    on_val = fastest_threshold(of_val, exit_options.accuracy, times)
    chosen = on_val and at_threshold(seen, on_val.threshold, times)
    both = {
        "val_recordings": len(of_val.targets),
        "on_val": on_val and on_val._asdict(),
        "on_test": chosen and chosen._asdict(),
    }
    return EarlyExitResult(rows, times, spikes, {**record, "asked": exit_options.accuracy, **both}, chosen)


def _select_part(data: EventDataModule, part: str) -> None:
    chosen = getattr(data.split, part)
    if not chosen.size:
        raise ConfigError("evaluate", f"there are no {part} recordings")
    data.split = replace(data.split, test=chosen)


def _warn_if_recordings_changed(run: Path, fingerprint: str) -> None:
    """Warn if the same settings now give other recordings than those of the run."""
    recorded = read_run_if_ended(run)
    if recorded is not None and recorded.provenance.get("data_fingerprint") not in (None, fingerprint):
        _log.warning("the recordings differ from those that %s was trained and tested on: the files have changed", run)


def evaluation_folder(run: Path, part: str, checkpoint: str) -> Path:
    """Return a new folder for an evaluation: in the run's, or in `outputs` for a packaged network and for a bundle."""
    require_no_links(run)
    folder = run
    if is_packaged(run) or is_bundle(run):
        folder = Path("outputs") / (f"zoo_{run.name}" if is_packaged(run) else run.name)
    return folder / "evaluations" / f"{part}_{checkpoint}_{datetime.now():%Y-%m-%d_%H-%M-%S.%f}"[:-3]


def _evaluation_record(
    experiment: Experiment,
    dataset: Dataset,
    data: EventDataModule,
    part: str,
    checkpoint: str,
    overrides: list[str],
    found: dict[str, float],
    arrays: dict[str, np.ndarray],
) -> dict[str, Any]:

    names = dataset.class_names or [str(number) for number in range(dataset.num_classes)]
    targets, readout, answers = (arrays[f"{part}_{what}"] for what in ("target", "readout", "answers"))
    return {
        "split": part,
        "checkpoint": checkpoint,
        "overrides": overrides,
        "data": experiment.data["type"],
        "data_fingerprint": data.store.fingerprint,
        "recordings": int(np.unique(arrays[f"{part}_recording"]).size),
        **({} if data.windows is None else {"windows": len(targets)}),
        "targets": data.settings.targets,
        "control": experiment.control,
        "metrics": {name.replace("test/", f"{part}/", 1): float(value) for name, value in found.items()},
        **prediction_metrics(targets, readout, answers, names),
    }


def _write_evaluation(
    folder: Path,
    values: dict[str, Any],
    arrays: dict[str, np.ndarray],
    dt: float | None,
    early_exit: EarlyExitResult | None,
) -> None:

    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_npz(folder / PREDICTIONS, arrays)
        with default_style():
            drawn = []
            if early_exit:
                right_of = early_exit.record["recordings"] if values["imported"] else None
                figure = draw_early_exit(early_exit.rows, early_exit.times, early_exit.chosen, right_of)
                drawn.append(("anytime", figure))
            names, each = list(values.get("accuracy_of_class", ())), values["targets"] == "steps"
            of_answers = draw_predictions(values, names, dt, labelled_steps=each, imported=values["imported"])
            for name, figure in (*of_answers, *drawn):
                imsave(folder / f"{name}.png", render(figure))
        if early_exit:
            write_text(folder / "anytime.csv", early_exit_csv(early_exit.rows, early_exit.times))
        if "mistakes" in values:
            table = mistakes_table(values["mistakes"])
            write_text(folder / "mistakes.csv", csv_text(table.head, table.rows))
        write_json(folder / RESULT, values)
    except OSError as error:
        raise unwritable(folder, error) from error
