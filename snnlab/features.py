"""The features: folders of snnlab that the rest does not know, and that can be taken out.

A folder is a feature if it has a file `feature.py`. Its commands are the files of its folder `cli`. What the rest calls
of it stands in the mapping `PROVIDES` of that file, of names that the rest asks for to `MODULE:NAME`: it is read from
the source, so that nothing is imported before it is called.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from snnlab.errors import ConfigError

_PACKAGE = Path(__file__).parent
_FILE, _PROVIDES = "feature.py", "PROVIDES"


@cache
def features() -> tuple[str, ...]:
    """Return the names of the folders that are features."""
    return tuple(sorted(path.parent.name for path in _PACKAGE.glob(f"*/{_FILE}")))


def command_folders() -> dict[str, Path]:
    """Return the folders of features' commands, by their modules."""
    return {f"snnlab.{name}.cli": _PACKAGE / name / "cli" for name in features()}


@cache
def provides() -> Mapping[str, str]:
    """Return what the features provide, as `MODULE:NAME`, by the names that the rest asks for."""
    found: dict[str, str] = {}
    for name in features():
        for node in ast.parse((_PACKAGE / name / _FILE).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == _PROVIDES:
                found |= ast.literal_eval(node.value)
    return found


def provided(what: str) -> Any:
    """Return what a feature provides under a name; raise a ConfigError if none does."""
    if what not in provides():
        raise ConfigError("", f"no part of this snnlab provides {what}", "install a whole snnlab")
    module, _, name = provides()[what].partition(":")
    return getattr(import_module(module), name)
