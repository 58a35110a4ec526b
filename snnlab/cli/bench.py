"""`snnlab bench`: compares methods over datasets and seeds, in a table with intervals and p-values."""

from __future__ import annotations

from pathlib import Path

from snnlab.cli import bench_suite
from snnlab.cli.options import split_options
from snnlab.console import console_logging, until_pipe_closes
from snnlab.errors import ConfigError, did_you_mean, join_names
from snnlab.experiments.verdicts import print_comparison, read_methods
from snnlab.spec.override_texts import is_override

USAGE = """usage: snnlab bench suite=NAME [OVERRIDES] [--dry-run] [--config-dir DIR]
                    [--check [--records FOLDER] [--allow-missing NAME,...]]
       snnlab bench table FOLDER [--format md|csv|json|tex] [--best-on-test] [--columns KEY,... [--by dataset]]
       snnlab bench compare A B [C ...]
       snnlab bench record FOLDER [OVERRIDES] [--records FOLDER]

suite=NAME trains methods on datasets with seeds, as configs/suite/NAME.yaml or DIR/suite/NAME.yaml describes, and makes
a table. Finished trainings are not repeated: the same command continues an interrupted suite, and adds new seeds or
methods. A failed training is recorded, and the others continue; a missing dataset leaves a gap in the table.
--dry-run prints which trainings are planned and done, and which methods do not build. No arguments: list the suites.

  snnlab bench
  snnlab bench suite=saccade --dry-run
  snnlab bench suite=nmnist data.root=FOLDER data.download=false
  snnlab bench suite=neurons methods=[lif,cuba_lif] seeds=[0,1,2,3,4] workers=4
  snnlab bench suite=smoke trainer.max_epochs=3 folder=outputs/longer
  snnlab bench suite=saccade engine=submitit 'submitit={slurm_partition: gpu, gpus_per_node: 1, timeout_min: 240}'

Settings of the suite: methods=[...] and datasets=[...] choose, seeds=[...], controls=[...], match.by=params,
match.within=0.1, tune.trials=10, engine=here|joblib|submitit|ray, workers=2, folder=FOLDER. All other overrides are
those of snnlab train and apply to all trainings. The last line on stdout is the folder: suite.yaml, suite.json, runs/,
controls/, tune/, table.md, table.csv, table.json, table.tex, report.html.

record writes the completed runs of a suite's folder into docs/results/NAME, or into the folder of --records, for
publication: a folder per row with config.yaml, result.json (how often the test recordings were read, too), metrics.csv,
weights.safetensors and predictions.npz. Rows and seeds of an earlier record are kept: a row may be trained in several
folders or on several machines. Runs that were moved need overrides, such as data.root=FOLDER. suite=NAME --check
composes these runs from the suite, evaluates them again and compares settings, split, answers and every number that a
table reads, and trains one first epoch per dataset again. A row, a seed, the weights of a seed or a file that is
missing is a failure, unless --allow-missing names it: METHOD, METHOD/SEED, with DATASET/ before it, or table.txt. Exit
status 0: all is the same, bit for bit or within the printed tolerance; 1: something differs or is missing; 2: a file is
damaged.

  snnlab bench record outputs/suite_yin_yang
  snnlab bench suite=yin_yang --check

table prints the table of a suite, of its records, or of a folder of runs, with its protocol: snnlab bench table --help.

compare tests whether methods differ on the same test recordings. Each argument is a run's folder, a folder of runs that
differ in their seed alone, such as the folder of a grid over seeds, or the record of a row. Printed: the accuracies;
for each pair the difference with a 95 % interval and its p-value, for new seeds and new test recordings, adjusted by
Holm's method for the number of pairs; McNemar's test for each seed; "cannot tell" with the smallest difference that
these seeds and recordings can detect, and the number of seeds that 3 points need. A verdict needs 4 seeds per method,
and 6 persons where recordings are grouped by person. With one seed each, two networks are compared. p is valid for a
number of seeds that is fixed beforehand: adding seeds until p is small finds false differences; a suite counts repeated
tests.

  snnlab train -m seed=0,1,2,3,4 name=adam
  snnlab train -m seed=0,1,2,3,4 name=rmsprop optimizer=rmsprop
  snnlab bench compare outputs/adam outputs/rmsprop
  snnlab bench compare outputs/suite_saccade/runs/saccade_digits/lif outputs/suite_saccade/runs/saccade_digits/plif
  snnlab bench compare docs/results/few_recordings/nmnist_700/simulated_first outputs/mine
"""


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    positional = [argument for argument in arguments if not argument.startswith("-")]
    if not positional or is_override(arguments[0]) or arguments[0].startswith("-"):
        return bench_suite.main(arguments, started)
    action, *rest = arguments
    if action == "compare":
        return compare(rest)
    if action == "record":
        return record(rest)
    actions = ("table", "compare", "record", "suite=NAME")
    raise ConfigError("bench", f"there is no action '{action}'", did_you_mean(action, actions[:3]), actions)


def compare(arguments: list[str]) -> int:
    """Compare runs, or folders of runs; return the exit status."""
    _, positional = split_options("bench compare", arguments)
    if len(positional) < 2:
        raise ConfigError("bench compare", "name two runs, or folders of runs, or more")
    console_logging()
    methods = read_methods([Path(argument).expanduser() for argument in positional])
    with until_pipe_closes():
        print_comparison(methods)
    return 0


def record(arguments: list[str]) -> int:
    """Write the records of a suite's folder; return the exit status."""
    options, positional = split_options("bench record", arguments)
    folders = [word for word in positional if Path(word).expanduser().is_dir() or not is_override(word)]
    if len(folders) != 1:
        raise ConfigError("bench record", f"takes one folder of a suite, got {join_names(folders) or 'none'}")
    console_logging()
    overrides = [word for word in positional if word not in folders]
    folder = bench_suite.write_records(Path(folders[0]).expanduser(), options.get("--records"), overrides)
    print(folder)
    return 0
