"""`snnlab show`: shows the network of an experiment as tables, or as a figure, without its data."""

from __future__ import annotations

from snnlab.cli.options import figure_file, split_options, split_run
from snnlab.config.compose import compose_experiment
from snnlab.config.recorded_run import compose_run
from snnlab.errors import ConfigError, join_names

USAGE = """usage: snnlab show [RUN] [--figure FILE | --plan | --kernels] [--config-dir DIR] [OVERRIDES]

Show a network without reading data: its layers with shapes, parameters and operations, the memory of a training step,
its neurons' constants at this dt, and which settings depend on dt. The overrides are those of snnlab train.

  snnlab show
  snnlab show model=mlp_lif neuron=cuba_lif data.num_bins=64
  snnlab show outputs/NAME/TIME_SEED             the network of a run's config.yaml; time constants and other trained
                                                 neuron parameters have the values of its chosen epoch
  snnlab show --figure net.png model=conv_lif    draw it instead: .png, .svg or .pdf
  snnlab show --plan model=conv_lif              print which layers are fused in training on the CPU, and their backend
  snnlab show --kernels neuron=adlif             print the kernels of its neurons, or why there are none
"""


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    options, overrides = split_options("show", arguments)
    if len(ways := [option for option in ("--figure", "--plan", "--kernels") if option in options]) > 1:
        raise ConfigError("show", f"takes one of --figure, --plan, --kernels, got {join_names(ways)}")
    figure, config_dir = figure_file(options), options.get("--config-dir")
    run, changes = split_run(overrides)
    if run is None or (len(run.parts) == 1 and not run.is_dir()):
        run, (experiment, _) = None, compose_experiment(overrides, config_dir)
    else:
        experiment = compose_run(run, changes, config_dir, "shape")

    from snnlab.session import network_tables

    shown = network_tables.NetworkTables(experiment, run)
    if figure is not None:
        shown.draw(figure)
        print(figure)
    elif "--plan" in options:
        shown.print_plan()
    elif "--kernels" in options:
        shown.print_kernels()
    else:
        shown.print_tables()
    return 0
