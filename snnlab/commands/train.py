"""`snnlab train`: from overrides to a trained network and its record."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from snnlab.record.run_folder import Result


def train(*overrides: str, config_dir: str | Path | None = None) -> Result:
    """Train as `snnlab train` does, and return the result.

    Args:
        overrides: As on the command line: `"model=conv_lif"`, `"neuron.tau_mem=10"`.
        config_dir: A folder of YAML files of your own.

    Raises:
        SnnlabError: for a mistake in the configuration or the data; nothing is left behind.
    """
    started = time.perf_counter()
    from snnlab.config.composing import compose_once

    experiment, folder = compose_once(list(overrides), config_dir)
    from snnlab.training.run import run
    return run(experiment, folder, started)


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    from snnlab.config.composing import run_hydra
    from snnlab.config.schema import Experiment
    from snnlab.console import console_logging, say_error
    from snnlab.errors import SnnlabError

    console_logging()
    mistakes = 0

    def job(experiment: Experiment, folder: Path) -> None:
        from snnlab.record.table import print_result

        result = run(experiment, folder, started)
        print_result(result)
        print(result.folder, flush=True)

    def failed(error: SnnlabError) -> None:
        nonlocal mistakes
        mistakes += 1
        say_error(error)

    run_hydra(arguments, job, failed)
    return 2 if mistakes else 0
