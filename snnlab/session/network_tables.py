"""Prints the network of an experiment as tables, for `snnlab show`."""

from __future__ import annotations

from pathlib import Path

from snnlab.config.schema import Experiment
from snnlab.console import until_pipe_closes
from snnlab.data.data_settings import DataSettings
from snnlab.errors import ConfigError, RunFolderError, SnnlabError, join_names, one_line
from snnlab.nn import BuiltNetwork
from snnlab.nn.kernel_sources import kernel_sources, planned_layers
from snnlab.nn.memory_estimate import estimate_memory
from snnlab.nn.neuron_equations import equation_texts
from snnlab.nn.parameter_counts import count_parameters
from snnlab.nn.summary import learned, summarize
from snnlab.runs.console_tables import memory_text, print_summary
from snnlab.runs.tables import Table
from snnlab.session.build_learning import build_rule
from snnlab.session.build_optimizer import make_optimizer
from snnlab.session.session import Session
from snnlab.session.weights import load_weights


class NetworkTables:
    """The network of an experiment, built without its data, and its tables.

    Args:
        run: The run whose learned constants are shown, or None.
    """

    def __init__(self, experiment: Experiment, run: Path | None) -> None:
        session = Session(experiment)
        self.experiment, self.settings, self.built = experiment, session.settings, session.built
        self.learned_note = None if run is None else _load_learned(run, session.built)
        self.head = f"{experiment.name}: {experiment.data['type']}, {_frames_text(self.settings)}"

    def print_tables(self) -> None:
        """Print its layers with memory and operations, its neurons, and the settings that depend on dt."""
        summary = summarize(self.built, self.settings.frame_shape)
        with until_pipe_closes():
            memory = _memory_text(self.experiment, self.settings, self.built)
            counts = count_parameters(self.built, self.settings.frame_shape)
            print_summary(self.head, summary, counts, self.settings.steps, memory, self.learned_note)

    def print_plan(self) -> None:
        """Print the groups of layers that run together on a CPU, and the kernel of each."""
        with until_pipe_closes():
            print(self.head)
            rows = planned_layers(self.built, self.settings.frame_shape)
            Table(("layers", "run by"), rows, text_columns=(0, 1), sentences=(1,)).print()

    def print_kernels(self) -> None:
        """Print the source of the kernels of its neurons."""
        with until_pipe_closes():
            for name, text in kernel_sources(self.built):
                print(f"{name}: {text}\n")

    def print_equations(self, *, latex: bool) -> None:
        """Print the equations of its neurons with their settings; layers with the same in one."""
        with until_pipe_closes():
            for layers, text in equation_texts(self.built.network, latex=latex):
                print(f"{join_names(layers)}:\n{text}\n")

    def draw(self, file: str) -> None:
        """Draw the network into a file."""
        from snnlab.runs.plots import network_figure  # imports matplotlib

        summary = summarize(self.built, self.settings.frame_shape)
        network_figure.draw(file, self.experiment.name, summary, self.settings.steps_text)


def _load_learned(run: Path, built: BuiltNetwork) -> str | None:
    """Load the weights of a run if neurons learn constants; return a note on the source of the constants."""
    if next(learned(built.network), None) is None:
        return None
    try:
        load_weights(built.network, run, "best")
    except (RunFolderError, ConfigError) as error:
        return f"Learned constants: initial values: {error}"
    return (
        "Learned constants: those of the chosen epoch; for channels or neurons the mean, the minimum and the maximum."
    )


def _memory_text(experiment: Experiment, settings: DataSettings, built: BuiltNetwork) -> str:
    """Return the memory of a training step on the CPU as text, or why it is not known."""
    batch = settings.batch_size
    try:
        steps = build_rule(experiment).steps_in_memory(settings.steps)
        make = make_optimizer(experiment)
        found = estimate_memory(built, settings.frame_shape, steps, batch, make, experiment.tbptt_steps)
    except (RuntimeError, ValueError, SnnlabError) as error:
        return f"Training step: its memory is not known: {one_line(error)}"
    return memory_text(
        found, batch, steps, None if found.optimizer_known else str(experiment.optimizer.get("_target_"))
    )


def _frames_text(settings: DataSettings) -> str:
    """Return sensor size and duration of the frames as text."""
    width, height, polarities = settings.size
    sensor = f"{width} × {height} pixels" if height > 1 else f"{width} channels"
    signs = f"{polarities} polarities" if polarities > 1 else "1 polarity"
    length = "" if settings.step_ms is None else f" = {settings.duration_ms:g} ms"
    size = {(polarities, height, width), (polarities, width), (width,)}
    frames = "" if settings.frame_shape in size else f"; frames {list(settings.frame_shape)}"
    return f"{sensor}, {signs}, {settings.steps_text}{length}{frames}"
