"""`snnlab bench table`: the table of a suite, or of a folder of runs, with its protocol."""

from __future__ import annotations

from pathlib import Path

from snnlab.commands.options import split_options
from snnlab.errors import ConfigError, RecordError, listing

USAGE = """usage: snnlab bench table FOLDER [--format md|csv|json|tex] [--best-on-test]

Print the table of a suite's folder, whatever has been trained of it, or of a folder of runs, such as that of snnlab
train -m: runs that differ in their seed alone are one row. Shown are the test accuracy at the epoch chosen on
validation recordings, its 95 % interval for new seeds and recordings, what it costs, who cannot be told apart, and the
protocol.
--best-on-test adds the best of the epochs that were tested, which is no result.

  snnlab bench table outputs/suite_saccade
  snnlab bench table outputs/suite_saccade --format tex > table.tex
  snnlab bench table outputs/NAME/TIME_sweep
"""
_BEST = "--best-on-test"


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    options, words = split_options("bench table", arguments, ("--format",), (_BEST,))
    best = _BEST in options
    if len(words) != 1:
        raise ConfigError(f"bench table: takes one folder, got {listing(words) or 'none'}")
    folder = Path(words[0]).expanduser()
    if not folder.is_dir():
        raise RecordError(f"bench table: there is no folder {folder}")

    from snnlab.console import until_nobody_reads
    from snnlab.record.suite.tables import FORMS, print_table, read_table

    form = options.get("--format")
    if form is not None and form not in FORMS:
        raise ConfigError(f"bench table: --format must be one of {listing(FORMS)}, got {form}")
    with until_nobody_reads():
        if form is None:
            print_table(folder, best)
        else:
            print(FORMS[form](read_table(folder, best)), end="")
    return 0
