"""`snnlab evaluate`: a recorded run's network on recordings: what is right, class by class and over time."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from snnlab.cli.options import split_options, split_run
from snnlab.errors import ConfigError, listing
from snnlab.session.early_answers import asked_early

if TYPE_CHECKING:
    pass

_log = logging.getLogger(__name__)

USAGE = """usage: snnlab evaluate RUN [--split test|val|train] [--checkpoint best|last] [--out FOLDER] [--anytime]
                       [--accuracy PART] [OVERRIDES]

Let the network of a run answer to recordings again: its own test recordings, another part, other bins, another dataset.
The overrides go on top of the run's config.yaml. Written are result.json, predictions.npz, and pictures of which class
was taken for which and of the accuracy over time (of values, of the error over time), into RUN/evaluations/... or
FOLDER, whose path is printed last. Of another split, test and validation recordings that the run was trained on are
refused.

--anytime tells what comes out if a recording is answered as soon as the network is sure enough: accuracy, mean latency
and mean spikes until the answer, at a dozen thresholds of the running readout's probability; also as anytime.csv and
anytime.png. --accuracy 0.95 chooses the threshold itself, as the one that reaches so much soonest on validation
recordings, and applies it to the test recordings once.

  snnlab evaluate outputs/NAME/TIME_SEED
  snnlab evaluate RUN --split val --checkpoint last
  snnlab evaluate RUN --anytime --accuracy 0.95
  snnlab evaluate RUN data.num_bins=64              in steps half as long
  snnlab evaluate RUN data=nmnist data.root=FOLDER  on other recordings of as many classes
"""
SPLITS = ("test", "val", "train")
CHECKPOINTS = ("best", "last")


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    options, others = split_options("evaluate", arguments)
    run, overrides = split_run(others)
    if run is None:
        raise ConfigError("evaluate", "the first argument is a run's folder, such as outputs/NAME/TIME_SEED")
    part, checkpoint = options.get("--split", "test"), options.get("--checkpoint", "best")
    check_asked(part, checkpoint, options.get("--out"))
    early = asked_early(options.get("--accuracy"), part) if {"--anytime", "--accuracy"} & {*options} else None

    from snnlab.console import console_logging, say, until_nobody_reads
    from snnlab.session.evaluation import evaluate_run, lines

    console_logging()
    where = (options.get("--config-dir"), part, checkpoint, options.get("--out"))
    values, folder = evaluate_run(run, overrides, *where, early)
    with until_nobody_reads():
        for line in lines(values):
            say(line)
        print(folder)
    return 0


def check_asked(part: str, checkpoint: str, out: str | Path | None) -> None:
    """Refuse a part or a checkpoint that does not exist, and a run's folder to write into."""
    from snnlab.runs.recorded import is_run

    _one_of("--split", part, SPLITS)
    _one_of("--checkpoint", checkpoint, CHECKPOINTS)
    if out is not None and is_run(Path(out).expanduser()):
        raise ConfigError("evaluate", f"--out: {out} is a run's folder, whose own result would be lost", "name another")


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError("evaluate", f"{option} must be one of {listing(allowed)}, got {value}")
