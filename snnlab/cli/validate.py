"""`snnlab validate`: every YAML file of a folder, checked without training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from snnlab.cli.command import ConfigDir, command
from snnlab.config.folders import config_folder, groups, user_folder
from snnlab.console import say
from snnlab.errors import ConfigError, MissingPackageError, SnnlabError, UnsetError
from snnlab.experiments import suite_settings, sweep_settings
from snnlab.experiments.session.experiment_files import read_suite, read_sweep
from snnlab.experiments.space import overrides
from snnlab.experiments.suite_plan import SuitePlan
from snnlab.files import files_below
from snnlab.session.session import compose_and_check

# A file is right; right so far, but its user has to set some values; or wrong.
OK, OPEN, WRONG = "ok", "open", "WRONG"


@command("validate", section="data and files", page="layers")
def validate(folder: Annotated[str | None, "dir"] = None, *overrides: str, config_dir: ConfigDir = None) -> int:
    """Check every YAML file of a folder without training.

    Each is composed with the defaults, its network, loss, optimizer and trainer are built, and errors are printed; the
    exit status is 2 if there are any. No data is read. A file that leaves values to its user (???) is open until
    overrides set them.

    Args:
        folder: that of SNNLAB_CONFIG_DIR by default, or the files of snnlab

    Examples:
        snnlab validate mine
        snnlab validate mine 'plugins=[my_layers]'     overrides that every file needs
    """
    if folder and config_dir:
        raise ConfigError("validate", "give one folder: snnlab validate DIR")
    checked_folder = user_folder(folder or config_dir) or config_folder()
    wrong = checked = 0
    for path in files(checked_folder):
        checked += 1
        word, text = validate_file(path, checked_folder, list(overrides))
        wrong += word == WRONG
        say(f"{word:6} {path.relative_to(checked_folder)}" + (f"\n       {text}" if text else ""))
    if not checked:
        raise ConfigError("validate", f"no YAML files in {checked_folder}")
    print(f"{checked - wrong} of {checked} files are right")
    return 2 if wrong else 0


def files(folder: Path) -> Iterator[Path]:
    """Yield the YAML files of a config folder in order."""
    yield from sorted(path for path in files_below(folder) if path.suffix in (".yaml", ".yml"))


def validate_file(path: Path, folder: Path, overrides: list[str]) -> tuple[str, str | None]:
    """Return the state of a file (OK, OPEN, WRONG), and its error or the values that it leaves to its user."""
    try:
        check_file(path, folder, overrides)
    except (UnsetError, MissingPackageError) as error:
        return OPEN, str(error)
    except SnnlabError as error:
        return WRONG, str(error)
    return OK, None


def check_file(path: Path, folder: Path, overrides: list[str]) -> None:
    """Refuse one file that is wrong under the overrides."""
    packaged = folder == config_folder()
    user_dir = None if packaged else folder
    group = path.parent.relative_to(folder).as_posix()
    if path.suffix != ".yaml":
        raise ConfigError("", "Hydra finds only files that end with .yaml")
    if path == folder / "train.yaml":
        if not packaged:
            raise ConfigError("", "a file of this name hides the root of all experiments")
        compose_and_check(overrides, None)
    elif group not in groups(config_folder()):
        raise ConfigError("", f"there is no group '{group}'", allowed=sorted(groups(config_folder())))
    elif group == "sweep":
        check_sweep(path.stem, overrides, user_dir)
    elif group == "suite":
        check_suite(path.stem, overrides, user_dir)
    else:
        # A loss or data with other targets than the defaults is not a mistake: an experiment combines them.
        compose_and_check([f"{group}={path.stem}", *overrides], user_dir, skip_target_check=group in ("loss", "data"))


def check_sweep(name: str, typed: list[str], folder: Path | None) -> None:
    """Refuse a sweep's file that is wrong, or proposes wrong values.

    Args:
        typed: Overrides of every trial.
        folder: A folder of the user's files.
    """
    _, space = sweep_settings.parse_settings(read_sweep(name, folder))
    for values in space.probes():
        compose_and_check([*typed, *overrides(values)], folder)


def check_suite(name: str, typed: list[str], folder: Path | None) -> None:
    """Refuse a suite's file that is wrong, or has a wrong method on a dataset.

    Args:
        typed: Overrides of every training.
        folder: A folder of the user's files.
    """
    from snnlab.experiments.session.trial import check_method  # brings Lightning

    user_dir = None if folder is None else str(folder)
    plan = SuitePlan(Path(name), name, suite_settings.parse_settings(read_suite(name, folder)), typed, user_dir, "", "")
    for dataset, method in dict.fromkeys((spec.dataset, spec.method) for spec in plan.run_specs()):
        try:
            check_method(plan, dataset, method)
        except SnnlabError as error:
            raise error.with_fields(place=f"{method} on {dataset}: {error.place}") from error
