"""`snnlab bench`: methods over datasets and seeds, in a table with intervals and p-values."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from snnlab.cli.command import Call, ConfigDir, FileGroup, command
from snnlab.console import console_logging, say, until_pipe_closes
from snnlab.errors import ConfigError, RunFolderError
from snnlab.experiments.cli import bench_suite
from snnlab.experiments.suite_table import FORMATS, chosen_columns, paper_tables, paper_text, print_table, read_table
from snnlab.experiments.verdicts import print_comparison, read_methods

Suites = Annotated[str, FileGroup("suite")]
DRY_RUN = "--dry-run"


@command("bench", section="train and compare", page="benchmarks")
def bench(*overrides: Suites, dry_run: bool = False, config_dir: ConfigDir = None, call: Call) -> None:
    """Compare methods on the same test recordings, with confidence intervals.

    suite=NAME trains methods on datasets with seeds, as configs/suite/NAME.yaml or DIR/suite/NAME.yaml describes, and
    makes a table. Finished trainings are not repeated: the same command continues an interrupted suite, and adds new
    seeds or methods. A failed training is recorded, and the others continue; a missing dataset leaves a gap in the
    table. Without arguments it lists the suites.

    Settings of the suite: methods=[...] and datasets=[...] choose, seeds=[...], controls=[...], match.by=params,
    match.within=0.1, tune.trials=10, engine=here|joblib|submitit|ray, workers=2, folder=FOLDER. All other overrides are
    those of snnlab train and apply to all trainings. The last line on stdout is the folder: suite.yaml, suite.json,
    runs/, controls/, tune/, table.md, table.csv, table.json, table.tex, report.html.

    Args:
        dry_run: print which trainings are planned and done, and which methods do not build

    Examples:
        snnlab bench
        snnlab bench suite=saccade --dry-run
        snnlab bench suite=nmnist data.root=FOLDER data.download=false
        snnlab bench suite=neurons methods=[lif,cuba_lif] seeds=[0,1,2,3,4] workers=4
        snnlab bench suite=smoke trainer.max_epochs=3 folder=outputs/longer
        snnlab bench suite=saccade engine=submitit 'submitit={slurm_partition: gpu, gpus_per_node: 1, timeout_min: 240}'
    """
    console_logging()
    if not overrides:
        bench_suite.print_suites(config_dir)
        return
    line = shlex.join(["snnlab", "bench", *(word for word in call.words if word != DRY_RUN)])
    if dry_run:
        bench_suite.preview(*overrides, config_dir=config_dir, command=line)
    else:
        bench_suite.suite(*overrides, config_dir=config_dir, started=call.started, command=line)


@command("bench --check")
def check(folder: Annotated[str, "folder"], *rows: Annotated[str, "row"]) -> int:
    """Evaluate the runs of suites from their weights, and compare answers, metrics and tables with what they record.

    Runs without weights, or that cannot be evaluated here, are named with the reason; their metrics are compared with
    their answers, and the table with all runs. Exit status 1 if something differs, or no run can be evaluated.

    Args:
        folder: of a suite, or of several
        rows: a METHOD, or DATASET/METHOD, none: all; and where recordings are, data.root=FOLDER

    Examples:
        snnlab bench --check docs/results/yin_yang lif
        snnlab bench --check docs/results data.root=FOLDER
    """
    console_logging()
    return bench_suite.check(Path(folder).expanduser(), rows)


@command("bench compare")
def compare(*folders: Annotated[str, "folder"]) -> None:
    """Test whether methods differ on the same test recordings.

    Each folder is a run's, a folder of runs that differ in their seed alone, such as the folder of a grid over seeds,
    or a row of a suite. Printed: the accuracies; for each pair the difference with a 95 % interval and its p-value,
    for new seeds and new test recordings, adjusted by Holm's method for the number of pairs; McNemar's test for each
    seed; "cannot tell" with the smallest difference that these seeds and recordings can detect, and the number of seeds
    that 3 points need. A verdict needs 4 seeds per method, and 6 persons where recordings are grouped by person. With
    one seed each, two networks are compared. p is valid for a number of seeds that is fixed beforehand: adding seeds
    until p is small finds false differences; a suite counts repeated tests.

    Args:
        folders: two or more

    Examples:
        snnlab train -m seed=0,1,2,3,4 name=adam
        snnlab train -m seed=0,1,2,3,4 name=rmsprop optimizer=rmsprop
        snnlab bench compare outputs/adam outputs/rmsprop
        snnlab bench compare outputs/suite_saccade/runs/saccade_digits/{lif,plif}
        snnlab bench compare docs/results/few_recordings/runs/nmnist_700/simulated_first outputs/mine
    """
    if len(folders) < 2:
        raise ConfigError("bench compare", "name two runs, or folders of runs, or more")
    console_logging()
    methods = read_methods([Path(folder).expanduser() for folder in folders])
    with until_pipe_closes():
        print_comparison(methods)


@command("bench table", page="benchmarks")
def table(
    folder: Annotated[str, "folder"],
    *,
    format_: Literal["md", "csv", "json", "tex"] | None = None,
    best_on_test: bool = False,
    columns: Annotated[Sequence[str] | None, "key,..."] = None,
    by: Literal["dataset"] | None = None,
) -> None:
    """Print the table of a suite, or of a folder of runs, with its protocol.

    A suite may be unfinished; in a folder of runs, such as that of snnlab train -m, runs that differ in their seed
    alone are one row. The table shows the test accuracy at the epoch chosen on validation recordings, its 95 % interval
    for new seeds and recordings, the costs, which methods do not differ significantly, and the protocol. Notes below
    the table explain marked rows.

    Args:
        folder: of the suite or the runs
        format_: for a file
        best_on_test: add the best of the tested epochs, which is not a valid result
        columns: for a paper: these columns alone, test_accuracy, test_interval, params, spikes_per_sample, energy_nj,
            ...; the keys are those of table.json
        by: make the datasets columns of one table

    Examples:
        snnlab bench table outputs/suite_saccade
        snnlab bench table outputs/suite_saccade --format tex > table.tex
        snnlab bench table outputs/suite_saccade --columns test_accuracy,params --by dataset --format tex > small.tex
        snnlab bench table outputs/NAME/TIME_sweep
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise RunFolderError("bench table", f"there is no folder {path}")
    if columns is None and by is None:
        with until_pipe_closes():
            if format_ is None:
                print_table(path, best_on_test)
            else:
                print(FORMATS[format_](read_table(path, best_on_test)), end="")
        return
    found = read_table(path, best_on_test)
    chosen, by_dataset = chosen_columns(columns, found), by is not None
    with until_pipe_closes():
        if format_ is not None:
            print(paper_text(found, chosen, by_dataset, format_), end="")
            return
        tables, notes = paper_tables(found, chosen, by_dataset)
        for one in tables:
            one.print()
        say(*notes)
