"""The command line: the name of a command leads to its file, which is imported then."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import signal
import sys
import time
from contextlib import suppress
from typing import NoReturn

from snnlab import __version__, process
from snnlab.errors import NOT_WINDOWS, ConfigError, Interrupted, SnnlabError, did_you_mean

COMMANDS = {
    "train": "train a network as a YAML describes it, and test it",
    "evaluate": "the network of a run on recordings: right and wrong, by class and over time",
    "predict": "what the network of a run answers to files of events",
    "export": "spikes, membranes, weights, gradients of a run as arrays: .npz or .h5",
    "reproduce": "train again from the record of a run, and compare bit for bit",
    "bench": "ways to train compared on the same test recordings, with intervals",
    "report": "a run, or a folder of runs, as one HTML page",
    "sweep": "search for better settings: it survives, spreads, and does not fool itself",
    "runs": "the recorded runs: listed, sorted, compared, deleted",
    "doctor": "why a network is silent or does not learn, layer by layer, and the setting that cures it",
    "find": "a learning rate or a batch size, from a few steps before the training",
    "show": "the network as tables or as a picture: shapes, costs, constants, what depends on dt",
    "data": "recordings: fetch and pack them, look at them, check a packed copy, delete it",
    "list": "layers, neurons, datasets, models, ... and their settings",
    "cp": "copy a packaged YAML file, to change it",
    "new": "write overrides down as an experiment of your own",
    "validate": "check every YAML file of a folder without training",
}
# Commands that do nothing without a word behind them, and then say what they take.
ALWAYS_OF_SOMETHING = ("evaluate", "predict", "export", "reproduce", "report", "data", "bench_table")
# What other frameworks call a command.
_MEANT = {"test": "evaluate", "eval": "evaluate", "fit": "train", "infer": "predict", "ls": "list", "run": "train"}
USAGE = """snnlab: train spiking neural networks on event-camera data, described in YAML

  snnlab COMMAND [...]

commands:
{commands}

  snnlab COMMAND --help   what a command takes
  snnlab --version        the version
  eval "$(snnlab -sc install=bash)"   completion with Tab; also install=zsh, and install=fish | source

first steps:
  snnlab train                                          the embedded default
  snnlab train model=conv_lif data=nmnist neuron.tau_mem=10
"""


def enter() -> NoReturn:
    """Run the command line as a program: on whatever streams there are, and leave quickly."""
    shield_workers()
    let_openmp_sleep()
    process.open_streams()
    process.spare_other_packages()
    process.leave(main())


def shield_workers() -> None:
    """Let the Pythons that are started from here, workers, find no module in the folder where the user stands."""
    os.environ.setdefault("PYTHONSAFEPATH", "1")


def let_openmp_sleep() -> None:
    """Let OpenMP's threads sleep soon where they wait, and keep no core from others; before torch is imported.

    It does nothing where the environment says how they wait.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "1000"


def main() -> int:
    """Run the command line; return the exit status: 0, 2 for a user's mistake, 128 and its number after a signal."""
    started = time.perf_counter()
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS))
        print(USAGE.format(commands="\n".join(f"  {c:{width}}   {words}" for c, words in COMMANDS.items())), end="")
        return 0
    if name == "--version":
        print(__version__)
        return 0
    if name in ("-sc", "--shell_completion", "--shell-completion"):
        return _run("completion", arguments, started)
    if name not in COMMANDS:
        hint = f"Did you mean '{_MEANT[name]}'?" if name in _MEANT else did_you_mean(name, COMMANDS)
        error = ConfigError("", f"there is no command '{name}'", hint, COMMANDS)
        print(f"snnlab: {error}", file=sys.stderr)
        return 2
    return _run(name, arguments, started)


def _usage(name: str) -> str | None:
    """Return what a command says of itself, without importing what it needs; train has none: Hydra answers for it."""
    source = pkgutil.get_data("snnlab.cli", f"{name}.py")
    assert source is not None
    found = re.search(r'^USAGE = """(.*?)"""', source.decode(), re.DOTALL | re.MULTILINE)
    return found and found[1]


def _run(name: str, arguments: list[str], started: float) -> int:
    if sys.platform == "win32":
        print(f"snnlab: {NOT_WINDOWS}", file=sys.stderr)
        return 2
    with process.raised_signals():
        return _status(name, arguments, started)


def _status(name: str, arguments: list[str], started: float) -> int:
    if words := process.missing_folder():
        print(f"snnlab: {words}", file=sys.stderr)
        return 2
    if (name, *arguments[:1]) == ("bench", "table"):
        name, arguments = "bench_table", arguments[1:]
    try:
        asks = {"-h", "--help"} & {*arguments} or (name in ALWAYS_OF_SOMETHING and not arguments)
        if asks and (usage := _usage(name)):
            print(usage, end="")
            return 0
        return importlib.import_module(f"snnlab.cli.{name}").main(arguments, started)
    except Interrupted as stop:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left to stop
        with suppress(OSError):  # where the terminal is gone, which is what the signal says
            print(f"snnlab: {stop}", file=sys.stderr)
        return stop.status
    except SnnlabError as error:
        from snnlab.console import say_error  # which takes as long as a bare interpreter

        say_error(error)
        return 2
    except KeyboardInterrupt:
        print("snnlab: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        words = process.explained(error)
        if words is None:
            raise
        print(f"snnlab: {words}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    enter()
