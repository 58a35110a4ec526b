"""`snnlab cp`: a packaged YAML file as the beginning of one of the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from snnlab.cli.command import Proposed, command
from snnlab.config.folders import find_file, packaged_files, write_new
from snnlab.errors import ConfigError

# The command that runs a file of a group, if not snnlab train.
_RUNS = {"sweep": "snnlab sweep", "suite": "snnlab bench"}


@command("cp", section="data and files", page="layers")
def cp(file: Annotated[str, "group/name", Proposed(packaged_files)], target: Annotated[str, "target"]) -> None:
    """Copy a packaged YAML file, to change it.

    Args:
        file: one that comes with snnlab
        target: the new file

    Examples:
        snnlab cp model/conv_lif mine/model/my_net.yaml     then: snnlab train --config-dir mine model=my_net
    """
    print(copy_file(find_file(file), Path(target)))


def copy_file(source: Path, target: Path) -> str:
    """Copy `source`, correct the comment with the command that runs it, and return that command."""
    group = source.parent.name
    if target.suffix != ".yaml" or target.parent.name != group:
        raise ConfigError(target, f"a file of the group {group} goes into a folder of that name, DIR/{group}/NAME.yaml")
    if target.name == source.name:
        raise ConfigError(target, "give it another name", "Hydra finds snnlab's file first")
    runs = _RUNS.get(group, "snnlab train")
    command = f"{runs} --config-dir {target.parent.parent} {group}={target.stem}"
    old_comment = f"# {runs} {group}={source.stem}"
    text = source.read_text(encoding="utf-8").replace(old_comment, f"# {command}", 1)
    write_new(target, text)
    return command
