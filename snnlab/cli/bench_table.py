"""`snnlab bench table`: prints the table of a suite, or of a folder of runs, with its protocol."""

from __future__ import annotations

from pathlib import Path

from snnlab.cli.options import split_options
from snnlab.console import say, until_pipe_closes
from snnlab.errors import ConfigError, RunFolderError, join_names
from snnlab.experiments.suite_table import FORMATS, chosen_columns, paper_tables, paper_text, print_table, read_table

USAGE = """usage: snnlab bench table FOLDER [--format md|csv|json|tex] [--best-on-test]
       snnlab bench table FOLDER --columns KEY,... [--by dataset] [--format md|csv|json|tex]

Print the table of a suite's folder, which may be unfinished, or of a folder of runs, such as that of snnlab train -m:
runs that differ in their seed alone are one row. The table shows the test accuracy at the epoch chosen on validation
recordings, its 95 % interval for new seeds and recordings, the costs, which methods do not differ significantly, and
the protocol.
--best-on-test adds the best of the tested epochs, which is not a valid result.
--columns, for a paper, shows these columns alone: test_accuracy, test_interval, params, spikes_per_sample, energy_nj,
...; the keys are those of table.json. --by dataset makes the datasets columns of one table. Notes below the table
explain marked rows.

  snnlab bench table outputs/suite_saccade
  snnlab bench table outputs/suite_saccade --format tex > table.tex
  snnlab bench table outputs/suite_saccade --columns test_accuracy,params --by dataset --format tex > small.tex
  snnlab bench table outputs/NAME/TIME_sweep
"""
_BEST = "--best-on-test"


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    options, positional = split_options("bench table", arguments)
    best = _BEST in options
    if len(positional) != 1:
        raise ConfigError("bench table", f"takes one folder, got {join_names(positional) or 'none'}")
    folder = Path(positional[0]).expanduser()
    if not folder.is_dir():
        raise RunFolderError("bench table", f"there is no folder {folder}")
    if options.get("--by", "dataset") != "dataset":
        raise ConfigError("bench table", f"--by must be dataset, got {options['--by']}")

    form = options.get("--format")
    if form is not None and form not in FORMATS:
        raise ConfigError("bench table", f"--format must be one of {join_names(FORMATS)}, got {form}")
    if "--columns" in options or "--by" in options:
        requested = options["--columns"].split(",") if "--columns" in options else None
        found = read_table(folder, best)
        columns, by_dataset = chosen_columns(requested, found), "--by" in options
        with until_pipe_closes():
            if form is not None:
                print(paper_text(found, columns, by_dataset, form), end="")
                return 0
            tables, notes = paper_tables(found, columns, by_dataset)
            for table in tables:
                table.print()
            say(*notes)
        return 0
    with until_pipe_closes():
        if form is None:
            print_table(folder, best)
        else:
            print(FORMATS[form](read_table(folder, best)), end="")
    return 0
