"""`snnlab robust`: how many answers of a recorded run's network are right under disturbances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from snnlab.cli.command import Checkpoint, ConfigDir, Run, Split, command
from snnlab.config.recorded_run import compose_run
from snnlab.console import console_logging, until_pipe_closes
from snnlab.errors import ConfigError
from snnlab.spec.interval import Count, at_least
from snnlab.zoo import run_path


@command("robust", section="use a run", page="robustness")
def robust(
    run: Run,
    *overrides: str,
    disturb: Annotated[Sequence[str] | None, "name,..."] = None,
    levels: Annotated[Sequence[str] | None, "number,..."] = None,
    repetitions: Count = 5,
    recordings: Count | None = None,
    seed: Annotated[int, at_least(0)] = 0,
    split: Split = "test",
    checkpoint: Checkpoint = "best",
    out: Annotated[str | None, "folder"] = None,
    config_dir: ConfigDir = None,
) -> None:
    """Measure how many answers of a run's network are right under disturbances of the network and its input.

    Hidden spikes are deleted, weights and frames get noise, parameters, coefficients and states have few bits, time
    constants differ; events are lost or added, pixels are hot, the clock drifts. Each has levels of strength, and is
    repeated with other random numbers, which the seed fixes. The run is not changed: disturbed are a copy of its
    network, and the recordings as they are read. The area under a curve has a 95 % interval for new repetitions and
    new recordings.

    The projected core-hours are printed first; above twelve it is refused. It prints tables, and writes
    robustness.json, .csv, .npz (the answers) and .png into RUN/evaluations/... or FOLDER; the path is printed last.

    Args:
        disturb: these alone, such as spikes_deleted,weight_noise; without it all that apply
        levels: the levels of the one that --disturb names
        repetitions: of each level
        recordings: the first ones alone
        seed: of all random numbers
        out: folder of the files

    Examples:
        snnlab robust outputs/NAME/TIME_SEED
        snnlab robust RUN --disturb spikes_deleted --levels 0,0.1,0.2,0.5 --repetitions 10
        snnlab robust RUN --recordings 500 --split val
    """
    numbers = None if levels is None else [_number(text) for text in levels]
    if numbers is not None and len(disturb or ()) != 1:
        raise ConfigError("robust: --levels", "are of one disturbance", "name it with --disturb NAME")
    folder_of_run = run_path(run)
    console_logging()
    experiment = compose_run(folder_of_run, overrides, config_dir, "data")

    from snnlab.session import disturbed

    by_name = None if disturb is None else dict.fromkeys(disturb, numbers)
    request = disturbed.RobustnessRequest(by_name, repetitions, recordings, seed)
    measured = disturbed.measure_robustness(folder_of_run, experiment, split, checkpoint, out, request)
    with until_pipe_closes():
        for table in measured.tables:
            table.print()
        print(measured.folder)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError("robust: --levels", f"expected numbers such as 0,0.1,0.2, got {text}") from None
