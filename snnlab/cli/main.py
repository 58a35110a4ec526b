"""The command line: it imports the file of the command that is typed, and runs it."""

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
    "train": "train and test a network that a YAML file describes",
    "evaluate": "evaluate the network of a run: accuracy by class and over time",
    "predict": "predict the class or the values of files of events",
    "stream": "answer while events arrive, from a file, a pipe or a socket",
    "import": "make a run's folder of a network in a foreign file: NIR, state dict",
    "export": "export spikes, membranes, weights, gradients of a run as arrays: .npz or .h5",
    "reproduce": "train again from the record of a run, and compare bit for bit",
    "bench": "compare methods on the same test recordings, with confidence intervals",
    "report": "write one HTML page of a run, or of a folder of runs",
    "sweep": "search for better settings",
    "runs": "list, sort, compare and delete recorded runs",
    "doctor": "find why a network is silent or does not learn, layer by layer, and propose a setting",
    "find": "propose a learning rate from a few training steps",
    "show": "show the network as tables or as a figure: shapes, costs, constants, dependence on dt",
    "data": "fetch, pack, inspect, verify and delete recordings",
    "list": "list layers, neurons, datasets, models, ... and their settings",
    "cp": "copy a packaged YAML file, to change it",
    "new": "save overrides as an experiment's YAML file",
    "validate": "check every YAML file of a folder without training",
    "docs": "list the pages of the documentation, or open one",
}
# Page of the documentation of each command, if it has another name; each `--help` ends with it.
PAGES = {
    **dict.fromkeys(("evaluate", "predict", "export", "reproduce", "report"), "runs"),
    **dict.fromkeys(("show", "list", "cp", "new", "validate"), "layers"),
    "import": "nir",
    "bench": "benchmarks",
    "bench_table": "benchmarks",
    "sweep": "search",
    "find": "doctor",
}
# Commands that print their usage when they get no arguments.
NEEDS_ARGUMENTS = ("evaluate", "predict", "stream", "export", "import", "reproduce", "report", "data", "bench_table")
# Names of commands in other frameworks.
_SYNONYMS = {"test": "evaluate", "eval": "evaluate", "fit": "train", "infer": "predict", "ls": "list", "run": "train"}
USAGE = """snnlab: train spiking neural networks on event-camera data, described in YAML

  snnlab COMMAND [...]

commands:
{commands}

  snnlab COMMAND --help   arguments and examples of a command
  snnlab --version        the version
  eval "$(snnlab -sc install=bash)"   tab completion; also install=zsh, and install=fish | source

first steps:
  snnlab train                                          the default experiment on embedded data
  snnlab train model=conv_lif data=nmnist neuron.tau_mem=10
"""


def enter() -> NoReturn:
    """Run the command line as a program, with any standard streams, and exit quickly."""
    shield_workers()
    let_openmp_sleep()
    process.open_streams()
    process.limit_warning_errors()
    process.exit_at_once(main())


def shield_workers() -> None:
    """Keep the working folder out of the module search path of Python processes that are started from here."""
    os.environ.setdefault("PYTHONSAFEPATH", "1")


def let_openmp_sleep() -> None:
    """Let waiting OpenMP threads sleep soon, so that they leave the cores to others; call it before torch is imported.

    It changes nothing where the environment sets how they wait.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "1000"


def main() -> int:
    """Run the command line; return the exit status: 0, 2 for a user's mistake, 128 plus its number after a signal."""
    started = time.perf_counter()
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS))
        print(USAGE.format(commands="\n".join(f"  {c:{width}}   {summary}" for c, summary in COMMANDS.items())), end="")
        return 0
    if name == "--version":
        print(__version__)
        return 0
    if name in ("-sc", "--shell_completion", "--shell-completion"):
        return _run_command("completion", arguments, started)
    if name not in COMMANDS:
        hint = f"Did you mean '{_SYNONYMS[name]}'?" if name in _SYNONYMS else did_you_mean(name, COMMANDS)
        error = ConfigError("", f"there is no command '{name}'", hint, COMMANDS)
        print(f"snnlab: {error}", file=sys.stderr)
        return 2
    return _run_command(name, arguments, started)


def _module(name: str) -> str:
    """Return the name of a command's file: `import` is a keyword of Python."""
    return "import_network" if name == "import" else name


def _usage(name: str) -> str | None:
    """Return a command's usage without importing its file; None for train, whose help Hydra prints."""
    source = pkgutil.get_data("snnlab.cli", f"{_module(name)}.py")
    assert source is not None
    found = re.search(r'^USAGE = """(.*?)"""', source.decode(), re.DOTALL | re.MULTILINE)
    return found and found[1]


def _run_command(name: str, arguments: list[str], started: float) -> int:
    if sys.platform == "win32":
        print(f"snnlab: {NOT_WINDOWS}", file=sys.stderr)
        return 2
    with process.raise_on_signals():
        return _exit_status(name, arguments, started)


def _exit_status(name: str, arguments: list[str], started: float) -> int:
    if problem := process.working_folder_problem() or process.numba_problem():
        print(f"snnlab: {problem}", file=sys.stderr)
        return 2
    if (name, *arguments[:1]) == ("bench", "table"):
        name, arguments = "bench_table", arguments[1:]
    try:
        wants_usage = {"-h", "--help"} & {*arguments} or (name in NEEDS_ARGUMENTS and not arguments)
        if wants_usage and (usage := _usage(name)):
            print(usage, end="" if name == "docs" else f"\nmore: snnlab docs {PAGES.get(name, name)}\n")
            return 0
        return importlib.import_module(f"snnlab.cli.{_module(name)}").main(arguments, started)
    except Interrupted as stop:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left to stop
        with suppress(OSError):  # the terminal may be gone, which is what SIGHUP reports
            print(f"snnlab: {stop}", file=sys.stderr)
        return stop.status
    except SnnlabError as error:
        from snnlab.console import say_error  # its import takes as long as a bare interpreter

        say_error(error)
        return 2
    except KeyboardInterrupt:
        print("snnlab: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        problem = process.environment_problem(error)
        if problem is None:
            raise
        print(f"snnlab: {problem}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    enter()
