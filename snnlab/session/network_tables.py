"""The network of an experiment in tables.

As it is built, for `snnlab show`; what each layer takes and gives, for one batch, for `snnlab train debug=shapes`.

Axes: T steps, B samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.table import Table as RichTable
from torch import Tensor, nn

from snnlab.config.schema import Experiment
from snnlab.console import quiet_lightning, table_console, until_nobody_reads
from snnlab.data.data_settings import DataSettings
from snnlab.data.events.frames import Batch
from snnlab.errors import ConfigError, RecordError, SnnlabError, one_line
from snnlab.nn import BuiltNetwork, Network
from snnlab.nn.layer import TemporalLayer
from snnlab.nn.memory_estimate import footprint
from snnlab.nn.rendered import planned, rendered
from snnlab.nn.summary import learned, summarize
from snnlab.runs.console_tables import footprint_text, print_summary
from snnlab.runs.tables import Table
from snnlab.session.build_optimizer import make_optimizer
from snnlab.session.session import Session
from snnlab.session.weights import load_weights


class ShownNetwork:
    """The network of an experiment, built without its data, and what can be shown of it.

    Args:
        run: The run whose learned constants it has, if there is one.

    Raises:
        SnnlabError: for a mistake in the configuration.
    """

    def __init__(self, experiment: Experiment, run: Path | None) -> None:
        with experiment.located_errors():
            session = Session(experiment)
            self.experiment, self.settings, self.built = experiment, session.settings, session.built
            self.about_learned = None if run is None else _learned_in(run, session.built)
        self.head = f"{experiment.name}: {experiment.data['type']}, {_frames_text(self.settings)}"

    def print_tables(self) -> None:
        """Print its layers, what they cost, its neurons, and what depends on dt."""
        summary = summarize(self.built, self.settings.frame_shape)
        with until_nobody_reads():
            memory = _memory_text(self.experiment, self.settings, self.built)
            print_summary(self.head, summary, self.settings.steps, memory, self.about_learned)

    def print_plan(self) -> None:
        """Print which layers run together on a CPU, and by what."""
        with until_nobody_reads():
            print(self.head)
            rows = planned(self.built, self.settings.frame_shape)
            Table(("layers", "run by"), rows, words=(0, 1), sentences=(1,)).print()

    def print_kernels(self) -> None:
        """Print the loops that its neurons run by."""
        with until_nobody_reads():
            for name, text in rendered(self.built):
                print(f"{name}: {text}\n")

    def draw(self, file: str) -> None:
        """Draw it into a file."""
        from snnlab.runs.plots import network_figure  # which brings matplotlib

        summary = summarize(self.built, self.settings.frame_shape)
        network_figure.draw(file, self.experiment.name, summary, self.settings.steps_text)


def _learned_in(run: Path, built: BuiltNetwork) -> str | None:
    """Give a network the weights of a run where its neurons learn constants; return in words whose these are."""
    if next(learned(built.network), None) is None:
        return None
    try:
        load_weights(built.network, run, "best")
    except (RecordError, ConfigError) as error:
        return f"Learned constants as they begin: {error}"
    return "Learned constants: those of the chosen epoch; of channels or neurons the mean, the least and the most."


def _memory_text(experiment: Experiment, settings: DataSettings, built: BuiltNetwork) -> str:
    """Return what a training step on the CPU takes, in words, or why that is not known."""
    steps, batch = settings.steps, settings.batch_size
    try:
        make = make_optimizer(experiment)
        found = footprint(built, settings.frame_shape, steps, batch, make, experiment.tbptt_steps)
    except (RuntimeError, ValueError, SnnlabError) as error:
        return f"Training step: its memory is not known: {one_line(error)}"
    return footprint_text(found, batch, steps, None if found.counted else str(experiment.optimizer.get("_target_")))


def _frames_text(settings: DataSettings) -> str:
    """Return sensor and time of the frames in words."""
    width, height, polarities = settings.size
    sensor = f"{width} × {height} pixels" if height > 1 else f"{width} channels"
    signs = f"{polarities} polarities" if polarities > 1 else "1 polarity"
    length = "" if settings.step_ms is None else f" = {settings.duration_ms:g} ms"
    size = {(polarities, height, width), (polarities, width), (width,)}
    frames = "" if settings.frame_shape in size else f"; frames {list(settings.frame_shape)}"
    return f"{sensor}, {signs}, {settings.steps_text}{length}{frames}"


class Passed(NamedTuple):
    """What went through a layer: its input and its output, whether they begin with T, B or with T*B."""

    name: str
    x: Tensor
    y: Tensor
    lead: int


def show_shapes(experiment: Experiment, folder: Path) -> None:
    """Send one batch through the experiment's network and print a row a layer.

    Raises:
        SnnlabError: for a mistake in the configuration or the data.
    """
    with experiment.located_errors(), quiet_lightning():
        session = Session(experiment, folder)
        session.prepare()
        device = session.processes.device
        batch = session.data.first_batch(device)
        with torch.no_grad():
            passed = list(layers_passed(session.network.to(device), batch))
    steps, samples = batch.x.shape[:2]
    print(f"{steps} steps of {samples} samples through the network, {device}")
    table_console().print(shapes_table(passed))


def layers_passed(network: Network, batch: Batch) -> Iterator[Passed]:
    """Yield what went through each layer, first the frames themselves."""
    seen: list[Passed] = []

    def hook(name: str, layer: nn.Module, inputs: Any, output: Any) -> None:
        y = output[0] if isinstance(output, tuple) else output
        seen.append(Passed(name, inputs[0], y, 2 if isinstance(layer, TemporalLayer) else 1))

    handles = [
        layer.register_forward_hook(lambda *given, name=name: hook(name, *given))
        for name, layer in network.named_children()
    ]
    try:
        network(batch.x, lengths=batch.lengths)
    finally:
        for handle in handles:
            handle.remove()
    yield Passed("(frames)", batch.x, batch.x, 2)
    yield from seen


def shapes_table(passed: list[Passed]) -> RichTable:
    """Return a row a layer; shapes are those of one sample at one step, figures those of the whole output."""
    table = RichTable(box=None, pad_edge=False)
    for column in ("layer", "in", "out", "dtype", "order", "min", "mean", "max", "not 0"):
        left = column in ("layer", "in", "out", "dtype", "order")
        table.add_column(column, justify="left" if left else "right", no_wrap=True)
    for name, x, y, lead in passed:
        figures = (f"{float(f):.3g}" for f in (y.min(), y.float().mean(), y.max()))
        fired = f"{float((y != 0).float().mean()):.2%}"
        dtype = str(y.dtype).removeprefix("torch.")
        table.add_row(name, _shape(x, lead), _shape(y, lead), dtype, _memory(y, lead), *figures, fired)
    return table


def _shape(x: Tensor, lead: int) -> str:
    return "x".join(str(size) for size in x.shape[lead:])


def _memory(y: Tensor, lead: int) -> str:
    """Return where the channels are in memory; blank where a sample has no places."""
    if y.dim() - lead != 3:
        return ""
    flat = y.flatten(0, lead - 1)
    first, last = flat.is_contiguous(), flat.is_contiguous(memory_format=torch.channels_last)
    return {(True, True): "either", (True, False): "first", (False, True): "last"}.get((first, last), "strided")
