"""Errors that a user reads in one or two lines, without a traceback.

    SnnlabError
    ├── ConfigError   a setting, a layer, an override, a plugin
    │   ├── UnknownSettingError    a setting that does not exist
    │   ├── UnsetError    a value that the user has to set
    │   └── MissingPackageError    a package of an extra is not installed
    ├── DataError     recordings: missing, truncated, or not as the YAML says
    │   └── StoreError    the packed copy of a dataset
    ├── RunFolderError   a run's folder
    │   ├── DamagedError   a file in it was changed or truncated
    │   └── VersionError   a file in it is of another version of snnlab
    ├── ProcessError  one of the processes of a training ended
    └── DivergedError     a loss, a gradient or a weight that is NaN or infinite

    Interrupted   a signal ended the command or its training; a KeyboardInterrupt, so that scripts and sweeps stop too
    ShareDone     a process of a distributed training ends; a SystemExit

Any other exception is a bug, and shows its traceback.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

# The place of an experiment's top-level settings, which have no prefix.
ROOT = "config"

_DID_YOU_MEAN = "Did you mean"

NOT_WINDOWS = "works on Linux and macOS; on Windows it does within WSL"


class SnnlabError(Exception):
    """An error that the user can fix. Its text is `place: message; hint`, then a line with the allowed values.

    Args:
        place: A key of an experiment such as `model.layers.lif1`, a file, or a command; empty if there is none.
        message: The problem, without the place.
        hint: How to fix it.
        allowed: The values to choose from.

    Attributes:
        origin: The user's file and the line in it, from 1, that hold the place; None if unknown.
    """

    origin: tuple[Path, int] | None = None

    def __init__(self, place: object, message: object, hint: str = "", allowed: Iterable[str] = ()) -> None:
        self.place, self.message, self.hint, self.allowed = str(place), str(message), hint.strip(), tuple(allowed)
        super().__init__(self.place, self.message, self.hint, self.allowed)

    def __str__(self) -> str:
        """Return one line, and a second one if there are allowed values."""
        where = "".join(f"{part}: " for part in (self.where, self.place) if part)
        hint = f"{'. ' if self.hint.startswith(_DID_YOU_MEAN) else '; '}{self.hint}" if self.hint else ""
        return f"{where}{self.message}{hint}" + (f"\n  there are: {join_names(self.allowed)}" if self.allowed else "")

    @property
    def where(self) -> str:
        """The file and the line of the place, or an empty text."""
        return "" if self.origin is None else f"{self.origin[0]}:{self.origin[1]}"

    @property
    def key(self) -> str:
        """The key of the setting, which may be below the place."""
        return self.place

    def with_fields(self, **changes: Any) -> Self:
        """Return a copy of the error with other fields."""
        changed = copy.copy(self)
        changed.__dict__.update(changes)
        return changed

    def within(self, place: str) -> Self:
        """Return a copy whose place is below another place."""
        return self.with_fields(place=f"{place}.{self.place}" if self.place else place)


class ConfigError(SnnlabError, ValueError):
    """An invalid setting; its place is a key, such as `model.layers.lif1`, or the typed argument."""


class UnknownSettingError(ConfigError):
    """A setting that does not exist.

    Args:
        place: Key of the node that has settings.
        setting: The unknown name.
        hint: The settings that exist.
    """

    def __init__(self, place: object, setting: str, hint: str = "", allowed: Iterable[str] = ()) -> None:
        super().__init__(place, f"unknown setting '{setting}'", hint, allowed)
        self.args = (str(place), setting, hint, self.allowed)
        self.setting = setting

    @property
    def key(self) -> str:
        """The key of the unknown setting."""
        return child_key(self.place, self.setting)


class UnsetError(ConfigError):
    """Settings with the value `???`, which the user has to set."""


class MissingPackageError(ConfigError):
    """A valid setting that needs a package of an extra that is not installed."""


class DataError(SnnlabError, ValueError):
    """Recordings that are missing, damaged, or not as their YAML says."""


class StoreError(DataError):
    """A packed store that is damaged, truncated, or of another format."""


class RunFolderError(SnnlabError):
    """A run's folder that cannot be written or read."""

    def of(self, folder: Path) -> Self:
        """Return a copy whose place is relative to the run's folder, which the caller names."""
        if self.place == str(folder):
            return self.with_fields(place="")
        return self.with_fields(place=self.place.removeprefix(f"{folder}/"))


class DamagedError(RunFolderError):
    """A file of a run or a search that is truncated, changed or missing.

    Args:
        path: The file.
        reason: The problem.
        hint: How to write it again, or what else to do.
    """

    def __init__(self, path: Path, reason: object, hint: str) -> None:
        super().__init__(path, f"cannot be read ({reason})", hint)
        self.args = (path, str(reason), hint)
        self.path, self.reason = path, str(reason)


class VersionError(RunFolderError):
    """A file of a run that another version of snnlab wrote."""


class ProcessError(SnnlabError):
    """One process of a distributed training has ended, and the others with it."""


class ShareDone(SystemExit):
    """A process of a distributed training has done its share: it ends, unless it has one in the next run of a grid."""


class DivergedError(SnnlabError):
    """A loss, a gradient or a weight is infinite or not a number."""


class Interrupted(KeyboardInterrupt):
    """A signal ended a command; a training that had begun has written its run folder.

    Args:
        message: What is saved, and where.
        signum: Number of the signal.
    """

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum
        self.status = 128 + signum  # the exit status, by the convention of shells


@contextmanager
def error_context(place: str) -> Iterator[None]:
    """Put the place of a ConfigError below `place`, and turn any other ValueError into a ConfigError of that place."""
    try:
        yield
    except ConfigError as error:
        raise error.within(place) from error
    except SnnlabError:
        raise
    except ValueError as error:
        raise ConfigError(place, error) from error


def one_line(error: BaseException) -> str:
    """Return the first line of an error's text, or the name of its type if the text is empty."""
    text = str(error.with_fields(allowed=()) if isinstance(error, SnnlabError) else error)
    return next(iter(text.splitlines()), type(error).__name__)


def out_of_memory(error: BaseException) -> str | None:
    """Return a message if the cause of an error is that a tensor is too large for this machine, else None."""
    if requested := re.search(r"allocate (\d+) bytes", str(error)):
        return f"out of memory: it would take {int(requested[1]) / 1e9:,.0f} GB"
    too_large = isinstance(error, MemoryError | OverflowError) or "overflow" in str(error).lower()
    return "out of memory: it is too large" if too_large else None


def child_key(place: str, name: str) -> str:
    """Return the key of a setting below another key."""
    return f"{place}.{name}" if place not in ("", ROOT) else name


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the options with the prefix `word`, or the nearest one, or an empty string."""
    known = list(options)
    completions = [option for option in known if len(word) > 2 and option.startswith(word)]
    near = completions if 1 < len(completions) <= 6 else difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" {_DID_YOU_MEAN} {' or '.join(map(repr, near))}?" if near else ""


def join_names(names: Iterable[str]) -> str:
    """Return the names joined by commas, in their order: `a, b, c`."""
    return ", ".join(names)
