"""List, sort, compare and delete recorded runs.

A KEY is one of a run's config.yaml, such as data.type or optimizer.lr, or one of its result.json, such as status,
val/accuracy or test/loss; tags=WORD chooses the runs of snnlab train 'tags=[WORD, ...]'.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from snnlab.cli.command import command
from snnlab.console import until_pipe_closes
from snnlab.errors import ConfigError, RunFolderError
from snnlab.runs.pooled_folds import print_folds
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


@command("runs list", "runs", section="use a run")
def list_runs(
    folder: Annotated[str, "folder"] = "outputs",
    *,
    where: Annotated[Sequence[str], "key=value,..."] = (),
    sort: Annotated[str | None, "key"] = None,
) -> None:
    """List the runs below a folder, oldest first, with the settings in which runs of one name differ.

    For a folder of snnlab train -m it also prints means over seeds.

    Args:
        folder: of runs
        where: only runs with these values
        sort: by a metric, the best last

    Examples:
        snnlab runs
        snnlab runs list --where data.type=nmnist,status=completed --sort val/accuracy
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise RunFolderError("runs list", f"there is no folder {root}", "a training makes it, or name another one")
    if wrong := [condition for condition in where if "=" not in condition]:
        raise ConfigError("runs list: --where", f"takes KEY=VALUE, got {wrong[0]}")
    found = [read_listed_run(one) for one in find_all_runs(root)]
    kept = filter_runs(found, [tuple(condition.split("=", 1)) for condition in where], sort)
    with until_pipe_closes():
        print_runs(kept, root, len(found))
        if not where and sort is None and (grid := read_grid(root)):
            print_grid(grid)
            print_folds(grid)


@command("runs compare")
def compare(first: Annotated[str, "run"], second: Annotated[str, "run"]) -> None:
    """Print the differences between two runs: of their configurations and of their results.

    Examples:
        snnlab runs compare outputs/A/TIME_SEED outputs/B/TIME_SEED
    """
    lines = [read_listed_run(_run_folder(one)) for one in (first, second)]
    if problem := next((line.problem for line in lines if line.problem), None):
        raise problem
    with until_pipe_closes():
        print_comparison(lines[0], lines[1])


@command("runs delete")
def delete(*runs: Annotated[str, "run"]) -> None:
    """Delete runs and all that is in their folders; never one that is being trained."""
    if not runs:
        raise ConfigError("runs delete", "name the folders of runs, such as outputs/NAME/TIME_SEED")
    folders = [_run_folder(one) for one in runs]
    for folder in folders:
        _require_deletable(folder)
    for folder in folders:
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise RunFolderError(folder, f"cannot be deleted ({error.strerror or error})") from error
        print(f"{folder} deleted")


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
