"""`snnlab validate`: check every YAML file of a folder without training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from snnlab.commands.options import split_options
from snnlab.console import say
from snnlab.errors import ConfigError, MissingPackageError, SnnlabError, UnsetError
from snnlab.settings import is_override

if TYPE_CHECKING:
    from snnlab.suite.plan import Plan

# Of a file: right, right as far as it can be told while values are left to its user, wrong.
OK, OPEN, WRONG = "ok", "open", "WRONG"

USAGE = """usage: snnlab validate [DIR] [OVERRIDES]

Compose every YAML file of DIR with the defaults, build its network, loss, optimizer and trainer, and say what is
wrong. No data is read and nothing is trained. A file that leaves values to its user (???) is open until overrides
give them. Without DIR: the folder of SNNLAB_CONFIG_DIR, or the files of snnlab.

  snnlab validate mine
  snnlab validate mine 'plugins=[my_layers]'     overrides that every file needs
"""


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status: 2 if a file is wrong."""
    options, words = split_options("validate", arguments)
    folders = [word for word in words if Path(word).expanduser().is_dir() or not is_override(word)]
    overrides = [word for word in words if word not in folders]
    folders += options.values()
    if len(folders) > 1:
        raise ConfigError("validate", "give one folder: snnlab validate DIR")
    from snnlab.config.folders import config_folder, own_folder

    folder = own_folder(folders[0] if folders else None) or config_folder()
    wrong = checked = 0
    for path in files(folder):
        checked += 1
        word, text = finding(path, folder, overrides)
        wrong += word == WRONG
        say(f"{word:6} {path.relative_to(folder)}" + (f"\n       {text}" if text else ""))
    if not checked:
        raise ConfigError("validate", f"no YAML files in {folder}")
    print(f"{checked - wrong} of {checked} files are right")
    return 2 if wrong else 0


def files(folder: Path) -> Iterator[Path]:
    """Yield the YAML files of a config folder in order."""
    yield from sorted(path for path in folder.rglob("*") if path.suffix in (".yaml", ".yml"))


def finding(path: Path, folder: Path, overrides: list[str]) -> tuple[str, str | None]:
    """Return whether a file is right, and what is wrong with it or left to its user."""
    try:
        problem = problem_of(path, folder, overrides)
    except (UnsetError, MissingPackageError) as error:
        return OPEN, str(error)
    return (OK, None) if problem is None else (WRONG, problem)


def problem_of(path: Path, folder: Path, overrides: list[str]) -> str | None:
    """Return what is wrong with one file under the overrides, or None."""
    from snnlab.config.folders import config_folder, groups

    packaged = folder == config_folder()
    if path.suffix != ".yaml":
        return "Hydra finds only files that end with .yaml"
    if path == folder / "train.yaml":
        return build_problem(overrides, None) if packaged else "a file of this name hides the root of all experiments"
    group = path.parent.relative_to(folder).as_posix()
    if group not in groups(config_folder()):
        return f"{group} is no group; the groups are {', '.join(sorted(groups(config_folder())))}"
    if group == "sweep":
        return sweep_problem(path.stem, overrides, None if packaged else folder)
    if group == "suite":
        return suite_problem(path.stem, overrides, None if packaged else folder)
    # A loss or data of targets other than the defaults' are no mistake: an experiment brings them together.
    alone = group in ("loss", "data")
    return build_problem([f"{group}={path.stem}", *overrides], None if packaged else folder, alone=alone)


def sweep_problem(name: str, given: list[str], folder: Path | None) -> str | None:
    """Return what is wrong with a sweep's file, or with what it proposes, or None.

    Args:
        given: What every trial has.
        folder: A folder of the user's files.
    """
    from snnlab.config.sweeps import read_sweep
    from snnlab.search.settings import checked
    from snnlab.search.space import overrides

    try:
        _, space = checked(read_sweep(name, folder))
    except ConfigError as error:
        return str(error)
    problems = (build_problem([*given, *overrides(values)], folder) for values in space.probes())
    return next((problem for problem in problems if problem), None)


def suite_problem(name: str, given: list[str], folder: Path | None) -> str | None:
    """Return what is wrong with a suite's file, or with one of its arms on one of its datasets, or None.

    Args:
        given: What every training has.
        folder: A folder of the user's files.
    """
    from snnlab.config.suites import read_suite
    from snnlab.suite.plan import Plan
    from snnlab.suite.settings import checked

    try:
        own = None if folder is None else str(folder)
        plan = Plan(Path(name), name, checked(read_suite(name, folder)), given, own, "", "")
    except ConfigError as error:
        return str(error)
    pairs = dict.fromkeys((cell.dataset, cell.arm) for cell in plan.cells())
    problems = ((pair, arm_problem(plan, *pair)) for pair in pairs)
    return next((f"{arm} on {dataset}: {problem}" for (dataset, arm), problem in problems if problem), None)


def arm_problem(plan: Plan, dataset: str, arm: str) -> str | None:
    """Return what is wrong with an arm on a dataset, or with what it is tuned in, or None."""
    from snnlab.config.overrides import merged
    from snnlab.search.space import overrides
    from snnlab.suite.tuning import search_plan

    folder = Path(plan.config_dir) if plan.config_dir else None
    own = plan.arm_overrides(dataset, arm)
    if (problem := build_problem(merged(own), folder)) or plan.suite.tuning(arm) is None:
        return problem
    try:
        search = search_plan(plan, dataset, arm, merged)
    except ConfigError as error:
        return str(error)
    problems = (build_problem(merged([*own, *overrides(values)]), folder) for values in search.space.probes())
    return next((f"tune.space: {problem}" for problem in problems if problem), None)


def build_problem(overrides: list[str], folder: Path | None, *, alone: bool = False) -> str | None:
    """Return the first mistake found when everything but the data is built, or None.

    Args:
        folder: A folder of the user's files.
        alone: Whether loss and data need not go together.
    """
    from snnlab.commands.preflight import preflight
    from snnlab.config.composing import compose_once

    try:
        preflight(*compose_once(overrides, folder), here=False, alone=alone)
    except (UnsetError, MissingPackageError):
        raise
    except SnnlabError as error:
        return str(error)
    return None
