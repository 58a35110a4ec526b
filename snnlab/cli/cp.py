"""`snnlab cp`: copies a packaged YAML file, to change it."""

from __future__ import annotations

from pathlib import Path

from snnlab.config.folders import find_file, write_new
from snnlab.errors import ConfigError

# The command that runs a file of a group, if not snnlab train.
_RUNS = {"sweep": "snnlab sweep", "suite": "snnlab bench"}
USAGE = """usage: snnlab cp GROUP/NAME TARGET

Copy a YAML file that comes with snnlab, to change it.

  snnlab cp model/conv_lif mine/model/my_net.yaml     then: snnlab train --config-dir mine model=my_net
"""


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    if len(arguments) != 2:
        raise ConfigError("cp", "give the file and the target, such as snnlab cp model/conv_lif mine/model/my_net.yaml")
    source = find_file(arguments[0])
    print(copy_file(source, Path(arguments[1])))
    return 0


def copy_file(source: Path, target: Path) -> str:
    """Copy `source`, correct the comment with the command that runs it, and return that command.

    Raises:
        ConfigError: if the target exists, is in another group, or cannot be written.
    """
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
