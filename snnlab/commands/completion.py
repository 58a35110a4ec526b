"""Tab completion: Hydra's own, told which of our commands the line is for."""

from __future__ import annotations

import os
import sys

from snnlab.errors import ConfigError

# Commands that take the overrides of `snnlab train`.
OF_HYDRA = ("train", "show", "doctor", "sweep", "find", "bench")
# What one of them is told first, by a word.
FIRST = {"find": ("lr", "batch_size")}
FLAGS = ("--config-dir", "--cfg", "--help", "--multirun", "-m")


def main(arguments: list[str], started: float) -> int:
    """Answer `snnlab -sc install=bash|zsh|fish`, `uninstall=...` and the queries of the installed script."""
    if len(arguments) != 1 or arguments[0].partition("=")[0] not in ("install", "uninstall", "query"):
        raise ConfigError('completion: eval "$(snnlab -sc install=bash)", or zsh; snnlab -sc install=fish | source')
    if arguments[0] == "install=zsh":  # bash's script, once zsh has been told to take such scripts
        print("autoload -Uz compinit bashcompinit && compinit && bashcompinit", flush=True)
        return _hydra(["install=bash"])
    if not arguments[0].startswith("query="):
        return _hydra(arguments)
    words = own_words(os.environ.get("COMP_LINE", ""))
    if words is not None:
        print(" ".join(words))
        return 0
    os.environ["COMP_LINE"] = without_command(os.environ["COMP_LINE"])
    return _hydra(arguments)


def own_words(line: str) -> list[str] | None:
    """Return what we complete ourselves, a command or a flag, or None where it is Hydra's turn."""
    from snnlab.cli import COMMANDS

    words = line.split()
    if len(words) < 2 or (len(words) == 2 and not line.endswith(" ")):
        typed = words[1] if len(words) == 2 else ""
        return [command for command in COMMANDS if command.startswith(typed)]
    if words[1] not in OF_HYDRA:
        return []
    if words[1] in FIRST and (len(words) == 2 or (len(words) == 3 and not line.endswith(" "))):
        return [word for word in FIRST[words[1]] if word.startswith("" if len(words) == 2 else words[2])]
    if words[-1].startswith("-") and not line.endswith(" "):
        return [flag for flag in FLAGS if flag.startswith(words[-1])]
    return None


def without_command(line: str) -> str:
    """Return the line without the command and its own first word, which Hydra does not know: `snnlab find lr mod`."""
    program, _, rest = line.lstrip().partition(" ")
    command, _, behind = rest.lstrip().partition(" ")
    if command in FIRST:
        behind = behind.lstrip().partition(" ")[2]
    return f"{program} {behind}"


def _hydra(arguments: list[str]) -> int:
    import hydra

    from snnlab.config.composing import ROOT, VERSION_BASE
    from snnlab.config.folders import config_folder
    from snnlab.config.hydra_guard import guarded_hydra

    sys.argv = [sys.argv[0], "-sc", *arguments]

    @hydra.main(version_base=VERSION_BASE, config_path=str(config_folder()), config_name=ROOT)
    def complete(cfg: object) -> None:
        raise AssertionError("Hydra answers before it runs anything")

    with guarded_hydra():
        complete()
    return 0
