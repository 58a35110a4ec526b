"""A user's own modules, imported so that what they register can be named."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from snnlab.errors import ConfigError


def import_plugins(names: Sequence[str]) -> None:
    """Import each module; the working folder is searched last.

    Raises:
        ConfigError: if a module is not there, or fails while it is imported.
    """
    if names and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    for name in names:
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # whatever a module raises is the user's to see, as one line
            reason = f"{type(error).__name__}: {error}"
            raise ConfigError(
                f"plugins: cannot import '{name}' ({reason}); searched sys.path and {os.getcwd()}"
            ) from error
