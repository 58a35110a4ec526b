"""`snnlab train`: from overrides to a trained network and its record.

`run` reads straight down. What only looks at the configuration comes first, then what needs heavy imports, then
what takes time; the run's folder is written last before the training.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnlab.config.grids import split_launch
from snnlab.errors import NOT_WINDOWS, ConfigError
from snnlab.training.ranks import outside

if TYPE_CHECKING:
    from snnlab.config.schema import Experiment
    from snnlab.runs.run_folder import Result
    from snnlab.session import Session

_log = logging.getLogger(__name__)

_KEY = "resume="


def train(*overrides: str | Mapping[str, Any], config_dir: str | Path | None = None, **settings: Any) -> Result:
    """Train as `snnlab train` does, and return the result.

    What it does is said on stderr, a line an epoch, unless the program has set up logging for itself.

        train("model=conv_lif", "neuron.tau_mem=10")
        train(model="conv_lif", neuron={"tau_mem": 10}, trainer={"max_epochs": 5}, seed=1)
        train({"model.layers.lif2.tau_mem": 5})
        train(resume="outputs/NAME/TIME_SEED")

    Args:
        overrides: As on the command line, or mappings of settings to values.
        config_dir: A folder of YAML files of your own.
        settings: Files of groups and settings by their names; the settings within a group as a mapping.

    Raises:
        SnnlabError: for a mistake in the configuration or the data; nothing is left behind.
        TypeError: for what is neither an override nor a value.
    """
    started = time.perf_counter()
    if sys.platform == "win32":
        raise ConfigError("", NOT_WINDOWS)

    from snnlab.config.folders import config_folder, groups, own_folder
    from snnlab.config.overrides import as_overrides
    from snnlab.console import log_unless_set_up

    given = as_overrides(overrides, settings, groups(config_folder(), own_folder(config_dir)), "snnlab.train")
    if team := outside(given):
        raise ConfigError(
            "snnlab.train",
            f"{team.by} is for the command line, -m snnlab train ...",
            "from Python trainer=ddp starts the processes of one machine itself",
        )
    log_unless_set_up()
    command = ("snnlab.train", *given, *([] if config_dir is None else [f"config_dir={config_dir}"]))
    if asked := run_to_resume(given):
        from snnlab.session.training import resume

        result = resume(*asked, config_dir, started, command)
    else:
        from snnlab.config.compose import compose_once

        experiment, folder = compose_once(given, config_dir)

        session = _checked(replace(experiment, command=command), folder)

        from snnlab.session.training import run

        result = run(session, started)
    _log.info("%s", result.summary)
    return result


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    from snnlab.console import console_logging

    console_logging()
    team = outside(arguments)
    if team is None:
        return _runs(arguments, started)
    if not team.leads:
        from snnlab.session.cluster import connect
        from snnlab.session.rank import serve

        return serve(team, connect(team))

    from snnlab.session.launcher import end_of_jobs, open_meeting

    open_meeting(team)
    try:
        return _runs(arguments, started)
    finally:
        end_of_jobs(team)


def _runs(arguments: list[str], started: float) -> int:
    from snnlab.config.compose import compose_once, let_hydra_answer
    from snnlab.config.overrides import read_arguments

    command = ("snnlab", "train", *arguments)
    if run_to_resume(arguments):
        from snnlab.runs.run_folder import say_result

        say_result(_resumed(arguments, started))
        return 0
    launch, rest = split_launch(arguments)
    asked = read_arguments(rest)
    if asked.flags:
        let_hydra_answer(asked.flags, asked.overrides, asked.config_dir)
        return 0
    if asked.several:
        from snnlab.cli.grid import run_grid

        return run_grid(launch, asked.overrides, asked.config_dir, started, command)
    experiment, folder = compose_once(asked.overrides, asked.config_dir)
    experiment = replace(experiment, command=command)
    if experiment.mode == "shapes":
        from snnlab.cli.shapes import show_shapes

        show_shapes(experiment, folder)
        return 0
    session = _checked(experiment, folder)

    from snnlab.runs.run_folder import say_result
    from snnlab.session.training import run

    say_result(run(session, started))
    return 0


def _checked(experiment: Experiment, folder: Path) -> Session:
    """Return the session of an experiment, of which all is built that needs no Lightning, which takes three seconds."""
    from snnlab.session import Session

    session = Session(experiment, folder)
    with experiment.located_errors():
        session.check_without_lightning()
    return session


def _resumed(arguments: list[str], started: float) -> Result:
    from snnlab.cli.options import split_options

    options, overrides = split_options("train resume=RUN", arguments)
    asked = run_to_resume(overrides)
    assert asked is not None
    command = ("snnlab", "train", *arguments)
    from snnlab.session.training import resume

    return resume(*asked, options.get("--config-dir"), started, command)


def run_to_resume(overrides: Sequence[str]) -> tuple[Path, list[str]] | None:
    """Return the run that overrides ask to resume, and the other overrides; None if they do not.

    Raises:
        ConfigError: if they name none, or more than one, or all but spell the word.
    """
    for key in (text.partition("=")[0].lstrip("+") for text in overrides if "=" in text):
        if key != "resume" and get_close_matches(key, ["resume"], cutoff=0.8):
            raise ConfigError("", f"there is no setting '{key}'. Did you mean 'resume'?")
    for text in overrides:
        if text.startswith(f"+{_KEY}"):
            raise ConfigError(text, "is no setting to add", "leave out the +")
    asked = [text.removeprefix(_KEY) for text in overrides if text.startswith(_KEY)]
    if not asked:
        return None
    if len(asked) > 1 or not asked[0] or asked[0] == "null":
        raise ConfigError("resume", "name one run's folder, such as resume=outputs/NAME/TIME_SEED")
    return Path(asked[0]).expanduser(), [text for text in overrides if not text.startswith(_KEY)]
