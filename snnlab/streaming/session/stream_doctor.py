"""`snnlab doctor --stream`: the certificate of a run's stream, and its time a step, as lines of text.

Axes: T steps.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snnlab.data.events import Events
from snnlab.data.formats import read_file
from snnlab.nn.fold_norm import fold_norm
from snnlab.nn.layers.norm import BatchNorm
from snnlab.runs.run_folder import CheckpointName
from snnlab.session.loading import load
from snnlab.session.opened_run import OpenedRun
from snnlab.session.prediction import RunPredictor
from snnlab.session.run_events import frames_of
from snnlab.step_events import StepColumns, events_by_step
from snnlab.streaming.certificate import Certificate, LayerCertificate, certify
from snnlab.streaming.event_stream import EventStream
from snnlab.streaming.session.open_stream import stream

# Times that the recording is run for the time of a step.
_ROUNDS = 3


class StreamDoctorOptions(NamedTuple):
    """Options of `snnlab doctor --stream`.

    Attributes:
        recording: A file of events; None: the run's first test recording.
        dt: Length of a step, ms; None: that of the run.
        fold_norm: Whether batch normalizations are folded.
        reading: `--time-unit`, `--time-origin` and `--columns`, where they are given.
    """

    recording: Path | None
    checkpoint: CheckpointName
    plugins: Sequence[str]
    dt: float | None
    fold_norm: bool
    reading: Mapping[str, str]


class StreamDoctor:
    """A run's network on one recording: as a stream, in dense loops, in PyTorch.

    Args:
        run: The run's folder.
        options: The options.

    Raises:
        DataError: if the recording cannot be read, or the run's recordings are missing.
    """

    def __init__(self, run: str, options: StreamDoctorOptions) -> None:
        step = [] if options.dt is None else ["data.num_bins=null", f"data.dt={options.dt:g}"]
        opened = load(run, options.checkpoint, options.plugins, step)
        self._stream = stream(opened, fold_norm=options.fold_norm)
        self._network = fold_norm(opened.network) if options.fold_norm else opened.network
        own = sum(isinstance(module, BatchNorm) for module in opened.network.modules())
        self._num_folded = own - sum(isinstance(module, BatchNorm) for module in self._network.modules())
        self._name, events = _recording(opened, options)
        self.frames, height = frames_of(opened, events), self._stream.sensor.cells.shape[0]
        self.steps = events_by_step(events, height, self._stream.dt, len(self.frames))
        self.certificate = Certificate()

    def lines(self) -> Iterator[str]:
        """Compare and measure, and yield what was found."""
        self.certificate = found = certify(self._network, self._stream, self.steps, self.frames)
        yield f"{self._name}: {found.steps:,} steps of {self._stream.dt:g} ms, {found.events:,} events"
        yield from _table(found)
        yield _bits_line(found)
        yield _spikes_line(found)
        yield from _rounding_lines(found)
        yield from _grid_lines(found)
        yield self._norm_line()
        yield self._time_line()

    def _norm_line(self) -> str:
        if not self._num_folded:
            return "batch norm  none"
        return f"batch norm  {self._num_folded} folded; all of this compares with the folded network"

    def _time_line(self) -> str:
        taken = np.min([_step_us(self._stream, self.steps) for _ in range(_ROUNDS)], 0)
        p50, p99 = np.percentile(taken, (50, 99))
        line = f"time        p50 {p50:,.1f} us, p99 {p99:,.1f} us a step, one call each"
        return f"{line}; {_ROUNDS} rounds, least of each step"


def _recording(run: OpenedRun, options: StreamDoctorOptions) -> tuple[str, Events]:
    if options.recording is not None:
        predictor = RunPredictor(run, {name[2:].replace("-", "_"): value for name, value in options.reading.items()})
        return options.recording.name, read_file(options.recording, predictor.reading, predictor.settings.size)
    place = int(run.store_indices("test", [0])[0])
    return f"test recording {place}", run.data.store[place]


def _step_us(stream: EventStream, steps: Sequence[StepColumns]) -> np.ndarray:
    stream.reset()
    found = np.zeros(len(steps))
    for n, columns in enumerate(steps):
        begun = time.perf_counter_ns()
        stream.step(*columns)
        found[n] = time.perf_counter_ns() - begun
    return found / 1e3


_COLUMNS = "{:14} {:>10} {:>12} {:>17} {:>18}"


def _table(found: Certificate) -> Iterator[str]:
    yield _COLUMNS.format("layer", "neurons", "spikes", "other states", "other in PyTorch")
    for layer in found.layers.values():
        yield _COLUMNS.format(*_cells(layer)).rstrip()


def _cells(layer: LayerCertificate) -> tuple[str, ...]:
    spikes = ("−", "−") if layer.spikes is None else (f"{layer.spikes:,}", f"{layer.spikes_differ:,}")
    return layer.name, f"{layer.neurons:,}", spikes[0], f"{layer.states_differ:,}", spikes[1]


def _bits_line(found: Certificate) -> str:
    if found.first_step is None:
        return (
            f"bits        equal to plain dense loops: 0 of {found.states:,} states and 0 of {found.outputs:,}"
            " outputs differ, after every step"
        )
    step, place = found.first_step
    differ = sum(layer.states_differ for layer in found.layers.values())
    counts = sum(layer.count_differs for layer in found.layers.values())
    return (
        f"bits        DIFFER from plain dense loops, first in step {step} at {place}: {differ:,} of {found.states:,}"
        f" states, {found.outputs_differ:,} of {found.outputs:,} outputs, {counts:,} numbers of spikes"
    )


def _spikes_line(found: Certificate) -> str:
    neurons = found.steps * sum(layer.neurons for layer in found.layers.values() if layer.spikes is not None)
    text = f"spikes      {found.spikes_differ:,} of {neurons:,} neurons and steps differ from the network in PyTorch"
    first = found.first_spike
    if first is None:
        return text
    text += f", first in step {first.step} at {first.layer} {list(first.at)}"
    if isnan(first.below):
        return text
    return f"{text}: without the spike its membrane is {first.below:.2g} below the threshold of {first.threshold:g}"


def _rounding_lines(found: Certificate) -> Iterator[str]:
    far = [layer for layer in found.layers.values() if layer.step_distance]
    if far:
        text = ", ".join(f"{layer.name} {layer.step_distance:.2g}" for layer in far)
        yield "rounding    a step is as far from its neuron's in PyTorch, from the same states, as its functions round"
        yield f"            differently, at most: {text}"


def _grid_lines(found: Certificate) -> Iterator[str]:
    wrong = [proof for proof in found.proofs if not proof.is_proved]
    if wrong:
        yield "grid        no proof: sums have other bits in another order, so that spikes can differ"
        yield from (f"            {proof.layer}: {proof.problem}" for proof in wrong)
        return
    bounded = [proof for proof in found.proofs if proof.largest]
    limits = ", ".join(f"{proof.layer} {proof.most:,.0f} ({proof.largest:,g} seen)" for proof in bounded)
    yield "grid        proved: all weights are multiples of powers of two, and sums in any order have the same bits"
    yield f"            for inputs up to: {limits}" if limits else "            for all inputs"
