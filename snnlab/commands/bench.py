"""`snnlab bench`: which of two ways to train is better, and whether anybody can tell."""

from __future__ import annotations

from pathlib import Path

from snnlab.commands.options import split_options
from snnlab.errors import ConfigError, did_you_mean

USAGE = """usage: snnlab bench compare A B [C ...]

Compare ways to train on the same test recordings. Each is a run's folder, or a folder of runs that differ in their seed
alone, such as the folder of a sweep over seeds. Printed: the accuracies; for each two the difference with a 95 %
interval (a bootstrap over test recordings and seeds, both drawn for both at once) and its p-value, adjusted by Holm's
method where there are more than two; McNemar's test for each seed; "cannot tell" where the interval holds 0, with how
many recordings or seeds would tell.

  snnlab train -m seed=0,1,2 name=adam
  snnlab train -m seed=0,1,2 name=rmsprop optimizer=rmsprop
  snnlab bench compare outputs/adam outputs/rmsprop
"""


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    if not arguments or "-h" in arguments or "--help" in arguments:
        print(USAGE, end="")
        return 0
    action, *rest = arguments
    if action != "compare":
        raise ConfigError(
            f"bench: there is no action {action}.{did_you_mean(action, ['compare']) or ' There is compare.'}"
        )
    _, words = split_options("bench compare", rest, ())
    if len(words) < 2:
        raise ConfigError("bench compare: name two runs, or folders of runs, or more")

    from snnlab.console import until_nobody_reads
    from snnlab.record.arms import read_arms
    from snnlab.record.comparison_table import print_comparison

    arms = read_arms([Path(word).expanduser() for word in words])
    with until_nobody_reads():
        print_comparison(arms)
    return 0
