"""`snnlab runs`: lists, sorts, compares and deletes recorded runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from snnlab.cli.options import split_options
from snnlab.console import until_pipe_closes
from snnlab.errors import ConfigError, RunFolderError, did_you_mean, join_names
from snnlab.runs.recorded import is_readable_run, is_run
from snnlab.runs.run_folder import CONFIG, is_locked
from snnlab.runs.runs_table import (
    filter_runs,
    find_all_runs,
    print_comparison,
    print_grid,
    print_runs,
    read_grid,
    read_listed_run,
)

USAGE = """usage: snnlab runs [ACTION] [...]

  [list] [FOLDER] [--where KEY=VALUE,...] [--sort KEY]
                     list the runs below FOLDER (outputs), oldest first, or by a metric, the best last, with the
                     settings in which runs of one name differ; for a folder of snnlab train -m also means over seeds
  compare RUN RUN    print the differences of their configurations and of their results
  delete RUN ...     delete runs and all that is in their folders; never one that is being trained

A KEY is one of a run's config.yaml, such as data.type or optimizer.lr, or one of its result.json, such as status,
val/accuracy or test/loss; tags=WORD chooses the runs of snnlab train 'tags=[WORD, ...]'.

  snnlab runs
  snnlab runs list --where data.type=nmnist,status=completed --sort val/accuracy
  snnlab runs compare outputs/A/TIME_SEED outputs/B/TIME_SEED
"""


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    action, *rest = arguments or ["list"]
    if action.startswith("-") or (action not in ACTIONS and Path(action).expanduser().is_dir()):
        action, rest = "list", arguments  # the word can be left out
    if action not in ACTIONS:
        raise ConfigError("runs", f"there is no action '{action}'", did_you_mean(action, ACTIONS), ACTIONS)
    ACTIONS[action](rest)
    return 0


def list_runs(arguments: list[str]) -> None:
    """Print a line for each run."""
    options, positional = split_options("runs list", arguments)
    if len(positional) > 1:
        raise ConfigError("runs list", f"takes one folder, got {join_names(positional)}")
    root = Path(positional[0] if positional else "outputs").expanduser()
    if not root.is_dir():
        raise RunFolderError("runs list", f"there is no folder {root}", "a training makes it, or name another one")
    wanted = [condition for condition in options.get("--where", "").split(",") if condition]
    for condition in wanted:
        if "=" not in condition:
            raise ConfigError("runs list", f"--where takes KEY=VALUE, got {condition}")
    found = [read_listed_run(folder) for folder in find_all_runs(root)]
    kept = filter_runs(found, [tuple(condition.split("=", 1)) for condition in wanted], options.get("--sort"))
    with until_pipe_closes():
        print_runs(kept, root, len(found))
        if (grid := read_grid(root)) and not options:
            print_grid(grid)


def compare(arguments: list[str]) -> None:
    """Print the differences between two runs."""
    _, positional = split_options("runs compare", arguments)
    if len(positional) != 2:
        raise ConfigError("", f"runs compare: takes two runs' folders, got {len(positional)}")
    lines = [read_listed_run(_run_folder(argument)) for argument in positional]
    if problem := next((line.problem for line in lines if line.problem), None):
        raise problem
    with until_pipe_closes():
        print_comparison(lines[0], lines[1])


def delete(arguments: list[str]) -> None:
    """Delete runs, after a check of all of them."""
    _, positional = split_options("runs delete", arguments)
    if not positional:
        raise ConfigError("", "runs delete: name the folders of runs, such as outputs/NAME/TIME_SEED")
    folders = [_run_folder(argument) for argument in positional]
    for folder in folders:
        _require_deletable(folder)
    for folder in folders:
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise RunFolderError(folder, f"cannot be deleted ({error.strerror or error})") from error
        print(f"{folder} deleted")


ACTIONS: dict[str, Callable[[list[str]], None]] = {
    "list": list_runs,
    "compare": compare,
    "delete": delete,
}


def _run_folder(argument: str) -> Path:
    folder = Path(argument).expanduser()
    if not is_run(folder):
        lacks = "checkpoints, result or split" if (folder / CONFIG).is_file() else CONFIG
        raise RunFolderError(folder, f"is not a run's folder, there is no {lacks} in it")
    return folder


def _require_deletable(folder: Path) -> None:
    """Refuse to delete a folder that may not be a run, or is in use."""
    if not is_readable_run(folder):
        raise RunFolderError(folder, "no file in it was written by a run of snnlab", "it is not deleted")
    if Path.cwd().is_relative_to(folder.resolve()):
        raise RunFolderError(folder, "is the working folder, or holds it", "change the working folder to delete it")
    if is_locked(folder):
        raise RunFolderError(folder, "is being trained", "it is not deleted")
