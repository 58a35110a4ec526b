"""The front door: the name of a command leads to its function; heavy imports wait behind it."""

from __future__ import annotations

import importlib
import sys
import time

COMMANDS = {
    "train": "train a network as a YAML describes it, and test it",
}

USAGE = """snnlab: train spiking neural networks on event-camera data, described in YAML

  snnlab COMMAND [...]

commands:
{commands}

  snnlab COMMAND --help   what a command takes
  snnlab --version        the version

first steps:
  snnlab train                                          the embedded default
  snnlab train model=conv_lif data=nmnist neuron.tau_mem=10
"""


def main() -> int:
    """Run the command line; return the exit status: 0, or 2 for a user's mistake."""
    started = time.perf_counter()
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS))
        print(USAGE.format(commands="\n".join(f"  {c:{width}}   {words}" for c, words in COMMANDS.items())), end="")
        return 0
    if name == "--version":
        from snnlab import __version__

        print(__version__)
        return 0
    if name not in COMMANDS:
        from snnlab.errors import did_you_mean

        print(f"snnlab: there is no command '{name}'.{did_you_mean(name, COMMANDS)}", file=sys.stderr)
        print(f"  commands: {', '.join(COMMANDS)}; see snnlab --help", file=sys.stderr)
        return 2
    return _run(name, arguments, started)


def _run(name: str, arguments: list[str], started: float) -> int:
    from snnlab.errors import SnnlabError

    command = importlib.import_module(f"snnlab.commands.{name}")
    try:
        return command.main(arguments, started)
    except SnnlabError as error:
        from snnlab.console import say_error

        say_error(error)
        return 2
    except KeyboardInterrupt:
        print("snnlab: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
