"""`snnlab export --c`: the network of a run as C, certified on its recordings.

Axes: T steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

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
from snnlab.interop.session.open_form import FormOptions, open_form
from snnlab.printable import comment_text
from snnlab.session.opened_run import OpenedRun
from snnlab.session.run_events import frames_of, sensor_of
from snnlab.step_events import SensorMap, events_by_step, plain_sensor


def export_c(run: Path, target: Path, options: FormOptions) -> Iterator[str]:
    """Write the network of a run as C into a folder, and yield lines that say what it needs, and what was compared."""
    opened, form, places = open_form(run, options)
    settings = opened.session.settings
    sensor, step_ms = sensor_of(opened), settings.step_ms
    assert step_ms is not None  # steps of equal numbers of events have been refused
    recordings = [_recorded(opened, sensor, place, step_ms) for place in places]
    name = identifier(opened.experiment.name)
    title = comment_text(f"{opened.experiment.name}, steps of {step_ms:g} ms")
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


def _recorded(run: OpenedRun, sensor: SensorMap, place: int, step_ms: float) -> Recorded:
    recording = run.data.store[place]
    frames = frames_of(run, recording)
    steps = events_by_step(recording, sensor.cells.shape[0], step_ms, len(frames))
    events = []
    for x, y, p in steps:
        rows = np.zeros(x.size, EVENT)
        rows["x"], rows["y"], rows["p"] = x, y, p
        events.append(rows)
    return Recorded(f"test recording {place}", events, frames, step_ms)


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
