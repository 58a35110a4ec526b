"""`snnlab export --c`: the network of a run as C, certified on its recordings.

Axes: T steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snnlab.errors import ConfigError
from snnlab.interop.c99.c_folder import (
    EVENT,
    CCertificate,
    Recorded,
    certify_c,
    compiler,
    files_of,
    identifier,
    sizes,
    write_folder,
)
from snnlab.interop.c99.c_network import CNetwork, InputMap, c_network
from snnlab.interop.c99.page import page
from snnlab.nn.fold_norm import fold_norm
from snnlab.nn.network_form import network_form
from snnlab.runs.run_folder import CheckpointName
from snnlab.session.loading import load
from snnlab.session.opened_run import OpenedRun, hot_pixel_mask
from snnlab.streaming.buffers import SensorMap, plain_sensor
from snnlab.streaming.session.open_stream import sensor_map
from snnlab.streaming.session.stream_doctor import frames_and_steps


class COptions(NamedTuple):
    """Options of `snnlab export --c`.

    Attributes:
        recordings: Number of test recordings that the compiled network is compared on.
        dt: Length of a step, ms; None: that of the run.
        fold_norm: Whether batch normalizations are folded.
        force: Whether an earlier export is overwritten.
    """

    checkpoint: CheckpointName
    plugins: Sequence[str]
    recordings: int
    dt: float | None
    fold_norm: bool
    force: bool


def export_c(run: Path, target: Path, options: COptions) -> Iterator[str]:
    """Write the network of a run as C into a folder, and yield lines that say what it needs, and what was compared."""
    step = [] if options.dt is None else ["data.num_bins=null", f"data.dt={options.dt:g}"]
    opened = load(run, options.checkpoint, options.plugins, step)
    network = fold_norm(opened.network) if options.fold_norm else opened.network
    settings = opened.session.settings
    form = network_form(network, settings.frame_shape)
    sensor = sensor_map(settings.frame_builder(hot_pixel_mask(opened, settings)), settings)
    recordings = [_recorded(opened, sensor, place) for place in recording_places(opened, options.recordings)]
    name = identifier(opened.experiment.name)
    title = f"{opened.experiment.name}, steps of {settings.step_ms:g} ms"
    written = c_network(form, name, input_map(sensor, settings.frame_shape), title)
    files, cc = files_of(written, form, recordings[0]), compiler()
    found = None if cc is None else certify_c(written, form, recordings, cc)
    lines = [*size_lines(written, files, cc), *certificate_lines(found)]
    if found is not None and found.differ:
        raise RuntimeError(f"the compiled network differs from the plain dense loops: {lines[-1]}")
    write_folder(target, files | {"README.md": page(written, title, lines).encode()}, force=options.force)
    yield from lines


def input_map(sensor: SensorMap, frame_shape: Sequence[int]) -> InputMap:
    """Return where events enter the frame `[H, W, C]` of a network's form."""
    height, width = sensor.cells.shape
    if max(height, width) >= 2**16:
        raise ConfigError("data", f"a sensor of {width} x {height} pixels is too large for the exported events")
    per_polarity = 0 if sensor.is_merged else 1
    if np.array_equal(sensor.cells, plain_sensor(tuple(frame_shape)).cells) and len(frame_shape) > 1 and per_polarity:
        return InputMap(width, height, sensor.polarities)
    channels = frame_shape[0]
    in_width = frame_shape[-1] if len(frame_shape) > 1 else 1
    y, x, channel = (sensor.cells >> 16) & 0xFFFF, sensor.cells & 0xFFFF, sensor.cells >> 32
    places = np.where(sensor.cells < 0, -1, (y * in_width + x) * channels + channel)
    return InputMap(width, height, sensor.polarities, places, per_polarity)


def recording_places(run: OpenedRun, number: int) -> list[int]:
    """Return the places of the first test recordings in the store."""
    found = run.store_indices("test", slice(0, number))
    if not len(found):
        raise ConfigError("--recordings", "the run has no test recordings to compare on")
    return [int(place) for place in found]


def _recorded(run: OpenedRun, sensor: SensorMap, place: int) -> Recorded:
    frames, steps = frames_and_steps(run, sensor, run.session.settings.step_ms, run.data.store[place])
    events = []
    for x, y, p in steps:
        rows = np.zeros(x.size, EVENT)
        rows["x"], rows["y"], rows["p"] = x, y, p
        events.append(rows)
    return Recorded(f"test recording {place}", events, frames)


def size_lines(network: CNetwork, files: dict[str, bytes], cc: str | None) -> list[str]:
    """Return what the network needs."""
    lines = [f"weights     {network.weight_bytes:,} bytes", f"state       {network.state_bytes:,} bytes"]
    if cc is not None and (found := sizes(network, files, cc)) is not None:
        code, stack = found
        lines.append(
            f"code        {code:,} bytes" + ("" if stack is None else f", stack {stack:,} bytes") + ", for this machine"
        )
    return lines


def certificate_lines(found: CCertificate | None) -> list[str]:
    """Return what was compared."""
    if found is None:
        return ["compared    not: there is no C compiler here (cc, gcc, clang); `make check` compares"]
    place = "" if found.first is None else f"; the first in step {found.first[0]}: {found.first[1]}"
    return [
        f"compared    {found.recordings} recordings, {found.steps:,} steps, {found.events:,} events, compiled here",
        f"            {found.values:,} outputs and states: {found.differ:,} differ from plain dense loops{place}",
    ]
