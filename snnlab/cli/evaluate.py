"""`snnlab evaluate`: the network of a recorded run, evaluated by class and over time."""

from __future__ import annotations

from typing import Annotated

from snnlab.cli.command import Checkpoint, ConfigDir, Fraction, Run, Split, command
from snnlab.config.recorded_run import compose_run
from snnlab.console import console_logging, say, until_pipe_closes
from snnlab.errors import ConfigError
from snnlab.zoo import run_path


@command("evaluate", section="use a run", page="runs", synonyms=("test", "eval"))
def evaluate(
    run: Run,
    *overrides: str,
    split: Split = "test",
    checkpoint: Checkpoint = "best",
    out: Annotated[str | None, "folder"] = None,
    anytime: bool = False,
    accuracy: Fraction | None = None,
    mistakes: bool = False,
    config_dir: ConfigDir = None,
) -> None:
    """Evaluate the network of a run: accuracy by class and over time.

    It takes the test recordings, another part of them, other bins, or another dataset. The overrides change the run's
    config.yaml. It writes result.json, predictions.npz, and plots of the confusion matrix and of the accuracy over time
    (for values: of the error over time) into RUN/evaluations/... or FOLDER; the path is printed last. Test and
    validation recordings that the run was trained on are refused. Of an imported network right answers are counted,
    here and with --anytime: it gets no accuracy, as what it was trained on is not known.

    --anytime evaluates early exit: the network answers as soon as the probability of the readout so far reaches a
    threshold. It prints accuracy, mean latency and mean spikes until the answer at a dozen thresholds, and writes
    anytime.csv and anytime.png. --accuracy 0.95 chooses the threshold that reaches this accuracy soonest on validation
    recordings, and applies it to the test recordings once.

    --mistakes prints each recording (or window) that was answered wrongly, the most probable answers first, and writes
    them into mistakes.csv: number, file, part, class, answer, probability of the answer. The number is that of the
    report and of `recording` in predictions.npz.

    Args:
        out: folder of the files
        anytime: early exit, at a dozen thresholds
        accuracy: early exit, at the threshold of this accuracy: a fraction of the recordings
        mistakes: the recordings that were answered wrongly

    Examples:
        snnlab evaluate outputs/NAME/TIME_SEED
        snnlab evaluate zoo:nmnist_small data.root=FOLDER data.download=false    a network that comes with snnlab
        snnlab evaluate RUN --split val --checkpoint last
        snnlab evaluate RUN --mistakes
        snnlab evaluate RUN --anytime --accuracy 0.95
        snnlab evaluate RUN data.num_bins=64              with steps of half the length
        snnlab evaluate RUN data=nmnist data.root=FOLDER  on other recordings of as many classes
    """
    if accuracy is not None and split != "test":
        wrong = f"chooses on validation recordings and applies to test ones, not to --split {split}"
        raise ConfigError("evaluate: --accuracy", wrong)
    folder_of_run = run_path(run)
    console_logging()
    experiment = compose_run(folder_of_run, overrides, config_dir, "data")

    from snnlab.runs.mistakes import mistakes_table
    from snnlab.session import evaluation

    early_exit = evaluation.EarlyExitOptions(accuracy) if anytime or accuracy is not None else None
    values, folder = evaluation.evaluate(
        folder_of_run, experiment, split, checkpoint, out, list(overrides), early_exit, mistakes=mistakes
    )
    with until_pipe_closes():
        for line in evaluation.result_lines(values):
            say(line)
        if mistakes:
            mistakes_table(values["mistakes"]).print()
            say(*([] if values["mistakes"] else ["no mistakes"]))
        print(folder)
