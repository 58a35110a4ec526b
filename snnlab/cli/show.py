"""`snnlab show`: the network of an experiment as tables, or as a picture, without its data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from snnlab.cli.options import split_options, split_run
from snnlab.errors import ConfigError, listing, one_line

if TYPE_CHECKING:
    from snnlab.config.schema import Experiment
    from snnlab.data.data_settings import DataSettings
    from snnlab.nn import BuiltNetwork
USAGE = """usage: snnlab show [RUN] [--figure FILE | --plan | --kernels] [--config-dir DIR] [OVERRIDES]

Show a network without reading data: its layers with shapes, parameters and operations, the memory of a training step,
its neurons' constants at this dt, and what in it depends on dt. The overrides are those of snnlab train.

  snnlab show
  snnlab show model=mlp_lif neuron=cuba_lif data.num_bins=64
  snnlab show outputs/NAME/TIME_SEED             the network of a run, as its config.yaml has it; time constants and
                                                 all else that neurons have learned, as in its chosen epoch
  snnlab show --figure net.png model=conv_lif    draw it instead: .png, .svg or .pdf
  snnlab show --plan model=conv_lif              print which layers run together in training on the CPU, and by what
  snnlab show --kernels neuron=adlif             print the loops that its neurons run by, or why there are none
"""


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    options, overrides = split_options("show", arguments)
    if len(ways := [option for option in ("--figure", "--plan", "--kernels") if option in options]) > 1:
        raise ConfigError("show", f"takes one of --figure, --plan, --kernels, got {listing(ways)}")
    figure = options.get("--figure")
    if figure is not None:
        from snnlab.runs.plots.network_figure import check_target

        check_target(figure)

    from snnlab.config.compose import compose_once
    from snnlab.console import until_nobody_reads
    from snnlab.nn.summary import summarize
    from snnlab.session import Session

    run, changes = split_run(overrides)
    if run is not None and len(run.parts) == 1 and not run.is_dir():
        run, changes = None, overrides
    if run is not None:
        from snnlab.config.recorded_run import compose_run

        experiment = compose_run(run, changes, options.get("--config-dir"), "shape")
    else:
        experiment, _ = compose_once(overrides, options.get("--config-dir"))
    with experiment.located_errors():
        session = Session(experiment)
        settings, built = session.settings, session.built
        about_learned = None if run is None else learned_in(run, built)
    if "--plan" in options:
        from snnlab.nn.rendered import planned
        from snnlab.runs.tables import Table

        with until_nobody_reads():
            print(f"{experiment.name}: {experiment.data['type']}, {frames_text(settings)}")
            rows = planned(built, settings.frame_shape)
            Table(("layers", "run by"), rows, words=(0, 1), sentences=(1,)).print()
        return 0
    if "--kernels" in options:
        from snnlab.nn.rendered import rendered

        with until_nobody_reads():
            for name, text in rendered(built):
                print(f"{name}: {text}\n")
        return 0
    summary = summarize(built, settings.frame_shape)
    if figure is None:
        from snnlab.runs.console_tables import print_summary

        with until_nobody_reads():
            head = f"{experiment.name}: {experiment.data['type']}, {frames_text(settings)}"
            print_summary(head, summary, settings.steps, memory_text(experiment, settings, built), about_learned)
    else:
        from snnlab.runs.plots.network_figure import draw

        draw(figure, experiment.name, summary, settings.steps_text)
        print(figure)
    return 0


def learned_in(run: Path, built: BuiltNetwork) -> str | None:
    """Give a network the weights of a run where its neurons learn constants; return in words whose these are."""
    from snnlab.errors import RecordError
    from snnlab.nn.summary import learned
    from snnlab.session.weights import load_weights

    if next(learned(built.network), None) is None:
        return None
    try:
        load_weights(built.network, run, "best")
    except (RecordError, ConfigError) as error:
        return f"Learned constants as they begin: {error}"
    return "Learned constants: those of the chosen epoch; of channels or neurons the mean, the least and the most."


def memory_text(experiment: Experiment, settings: DataSettings, built: BuiltNetwork) -> str:
    """Return what a training step on the CPU takes, in words, or why that is not known."""
    from snnlab.errors import SnnlabError
    from snnlab.nn.memory_estimate import footprint
    from snnlab.runs.console_tables import footprint_text
    from snnlab.session.build_optimizer import make_optimizer

    steps, batch = settings.steps, settings.batch_size
    try:
        make = make_optimizer(experiment)
        found = footprint(built, settings.frame_shape, steps, batch, make, experiment.tbptt_steps)
    except (RuntimeError, ValueError, SnnlabError) as error:
        return f"Training step: its memory is not known: {one_line(error)}"
    return footprint_text(found, batch, steps, None if found.counted else str(experiment.optimizer.get("_target_")))


def frames_text(settings: DataSettings) -> str:
    """Return sensor and time of the frames in words."""
    width, height, polarities = settings.size
    sensor = f"{width} × {height} pixels" if height > 1 else f"{width} channels"
    signs = f"{polarities} polarities" if polarities > 1 else "1 polarity"
    length = "" if settings.step_ms is None else f" = {settings.duration_ms:g} ms"
    size = {(polarities, height, width), (polarities, width), (width,)}
    frames = "" if settings.frame_shape in size else f"; frames {list(settings.frame_shape)}"
    return f"{sensor}, {signs}, {settings.steps_text}{length}{frames}"
