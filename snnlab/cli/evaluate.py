"""`snnlab evaluate`: evaluates the network of a recorded run, by class and over time."""

from __future__ import annotations

from snnlab.cli.options import CHECKPOINTS, SPLITS, option_choice, parse_fraction, split_options, split_run
from snnlab.config.recorded_run import compose_run
from snnlab.console import console_logging, say, until_pipe_closes
from snnlab.errors import ConfigError

USAGE = """usage: snnlab evaluate RUN [--split test|val|train] [--checkpoint best|last] [--out FOLDER] [--anytime]
                       [--accuracy PART] [OVERRIDES]

Evaluate the network of a run on its test recordings, another part of them, other bins, or another dataset. The
overrides change the run's config.yaml. It writes result.json, predictions.npz, and plots of the confusion matrix and of
the accuracy over time (for values: of the error over time) into RUN/evaluations/... or FOLDER; the path is printed
last. Test and validation recordings that the run was trained on are refused. Of an imported network right answers are
counted, here and with --anytime: it gets no accuracy, as what it was trained on is not known.

--anytime evaluates early exit: the network answers as soon as the probability of the readout so far reaches a
threshold. It prints accuracy, mean latency and mean spikes until the answer at a dozen thresholds, and writes
anytime.csv and anytime.png. --accuracy 0.95 chooses the threshold that reaches this accuracy soonest on validation
recordings, and applies it to the test recordings once.

  snnlab evaluate outputs/NAME/TIME_SEED
  snnlab evaluate zoo:nmnist_small data.root=FOLDER data.download=false    a network that comes with snnlab
  snnlab evaluate RUN --split val --checkpoint last
  snnlab evaluate RUN --anytime --accuracy 0.95
  snnlab evaluate RUN data.num_bins=64              with steps of half the length
  snnlab evaluate RUN data=nmnist data.root=FOLDER  on other recordings of as many classes
"""


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    options, others = split_options("evaluate", arguments)
    run, overrides = split_run(others)
    if run is None:
        raise ConfigError("evaluate", "the first argument is a run's folder, such as outputs/NAME/TIME_SEED")
    split = option_choice("evaluate", options, "--split", SPLITS)
    checkpoint = option_choice("evaluate", options, "--checkpoint", CHECKPOINTS)
    accuracy = None
    if "--accuracy" in options:
        accuracy = parse_fraction(options["--accuracy"], "evaluate: --accuracy is a fraction of the recordings")
        if split != "test":
            wrong = f"--accuracy chooses on validation recordings and applies to test ones, not to --split {split}"
            raise ConfigError("evaluate", wrong)
    console_logging()
    experiment = compose_run(run, overrides, options.get("--config-dir"), "data")

    from snnlab.session import evaluation

    early_exit = evaluation.EarlyExitOptions(accuracy) if {"--anytime", "--accuracy"} & {*options} else None
    values, folder = evaluation.evaluate(
        run, experiment, split, checkpoint, options.get("--out"), overrides, early_exit
    )
    with until_pipe_closes():
        for line in evaluation.result_lines(values):
            say(line)
        print(folder)
    return 0
