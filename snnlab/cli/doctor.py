"""`snnlab doctor`: a network diagnosed on one batch."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from snnlab.cli.command import ConfigDir, command
from snnlab.config.compose import compose_experiment
from snnlab.config.merging import merge_overrides
from snnlab.config.recorded_run import compose_run
from snnlab.config.schema import Experiment
from snnlab.console import console_logging, quiet_lightning, until_pipe_closes
from snnlab.zoo import run_path


@command("doctor", section="look into a network")
def doctor(run: Annotated[str | None, "run"] = None, *overrides: str, config_dir: ConfigDir = None) -> int:
    """Find why a network is silent or does not learn, layer by layer, and propose a setting.

    It sends one batch of training recordings through the network, forward and backward, and prints input, activity and
    gradients of each layer. If the network will not train, it prints the cause and proposes a setting; the setting was
    tried on the same batch, and a network built with it does not have the problem. The overrides are those of snnlab
    train. Nothing is written. Exit status: 0 no problem was found, 1 a problem was found, 2 a mistake in the
    configuration or the data.

    Args:
        run: a run whose network is diagnosed, with the chosen epoch's weights

    Examples:
        snnlab doctor
        snnlab doctor model=my_net data=dvsgesture neuron.tau_mem=5
        snnlab doctor outputs/NAME/TIME_SEED
    """
    folder = None if run is None else run_path(run)

    def compose(more: Sequence[str]) -> tuple[Experiment, Path]:
        all_ = merge_overrides([*overrides, *more], config_dir, folder) if more else overrides
        if folder is None:
            return compose_experiment(all_, config_dir)
        return compose_run(folder, all_, config_dir, "data"), folder

    console_logging()
    composed = compose(())

    from snnlab.session import diagnosis

    examined = diagnosis.Diagnosis(compose, folder)
    with quiet_lightning():
        measured = examined.measured(*composed)
        with until_pipe_closes():
            diagnosis.print_statistics(composed[0].name, measured)
            for problem in (problems := examined.data_problems):
                print(f"data: {problem}")
        if (fixes := examined.fixes(measured)) is None:
            return 1 if problems else 0
    with until_pipe_closes():
        diagnosis.print_findings(fixes)
        if fixes.overrides:
            command = " ".join(map(shlex.quote, merge_overrides([*overrides, *fixes.overrides], config_dir, folder)))
            if folder is not None:
                print(
                    f"  snnlab doctor {folder} {command}\n  and add the same overrides to the snnlab train of that run"
                )
            else:
                print(f"  snnlab train {f'--config-dir {config_dir} ' if config_dir else ''}{command}")
    return 1


@command("doctor --gradient", page="doctor")
def compare_rule(run: Annotated[str | None, "run"] = None, *overrides: str, config_dir: ConfigDir = None) -> int:
    """Compare the gradient of a learning rule with that of backpropagation through time, layer by layer.

    Both are computed on the first training batch, with the same weights and the same loss. It prints the cosine between
    them, the norm of the rule's in units of the other's, and the share of parameters for which both have the same sign.
    The overrides are those of snnlab train. Nothing is written.

    Args:
        run: a run whose chosen weights the network has, by default its initial weights

    Examples:
        snnlab doctor --gradient learning=sltt loss=tet
        snnlab doctor --gradient outputs/NAME/TIME_SEED learning=ottt
    """
    folder = None if run is None else run_path(run)
    console_logging()
    if folder is None:
        experiment, here = compose_experiment(overrides, config_dir)
    else:
        experiment, here = compose_run(folder, overrides, config_dir, "data"), folder

    from snnlab.session import rule_gradient

    with quiet_lightning():
        compared = rule_gradient.RuleGradient(experiment, here, folder)
        found = compared.compare()
    with until_pipe_closes():
        rule_gradient.print_comparison(compared.kind, found)
    return 0
