"""What a user sees when something is wrong: one or two lines, no traceback.

    SnnlabError
    ├── ConfigError   a setting, a layer, an override, a plugin
    │   ├── UnsetError    a value that a file leaves to its user
    │   └── MissingPackageError    a package of an extra
    ├── DataError     recordings: missing, truncated, not what the YAML says
    │   └── StoreError    the packed copy of a dataset
    ├── RecordError   a run's folder
    │   ├── DamagedError   a file in it that is not what was written
    │   └── ForeignError   a file in it that another version of snnlab wrote
    ├── ProcessError  one of the processes of a training ended
    └── DivergedError     a loss that is no longer a number (snnlab.training.divergence)

    Interrupted   a signal ended the command, or stopped its training; a KeyboardInterrupt, so that scripts and sweeps
                  stop too

Everything else that escapes is a bug, and shows its traceback.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

NOT_WINDOWS = "works on Linux and macOS; on Windows it does within WSL"


class SnnlabError(Exception):
    """A mistake or an obstacle that the user can act on; its text is what the user reads."""


class ConfigError(SnnlabError, ValueError):
    """A setting that cannot be used; the text starts with its place, such as `model.layers.lif1`."""


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


class DamagedError(RecordError):
    """A file of a run or a search that is truncated, changed or gone.

    Args:
        path: The file.
        reason: What is wrong with it.
        cure: What writes it anew, or what to do.
    """

    def __init__(self, path: Path, reason: object, cure: str) -> None:
        super().__init__(f"{path}: cannot be read ({reason}); {cure}")
        self.path, self.reason, self.cure = path, str(reason), cure


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


def out_of_memory(error: BaseException) -> str | None:
    """Return in words that an error says that something is too large for this machine, or None where it does not."""
    if asked := re.search(r"allocate (\d+) bytes", str(error)):
        return f"out of memory: it would take {int(asked[1]) / 1e9:,.0f} GB"
    too_large = isinstance(error, MemoryError | OverflowError) or "overflow" in str(error).lower()
    return "out of memory: it is too large" if too_large else None


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the options that `word` begins, or the nearest one, or an empty string."""
    known = list(options)
    begun = [option for option in known if len(word) > 2 and option.startswith(word)]
    near = begun if 1 < len(begun) <= 6 else difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return " Did you mean {}?".format(" or ".join(map(repr, near))) if near else ""


def listing(names: Iterable[str]) -> str:
    """Return the names in order, joined by commas, for `one of a, b, c`."""
    return ", ".join(names)
