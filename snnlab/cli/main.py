"""The command line: it imports the file of the command that is typed, and runs it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from snnlab import __version__, process
from snnlab.cli import completion
from snnlab.cli.command import Call, FileGroup
from snnlab.cli.command_files import commands
from snnlab.cli.usage import help_text, overview
from snnlab.cli.words import actions_of, choose, parameters_of, read_words
from snnlab.errors import NOT_WINDOWS, ConfigError, Interrupted, ShareDone, SnnlabError, did_you_mean


def enter() -> NoReturn:
    """Run the command line as a program, with any standard streams, and exit quickly."""
    shield_workers()
    let_openmp_sleep()
    process.collect_rarely()
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
    word, *words = sys.argv[1:] or ["--help"]
    if word == "--version":
        print(__version__)
        return 0
    if word in ("-h", "--help", "help"):
        print(overview(commands()), end="")
        return 0
    if sys.platform == "win32" and word in commands():
        print(f"snnlab: {NOT_WINDOWS}", file=sys.stderr)
        return 2
    with process.raise_on_signals():
        return _exit_status(word, words, started)


def _exit_status(word: str, words: Sequence[str], started: float) -> int:
    try:
        if problem := process.working_folder_problem() or process.numba_problem():
            raise ConfigError("", problem)
        return run(word, *words, started=started)
    except ShareDone:
        return 0
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


def run(word: str, *words: str, started: float = 0.0) -> int:
    """Call a command, print its help or complete its words; return the exit status.

    Args:
        word: Its first word.
        words: The others.
        started: `time.perf_counter()` at the start.
    """
    if word in ("-sc", "--shell_completion", "--shell-completion"):
        return completion.main(words)
    known = commands()
    if word not in known:
        synonyms = {one: name for name, forms in known.items() for one in forms[0].settings.get("synonyms", ())}
        hint = f"Did you mean '{synonyms[word]}'?" if word in synonyms else did_you_mean(word, known)
        raise ConfigError("", f"there is no command '{word}'", hint, known)
    forms = known[word]
    command, rest = choose(forms, words)
    if {"-h", "--help"} & {*rest} or (
        not words and (command is None or any(one.field.required for one in parameters_of(command).positional))
    ):
        is_one = command is not None and (command.flag or len(rest) < len(words))
        print(help_text(forms, command if is_one else None), end="")
        return 0
    if command is None:
        actions, many = actions_of(forms), (parameters_of(one).many for one in forms)
        files = {f"{note.name}=NAME" for one in many if one and (note := one.note(FileGroup))}
        raise ConfigError(word, f"there is no action '{rest[0]}'", did_you_mean(rest[0], actions), [*actions, *files])
    return read_words(command, rest, forms, Call(words, started))() or 0


if __name__ == "__main__":
    enter()
