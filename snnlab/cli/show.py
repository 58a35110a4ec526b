"""`snnlab show`: the network of an experiment as tables, or as a figure, without its data."""

from __future__ import annotations

from typing import Annotated, Literal

from snnlab.bundles import is_bundle
from snnlab.cli.command import Alone, ConfigDir, FigureFile, command
from snnlab.config.recorded_run import compose_or_open
from snnlab.console import say
from snnlab.spec.field import Excludes
from snnlab.zoo import CARD_FILE, run_path


@command("show", section="look into a network", page="layers")
def show(
    run: Annotated[str | None, "run"] = None,
    *overrides: str,
    figure: Annotated[FigureFile, Excludes("plan", "kernels", "equations")] = None,
    plan: Annotated[bool, Excludes("kernels", "equations")] = False,
    kernels: Annotated[bool, Excludes("equations")] = False,
    equations: Annotated[Literal["text", "latex"] | None, Alone("text")] = None,
    config_dir: ConfigDir = None,
) -> None:
    """Show the network as tables or as a figure: shapes, costs, constants, dependence on dt.

    No data is read. The tables have its layers with shapes, parameters and operations, the memory of a training step,
    its neurons' constants at this dt, and which settings depend on dt. The overrides are those of snnlab train. Time
    constants and other trained neuron parameters of a run have the values of its chosen epoch. Of a bundle the card
    comes first: what was checked, and its licence.

    Args:
        run: a run whose config.yaml is shown, outputs/NAME/TIME_SEED, zoo:NAME or NAME.snn
        figure: draw it instead
        plan: print which layers are fused in training on the CPU, and their backend
        kernels: print the kernels of its neurons, or why there are none
        equations: print the equations of its neurons with their settings, as text or as LaTeX

    Examples:
        snnlab show
        snnlab show model=mlp_lif neuron=cuba_lif data.num_bins=64
        snnlab show outputs/NAME/TIME_SEED
        snnlab show --figure net.png model=conv_lif
        snnlab show --plan model=conv_lif
        snnlab show --kernels neuron=adlif
        snnlab show --equations neuron=cuba_lif
    """
    folder = None if run is None else run_path(run)
    if run is not None and folder is not None and len(folder.parts) == 1 and not folder.is_dir():
        overrides, folder = (run, *overrides), None  # no folder, and no override: composing says what it may be
    if folder is not None and is_bundle(folder) and (folder / CARD_FILE).is_file():
        from snnlab.session import model_card

        say(*model_card.bundle_card(folder))
    experiment, _ = compose_or_open(folder, overrides, config_dir, "shape")

    from snnlab.session import network_tables

    shown = network_tables.NetworkTables(experiment, folder)
    if figure is not None:
        shown.draw(figure)
        print(figure)
    elif plan:
        shown.print_plan()
    elif kernels:
        shown.print_kernels()
    elif equations is not None:
        shown.print_equations(latex=equations == "latex")
    else:
        shown.print_tables()
