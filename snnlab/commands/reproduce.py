"""`snnlab reproduce`: train again from a run's record, and compare all that came of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnlab.errors import ConfigError, RecordError

if TYPE_CHECKING:
    from snnlab.record.run_reading import Recorded

USAGE = """usage: snnlab reproduce RUN [--env]

Train again from the config.yaml of a run, with the threads, the backend and the first layer that it recorded, and
compare every epoch's metrics, the predictions and the weights, bit for bit. The new run stands beside the old one; its
path is printed last. Exit status 0: all is the same; 1: something differs, and what is said.

  snnlab reproduce outputs/NAME/TIME_SEED
  snnlab reproduce outputs/NAME/TIME_SEED --env   print what installs the versions of the record, and train nothing
"""


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    if not arguments or "-h" in arguments or "--help" in arguments:
        print(USAGE, end="")
        return 0
    words = [word for word in arguments if word != "--env"]
    if len(words) != 1 or words[0].startswith("-"):
        raise ConfigError(f"reproduce: takes a run's folder and perhaps --env, got {' '.join(words) or 'nothing'}")

    from snnlab.record.run_reading import read_run

    recorded = read_run(Path(words[0]).expanduser())
    if "--env" in arguments:
        print(install_line(recorded))
        return 0
    if recorded.status != "completed":
        raise RecordError(f"{recorded.folder}: is {recorded.status}; only a completed run can be repeated")
    if extended := [text for text in map(_extension, recorded.resumed) if text]:
        raise RecordError(f"{recorded.folder}: was {extended[0]}; one training with its config.yaml is another")
    recorded.check_files()  # before hours are spent on a run that there is nothing to compare with
    return repeat(recorded, started)


def _extension(entry: dict[str, Any]) -> str:
    """Return how a run was made longer when it was resumed, in words; empty where it was not."""
    epochs = (entry.get("changed") or {}).get("trainer.max_epochs")
    return f"trained for {epochs[0]} epochs and then resumed for {epochs[1]}" if epochs else ""


def install_line(recorded: Recorded) -> str:
    """Return the line that installs the versions of a record."""
    versions, python = recorded.required("packages"), str(recorded.required("python"))
    packages = " ".join(f"'{name}=={version}'" for name, version in versions.items() if version)
    return f"python{'.'.join(python.split('.')[:2])} -m pip install {packages}"


def repeat(recorded: Recorded, started: float) -> int:
    """Train again, print what is the same and what is not, and return the exit status."""
    from snnlab.commands.train import run
    from snnlab.config.of_run import compose_run
    from snnlab.console import console_logging
    from snnlab.record.repeating import compare, surroundings
    from snnlab.record.run_folder import REPEATED
    from snnlab.record.run_reading import read_run

    console_logging()
    experiment = compose_run(recorded.folder, replayed(recorded))
    folder = recorded.folder.with_name(f"{datetime.now():%Y-%m-%d_%H-%M-%S.%f}_{experiment.seed}{REPEATED}")
    experiment = replace(experiment, command=("snnlab", "reproduce", str(recorded.folder)))
    again = read_run(run(experiment, folder, started).folder)
    findings = compare(recorded, again)
    for finding in findings:
        print(f"{finding.what}: {finding.text}")
    same = all(finding.same for finding in findings)
    if not same:
        for line in surroundings(recorded, again):
            print(f"  {line}")
    print(again.folder)
    return 0 if same else 1


def replayed(recorded: Recorded) -> list[str]:
    """Return the overrides that make this machine do as the record says."""
    numerics = {"threads": recorded.required("threads"), **recorded.required("numerics")}
    return [f"{name}={numerics[name]}" for name in ("threads", "backend", "first_layer") if name in numerics]
