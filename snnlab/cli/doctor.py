"""`snnlab doctor`: diagnoses a network on one batch, and proposes a setting that fixes the problem."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from snnlab.cli.options import split_options, split_run
from snnlab.config.compose import compose_experiment
from snnlab.config.overrides import merge_overrides
from snnlab.config.recorded_run import compose_run
from snnlab.config.schema import Experiment
from snnlab.console import console_logging, quiet_lightning, until_pipe_closes

USAGE = """usage: snnlab doctor [RUN] [--config-dir DIR] [OVERRIDES]

Send one batch of training recordings through a network, forward and backward, and print input, activity and gradients
of each layer. If the network will not train, doctor prints the cause and proposes a setting; the setting was tried on
the same batch, and a network built with it does not have the problem. The overrides are those of snnlab train. Nothing
is written. Exit status: 0 no problem was found, 1 a problem was found, 2 the configuration or the data has a mistake.

  snnlab doctor
  snnlab doctor model=my_net data=dvsgesture neuron.tau_mem=5
  snnlab doctor outputs/NAME/TIME_SEED            the network of a run, with the chosen epoch's weights
"""


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    options, others = split_options("doctor", arguments)
    run, typed = split_run(others)
    config_dir = options.get("--config-dir")

    def compose(more: Sequence[str]) -> tuple[Experiment, Path]:
        overrides = merge_overrides([*typed, *more]) if more else typed
        if run is None:
            return compose_experiment(overrides, config_dir)
        return compose_run(run, overrides, config_dir, "data"), run

    console_logging()
    composed = compose(())

    from snnlab.session import diagnosis

    doctor = diagnosis.Diagnosis(compose, run)
    with quiet_lightning():
        measured = doctor.measured(*composed)
        with until_pipe_closes():
            diagnosis.print_statistics(composed[0].name, measured)
        if (fixes := doctor.fixes(measured)) is None:
            return 0
    with until_pipe_closes():
        diagnosis.print_findings(fixes)
        if fixes.overrides:
            command = " ".join(map(shlex.quote, merge_overrides([*typed, *fixes.overrides])))
            if run is not None:
                print(f"  snnlab doctor {run} {command}\n  and add the same overrides to the snnlab train of that run")
            else:
                print(f"  snnlab train {f'--config-dir {config_dir} ' if config_dir else ''}{command}")
    return 1
