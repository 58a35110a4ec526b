"""Writes a network of ReLU layers, converted to integrate-and-fire neurons, as a folder that every command takes.

Axes: T steps, B samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.image import imsave

from snnlab.config.schema import Experiment
from snnlab.data.data_module import EventDataModule
from snnlab.data.data_settings import DataSettings
from snnlab.errors import ConfigError
from snnlab.interop.relu_conversion import (
    InputKind,
    ScalePer,
    SpikingLayers,
    check_convertible,
    convert_network,
    measure_scales,
)
from snnlab.interop.session.conversion_plot import StepCurve, draw_conversion
from snnlab.interop.session.import_run import require_new, write_run
from snnlab.nn.fold_norm import fold_norm
from snnlab.nn.network import Network
from snnlab.nn.record import step_spikes
from snnlab.runs.plots.style import default_style, render
from snnlab.runs.run_folder import CheckpointName
from snnlab.runs.signature import file_hash
from snnlab.runs.tables import Table
from snnlab.session.session import Session
from snnlab.session.weights import require_not_trained_on
from snnlab.training.checkpoints import tensors_hash

# Their frames of steps add up to that of the window.
_SUMS = ("counts", "signed", "level")
PLOT = "conversion.png"


class ConversionRequest(NamedTuple):
    """What is converted, and how.

    Attributes:
        input: Whether each step gets the frame of the window, or its own events.
        steps: Numbers of steps of a frame to try.
        percentile: Percentile of the activations that is one spike a step.
        per: Whether a layer has one scale, or each channel its own.
        within: The loss of right answers that is allowed, as a part of all.
    """

    input: InputKind
    steps: list[int]
    percentile: float
    per: ScalePer
    within: float


def convert_run(
    experiment: Experiment,
    run: Path | None,
    file: Path | None,
    checkpoint: CheckpointName,
    folder: Path,
    request: ConversionRequest,
) -> Iterator[str]:
    """Convert a network, write it as the folder of a run, and yield what was done as lines of text.

    Args:
        experiment: The experiment of the network of ReLU layers.
        run: The run with its weights; None: they are those of `model.weights`.
        file: The file of the weights; None: they are those of the run.
        checkpoint: The run's checkpoint.
        folder: The new folder.
    """
    require_new("convert", folder)
    source = Session(experiment, folder, run=run, checkpoint=checkpoint)
    source.build("settings", "loss")
    _check_data(experiment, source.settings, request.input)
    network = fold_norm(source.network.eval()).eval()
    assert network.built_from is not None
    check_convertible(network.built_from.layers, request.input)
    data, frames = source.data, source.settings.steps
    train, val = (data.epoch_items(part) for part in (data.split.train, data.split.val))
    if not val.size:
        raise ConfigError("convert", "there are no validation recordings to choose the number of steps", "val_fraction")
    if run is not None:
        require_not_trained_on(run, data, "val")
    right = _curve(network, source, data, val).right[-1]
    yield f"the ReLU layers answer {right:,} of {val.size:,} validation recordings correctly"
    scales = measure_scales(
        network,
        (batch.x.flatten(0, 1) for batch in data.batches_of(train)),
        train.size * frames,
        request.percentile,
        request.per,
    )
    what = "the largest output" if request.percentile == 100 else f"percentile {request.percentile:g} of the outputs"
    of = f"{train.size:,} training recordings"
    yield f"scales of {', '.join(scales)}: {what} for {of}, per {request.per}"
    window = "the window" if frames == 1 else f"one of {frames} parts of the window"
    kind = f"the frame of {window}, constant" if request.input == "constant" else "its own events"
    yield f"input of a step: {kind}"

    def made(steps: int) -> tuple[Session, SpikingLayers]:
        unit = 1.0 if request.input == "constant" else steps / frames
        converted = convert_network(network, source.built.shapes, scales, unit)
        session = Session(_spiking(experiment, converted, steps, frames, request.input), folder)
        session.build("built", "loss")
        session.built.network.load_state_dict(converted.weights)
        return session, converted

    curves: list[StepCurve] = []
    tried = [frames * steps for steps in sorted(set(request.steps))]
    # With a constant input of one frame, fewer steps are the first ones of more.
    at_once = request.input == "constant" and frames == 1
    for steps in tried[-1:] if at_once else tried:
        session, _ = made(steps)
        curves.append(_curve(session.built.network.eval(), session, session.data, val))
    if at_once:
        curves = [StepCurve(curves[0].right[:steps], curves[0].spikes[:steps]) for steps in tried]
    enough = [curve for curve in curves if curve.right[-1] >= right - request.within * val.size]
    chosen = enough[0] if enough else max(curves, key=lambda curve: curve.right[-1])
    yield from _table(curves, chosen, val.size).text().splitlines()
    if not enough:
        yield f"none is within {request.within:.1%} of the ReLU layers: more --steps, or --percentile"
    session, converted = made(chosen.steps)
    record = {
        "input": request.input,
        "steps": chosen.steps,
        **({} if request.input == "constant" else {"dt": session.settings.step_ms}),
        "percentile": request.percentile,
        "per": request.per,
        "scales": {name: values.tolist() for name, values in scales.items()},
        "training_recordings": int(train.size),
        "validation_recordings": int(val.size),
        "right": {"relu": right, **{str(curve.steps): int(curve.right[-1]) for curve in curves}},
        "spikes": {str(curve.steps): float(curve.spikes[-1]) for curve in curves},
        "weights": tensors_hash(source.network.state_dict()),
    }
    _write(folder, session, run, file, record)
    with default_style():
        figure = draw_conversion(curves, chosen, val.size, right)
        imsave(folder / PLOT, render(figure))
    yield f"chosen: {chosen.steps} steps; neurons {', '.join(converted.neurons)}"


def _check_data(experiment: Experiment, settings: DataSettings, kind: InputKind) -> None:
    """Refuse data whose frames no steps add up to, and answers that are no mean of those to the frames."""
    if settings.targets != "class":
        raise ConfigError("data.targets", f"convert needs one class per recording, and not {settings.targets}")
    if settings.steps > 1 and settings.length_from != "window":
        raise ConfigError("data.length_from", "convert needs all frames of a recording", "train with window")
    if settings.events_per_bin is not None:
        raise ConfigError("data.events_per_bin", "the frame must be that of the whole window", "set it to null")
    if experiment.loss.get("readout") not in ("mean", "sum"):
        raise ConfigError("loss.readout", "convert needs the mean of the answers to the frames", "train with mean")
    chosen = settings.representation
    name = chosen if isinstance(chosen, str) else chosen.get("type")
    if kind == "events" and (name not in _SUMS or settings.overlap_ms):
        wrong = f"frames of {name}" if name not in _SUMS else "frames that overlap"
        raise ConfigError(
            "data.representation",
            f"{wrong} of single steps do not add up to that of the window, so events cannot be the input",
            "train with counts, or choose --input constant",
        )


def _spiking(experiment: Experiment, converted: SpikingLayers, steps: int, frames: int, kind: InputKind) -> Experiment:
    """Return the experiment of the converted network: its layers, steps and readout."""
    representation = experiment.data.get("representation") or "counts"
    held = {"type": "constant", "of": representation, "frames_per_window": frames}
    data = {"num_bins": steps, "length_from": "window", **({"representation": held} if kind == "constant" else {})}
    changes: dict[str, Any] = {
        "name": f"{experiment.name}_iaf",
        "init_from": None,
        "freeze": [],
        "model": {"layers": converted.layers},
    }

    def changed(node: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
        return {**node, **more, **({"dt": None} if "dt" in node else {})}

    record = dict(experiment.record or {})
    return replace(
        experiment,
        **changes,
        data=changed(experiment.data, data),
        loss={**experiment.loss, "readout": "mean"},
        record={
            **record,
            **changes,
            "data": changed(record["data"], data),
            "loss": {**record["loss"], "readout": "mean"},
        },
    )


@torch.no_grad()
def _curve(network: Network, session: Session, data: EventDataModule, items: np.ndarray) -> StepCurve:
    """Return the right answers and the spikes of a network after each step."""
    right, spikes = torch.zeros(session.settings.steps), torch.zeros(session.settings.steps, dtype=torch.float64)
    for batch in data.batches_of(items):
        y, _ = network(batch.x, lengths=batch.lengths)
        right += (session.loss.answers(y) == batch.targets).sum(1)
        spikes += step_spikes(network, batch.x, lengths=batch.lengths).sum(1)
    return StepCurve(right.int().tolist(), (spikes.cumsum(0) / items.size).tolist())


def _table(curves: list[StepCurve], chosen: StepCurve, of: int) -> Table:
    rows = [
        [
            str(curve.steps),
            f"{curve.right[-1]:,} of {of:,}",
            f"{curve.spikes[-1]:,.0f}",
            "chosen" if curve is chosen else "",
        ]
        for curve in curves
    ]
    return Table(["steps", "right", "spikes", ""], rows, text_columns=())


def _write(folder: Path, session: Session, run: Path | None, file: Path | None, record: Mapping[str, Any]) -> None:
    """Write the folder of the run."""
    provenance: dict[str, Any] = {"converted": dict(record)}
    if file is not None:
        source = {"file": str(file.absolute()), "sha256": file_hash(file), "format": "state dict"}
        provenance["imported"] = {**source, "read_by": f"torch {torch.__version__}", "assumptions": []}
    write_run(folder, session.experiment, session.built, provenance, run)
