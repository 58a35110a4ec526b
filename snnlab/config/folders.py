"""The folders of YAML files, packaged and the user's, and the descriptions in their first lines."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from snnlab.errors import ConfigError, did_you_mean
from snnlab.printable import printable

# Not within `CC BY 4.0. 2.4 GB`, nor after an initial.
_SENTENCE_END = re.compile(r"(?<=[a-z)\d]\.) +(?=[^\d\s])")
# What users call the files of a group, if not by the group's name.
PLURALS = {
    "model": "models",
    "experiment": "experiments",
    "neuron": "presets",
    "optimizer": "optimizers",
    "scheduler": "schedulers",
    "trainer": "trainers",
    "callbacks": "callbacks",
    "logger": "loggers",
    "sweep": "sweeps",
    "suite": "suites",
}


def file_kinds(user_dir: Path | None) -> dict[str, str]:
    """Return the groups by what users call their files; `user_dir` is the user's folder."""
    found = groups(config_folder(), user_dir)
    known = {plural: group for group, plural in PLURALS.items() if group in found}
    return known | {group: group for group in sorted(found - PLURALS.keys())}


def group_files(group: str, user_dir: Path | None) -> dict[str, Path]:
    """Return a group's files by name, snnlab's own and the user's."""
    folders = [folder / group for folder in (user_dir, config_folder()) if folder]
    return dict(sorted((path.stem, path) for folder in folders for path in folder.glob("*.yaml") if path.is_file()))


def description(path: Path) -> str:
    """Return the first sentence of a YAML file's comments after its first line, else its `_target_`, else "".

    The first line is the command that runs it; Hydra's `@package` line is skipped.
    """
    text = path.read_text(encoding="utf-8")
    head = [line for line in text.splitlines() if not line.startswith("# @package")]
    comments = [line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), head[1:])]
    if comments:
        return printable(_SENTENCE_END.split(" ".join(comments))[0])
    target = re.search(r"^_target_: *(\S+)", text, re.MULTILINE)
    return printable(target[1]) if target else ""


ENVIRONMENT = "SNNLAB_CONFIG_DIR"
# Groups whose files set values of the whole experiment.
GLOBAL_GROUPS = ("experiment", "debug")


def config_folder() -> Path:
    """Return the folder of the configs that come with snnlab: inside an installed package, or at a checkout's root."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def user_folder(chosen: str | Path | None = None) -> Path | None:
    """Return the user's folder: the given one, or that of SNNLAB_CONFIG_DIR, or None."""
    named = chosen or os.environ.get(ENVIRONMENT)
    if not named:
        return None
    folder = Path(named).expanduser().absolute()
    if not folder.is_dir():
        where = "--config-dir" if chosen else ENVIRONMENT
        raise ConfigError(where, f"there is no folder {folder}")
    if folder != config_folder():
        files = (Path(above, name) for above, _, names in os.walk(folder) for name in names)
        for path in sorted(path for path in files if path.suffix == ".yaml"):
            if (config_folder() / path.relative_to(folder)).is_file():
                raise ConfigError(path, "snnlab has a file of this name too, which Hydra finds first", "rename yours")
    return folder


def groups(*folders: Path | None) -> set[str]:
    """Return the names of the config groups in these folders."""
    return {path.name for folder in folders if folder for path in folder.iterdir() if path.is_dir()}


def find_file(name: str) -> Path:
    """Return the file of `group/name`, the user's own before the packaged one."""
    group, _, stem = name.removesuffix(".yaml").partition("/")
    folders = [folder for folder in (config_folder(), user_folder()) if folder]
    known = groups(*folders)
    if group not in known:
        raise ConfigError(name, f"there is no group '{group}'", did_you_mean(group, known), sorted(known))
    files = {path.stem: path for folder in folders for path in sorted((folder / group).glob("*.yaml"))}
    if stem not in files:
        raise ConfigError(name, "there is no such file", did_you_mean(stem, files), files)
    return files[stem]


def packaged_files(words: Sequence[str]) -> list[str]:
    """Return the files as `group/name`, for completion."""
    user_dir = user_folder()
    return [
        f"{group}/{name}"
        for group in sorted(groups(config_folder(), user_dir))
        for name in group_files(group, user_dir)
    ]


def write_new(path: Path, text: str, *, replace: bool = False) -> None:
    """Write a new file.

    Args:
        replace: Whether an existing one is overwritten.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w" if replace else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        if not path.exists():  # one of its folders is a file
            raise ConfigError(path, f"cannot be written ({error.strerror})") from error
        raise ConfigError(path, "exists already", "remove it, or choose another name") from error
    except OSError as error:
        raise ConfigError(path, f"cannot be written ({error.strerror})") from error
