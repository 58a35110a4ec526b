"""`snnlab evaluate`: a recorded run's network on recordings: what is right, class by class and over time."""

from __future__ import annotations

from snnlab.cli.options import CHECKPOINTS, PARTS, chosen, part_of_1, split_options, split_run
from snnlab.config.recorded_run import compose_run
from snnlab.console import console_logging, say, until_nobody_reads
from snnlab.errors import ConfigError

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


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    options, others = split_options("evaluate", arguments)
    run, overrides = split_run(others)
    if run is None:
        raise ConfigError("evaluate", "the first argument is a run's folder, such as outputs/NAME/TIME_SEED")
    part = chosen("evaluate", options, "--split", PARTS)
    checkpoint = chosen("evaluate", options, "--checkpoint", CHECKPOINTS)
    accuracy = None
    if "--accuracy" in options:
        accuracy = part_of_1(options["--accuracy"], "evaluate: --accuracy is a part of the recordings")
        if part != "test":
            wrong = f"--accuracy chooses on validation recordings and applies to test ones, not to --split {part}"
            raise ConfigError("evaluate", wrong)
    console_logging()
    experiment = compose_run(run, overrides, options.get("--config-dir"), "data")

    from snnlab.session import evaluation

    early = evaluation.Early(accuracy) if {"--anytime", "--accuracy"} & {*options} else None
    with experiment.located_errors():
        values, folder = evaluation.evaluate(run, experiment, part, checkpoint, options.get("--out"), overrides, early)
    with until_nobody_reads():
        for line in evaluation.lines(values):
            say(line)
        print(folder)
    return 0
