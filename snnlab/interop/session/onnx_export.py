"""`snnlab export --onnx`: the network of a run as an ONNX model, compared in ONNX Runtime on its recordings.

Axes: T steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isnan
from pathlib import Path
from typing import NamedTuple

from snnlab.errors import ConfigError
from snnlab.files import write_atomically
from snnlab.interop.onnx_network import OPSET, OnnxNetwork, onnx_network, require_onnx
from snnlab.interop.onnx_run import TOLERANCE, OnnxCertificate, certify_onnx, loop_differences
from snnlab.interop.session.c_export import recording_places
from snnlab.nn.fold_norm import fold_norm
from snnlab.nn.network_form import network_form
from snnlab.runs.run_folder import CheckpointName
from snnlab.session.loading import load
from snnlab.streaming.session.stream_doctor import frames_of


class OnnxOptions(NamedTuple):
    """Options of `snnlab export --onnx`.

    Attributes:
        all_steps: Whether the model takes all steps at once.
        recordings: Number of test recordings that the model is compared on.
        dt: Length of a step, ms; None: that of the run.
        fold_norm: Whether batch normalizations are folded.
    """

    checkpoint: CheckpointName
    plugins: Sequence[str]
    all_steps: bool
    recordings: int
    dt: float | None
    fold_norm: bool


def export_onnx(run: Path, target: Path, options: OnnxOptions) -> Iterator[str]:
    """Write the network of a run as an ONNX model, and yield lines that say what it has, and what was compared."""
    require_onnx()
    step = [] if options.dt is None else ["data.num_bins=null", f"data.dt={options.dt:g}"]
    opened = load(run, options.checkpoint, options.plugins, step)
    network = fold_norm(opened.network) if options.fold_norm else opened.network
    settings = opened.session.settings
    form = network_form(network, settings.frame_shape)
    recordings = [frames_of(opened, opened.data.store[at]) for at in recording_places(opened, options.recordings)]
    written = onnx_network(form, all_steps=options.all_steps, step_ms=settings.step_ms)
    found = certify_onnx(onnx_network(form, with_neurons=True), recordings)
    if not found.is_equal:
        place = "" if found.first is None else f", first in step {found.first[0]} at {found.first[1]}"
        raise RuntimeError(
            f"ONNX Runtime is far from the plain dense loops: {found.far:,} outputs and states"
            f" and {found.spikes_far:,} spikes{place}"
        )
    lines = [_size_line(written), *certificate_lines(found)]
    if options.all_steps:
        far, total = loop_differences(written, onnx_network(form), recordings)
        lines.append(
            f"all steps   {far:,} of {total:,} outputs and last states are farther than this from single steps"
        )
    content = written.model.SerializeToString()
    try:
        write_atomically(target, lambda file: file.write(content))
    except OSError as error:
        raise ConfigError("--onnx", f"{target} cannot be written ({error.strerror})", "choose another file") from error
    yield from lines


def _size_line(network: OnnxNetwork) -> str:
    graph, size = network.model.graph, network.model.ByteSize()
    body = [attribute.g for node in graph.node for attribute in node.attribute if attribute.name == "body"]
    nodes = sum(len(part.node) for part in (graph, *body))
    return f"model       opset {OPSET}, {nodes:,} nodes, {len(network.start):,} states, {size:,} bytes"


def certificate_lines(found: OnnxCertificate) -> Iterator[str]:
    """Return what was compared."""
    yield (
        f"compared    {found.recordings:,} recordings, {found.steps:,} steps in ONNX Runtime, from the states of plain"
        " dense loops"
    )
    yield (
        f"            {found.values:,} outputs and states: {found.far:,} are farther than {TOLERANCE:g} of the layer's"
        f" largest, the farthest {found.largest:.2g}"
    )
    line = f"            {found.spikes:,} spikes: {found.spikes_differ:,} differ"
    if found.spikes_differ:
        where = "at an unknown distance" if isnan(found.farthest) else f"at most {found.farthest:.2g}"
        line += f", {where} from the threshold; {found.skipped:,} outputs and states after them are not compared"
    yield line
