"""What a user sees when something is wrong: one or two lines, no traceback.

    SnnlabError
    ├── ConfigError   a setting, a layer, an override, a plugin
    │   ├── UnknownSettingError    one that is not there
    │   ├── UnsetError    a value that a file leaves to its user
    │   └── MissingPackageError    a package of an extra
    ├── DataError     recordings: missing, truncated, not what the YAML says
    │   └── StoreError    the packed copy of a dataset
    ├── RecordError   a run's folder
    │   ├── DamagedError   a file in it that is not what was written
    │   └── ForeignError   a file in it that another version of snnlab wrote
    ├── ProcessError  one of the processes of a training ended
    └── DivergedError     a loss that is no longer a number (snnlab.training.health)

    Interrupted   a signal ended the command, or stopped its training; a KeyboardInterrupt, so that scripts and sweeps
                  stop too

Everything else that escapes is a bug, and shows its traceback.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

# The place of an experiment's own settings, which need no prefix.
ROOT = "config"

_MEANT = "Did you mean"

NOT_WINDOWS = "works on Linux and macOS; on Windows it does within WSL"


class SnnlabError(Exception):
    """A mistake or an obstacle that the user can act on; what the user reads is made of its parts, see `__str__`.

    Args:
        place: Where it is: a key of an experiment such as `model.layers.lif1`, a file, a command; empty where none is.
        message: What is wrong, without the place.
        hint: What to do about it.
        allowed: What there is to choose from.

    Attributes:
        origin: The user's own file and its line, from 1, in which the place stands; None where it is not known.
    """

    origin: tuple[Path, int] | None = None

    def __init__(self, place: object, message: object, hint: str = "", allowed: Iterable[str] = ()) -> None:
        self.place, self.message, self.hint, self.allowed = str(place), str(message), hint.strip(), tuple(allowed)
        super().__init__(self.place, self.message, self.hint, self.allowed)

    def __str__(self) -> str:
        """Return one line, and a second one where there is something to choose from."""
        where = "".join(f"{part}: " for part in (self.where, self.place) if part)
        hint = f"{'. ' if self.hint.startswith(_MEANT) else '; '}{self.hint}" if self.hint else ""
        return f"{where}{self.message}{hint}" + (f"\n  there are: {listing(self.allowed)}" if self.allowed else "")

    @property
    def where(self) -> str:
        """The file and the line of the place, or nothing."""
        return "" if self.origin is None else f"{self.origin[0]}:{self.origin[1]}"

    @property
    def key(self) -> str:
        """The setting that is meant, which may stand within the place."""
        return self.place

    def moved(self, **changes: Any) -> Self:
        """Return the error with other fields; one of another place says the same of that."""
        made = copy.copy(self)
        made.__dict__.update(changes)
        return made

    def within(self, place: str) -> Self:
        """Return the error of a part, with its place in the whole."""
        return self.moved(place=f"{place}.{self.place}" if self.place else place)


class ConfigError(SnnlabError, ValueError):
    """A setting that cannot be used; its place is a key, such as `model.layers.lif1`, or what was typed."""


class UnknownSettingError(ConfigError):
    """A setting that is not there.

    Args:
        place: What takes settings.
        setting: The one that it does not take.
        hint: What it takes.
        allowed: What there is to choose from.
    """

    def __init__(self, place: object, setting: str, hint: str = "", allowed: Iterable[str] = ()) -> None:
        super().__init__(place, f"unknown setting '{setting}'", hint, allowed)
        self.args = (str(place), setting, hint, self.allowed)
        self.setting = setting

    @property
    def key(self) -> str:
        """The setting that is meant."""
        return inside(self.place, self.setting)


class UnsetError(ConfigError):
    """Settings that a file leaves to its user, `???`, and that have no value yet."""


class MissingPackageError(ConfigError):
    """A setting that needs a package of an extra which is not installed; nothing is wrong with the setting."""


class DataError(SnnlabError, ValueError):
    """Recordings that are missing, damaged, or not what their YAML says."""


class StoreError(DataError):
    """A packed store that is damaged, truncated or foreign."""


class RecordError(SnnlabError):
    """A run's folder that cannot be written or read."""

    def of(self, folder: Path) -> Self:
        """Return the error of a run whose folder is named already: its place is a file in there, or nothing."""
        if self.place == str(folder):
            return self.moved(place="")
        return self.moved(place=self.place.removeprefix(f"{folder}/"))


class DamagedError(RecordError):
    """A file of a run or a search that is truncated, changed or gone.

    Args:
        path: The file.
        reason: What is wrong with it.
        cure: What writes it anew, or what to do.
    """

    def __init__(self, path: Path, reason: object, cure: str) -> None:
        super().__init__(path, f"cannot be read ({reason})", cure)
        self.args = (path, str(reason), cure)
        self.path, self.reason = path, str(reason)


class ForeignError(RecordError):
    """A file of a run that another version of snnlab wrote."""


class ProcessError(SnnlabError):
    """One of the processes that train together has ended, and the others with it."""


class Interrupted(KeyboardInterrupt):
    """A command was ended from outside; of a training that had begun the record is written.

    Args:
        message: What is kept, and where.
        signum: The signal that stopped it.
    """

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum
        self.status = 128 + signum  # the exit status, as shells have it


@contextmanager
def located(place: str) -> Iterator[None]:
    """Give a ConfigError, whose place is a setting, its place in the whole, and a ValueError of others that place."""
    try:
        yield
    except ConfigError as error:
        raise error.within(place) from error
    except SnnlabError:
        raise
    except ValueError as error:
        raise ConfigError(place, error) from error


def one_line(error: BaseException) -> str:
    """Return what an error says in a line, without what there is to choose from; its type where it says nothing."""
    said = str(error.moved(allowed=()) if isinstance(error, SnnlabError) else error)
    return next(iter(said.splitlines()), type(error).__name__)


def out_of_memory(error: BaseException) -> str | None:
    """Return in words that an error says that something is too large for this machine, or None where it does not."""
    if asked := re.search(r"allocate (\d+) bytes", str(error)):
        return f"out of memory: it would take {int(asked[1]) / 1e9:,.0f} GB"
    too_large = isinstance(error, MemoryError | OverflowError) or "overflow" in str(error).lower()
    return "out of memory: it is too large" if too_large else None


def inside(place: str, name: str) -> str:
    """Return the place of a setting within another one."""
    return f"{place}.{name}" if place not in ("", ROOT) else name


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the options that `word` begins, or the nearest one, or an empty string."""
    known = list(options)
    begun = [option for option in known if len(word) > 2 and option.startswith(word)]
    near = begun if 1 < len(begun) <= 6 else difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" {_MEANT} {' or '.join(map(repr, near))}?" if near else ""


def listing(names: Iterable[str]) -> str:
    """Return the names in order, joined by commas, for `one of a, b, c`."""
    return ", ".join(names)
