"""A user's own modules, imported so that what they register can be named.

A plugin is code. It is imported where the user's own words name it, `plugins=[my_layers]`, and of a recorded run of
the user's also where its signature says that it is the file which was imported then. It is never imported because a
file says so, and for a recorded run never out of the run's own folder.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import shlex
import sys
from collections.abc import Collection, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from snnlab.config.schema import Experiment
from snnlab.errors import ConfigError, listing


def import_plugins(experiment: Experiment) -> None:
    """Import the modules that an experiment names; the working folder is searched last.

    Raises:
        ConfigError: if a module is not there, is in the folder of the run that is opened, or fails as it is imported.
    """
    if experiment.plugins and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    for name in experiment.plugins:
        if experiment.of_run is not None:
            _require_outside(name, experiment.of_run)
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # whatever a module raises is the user's to see, as one line
            raise _not_imported(name, f"{type(error).__name__}: {error}") from error


def require_typed(names: Sequence[str], typed: Collection[str]) -> None:
    """Raise if an experiment's plugins are named by a file alone.

    Args:
        typed: The settings that the user's own words set.

    Raises:
        ConfigError: with the words that name them.
    """
    if names and "plugins" not in typed:
        raise ConfigError(
            "plugins",
            f"a file asks for {listing(names)}, which is code, and a file has none imported",
            f"if it is yours, name it behind the command: {naming(names)}",
        )


def naming(names: Sequence[str]) -> str:
    """Return the override that names plugins, as it is typed."""
    return shlex.quote(f"plugins=[{','.join(names)}]")


def plugin_files(names: Sequence[str]) -> dict[str, Path]:
    """Return the file of each plugin that is imported; of one without a file there is none."""
    files = {name: getattr(sys.modules.get(name), "__file__", None) for name in names}
    return {name: Path(file).resolve() for name, file in files.items() if file}


def places_of(name: str) -> list[Path]:
    """Return the files and folders that importing a module would read, the module's own last; nothing is imported.

    Empty where there is no such module, or it has no file.
    """
    importlib.invalidate_caches()
    found: list[Path] = []
    path: Sequence[str] | None = None
    steps = name.split(".")
    for number in range(1, len(steps) + 1):
        places, path = _found(".".join(steps[:number]), path)
        if not places:
            return []
        found += places
    return [place.absolute() for place in found]


def _found(name: str, path: Sequence[str] | None) -> tuple[list[Path], Sequence[str]]:
    """Return where one module is, and where its own submodules are looked for.

    Not by `importlib.util.find_spec`, which imports the packages above the module.

    Args:
        name: The module's whole name.
        path: Where the package above it says that it is; None: it is in none.
    """
    if (module := sys.modules.get(name)) is not None:
        places = [file] if (file := getattr(module, "__file__", None)) else list(getattr(module, "__path__", ()))
        return [Path(place) for place in places], list(getattr(module, "__path__", ()))
    for finder in sys.meta_path if path is None else ():
        spec = finder.find_spec(name, None) if finder is not PathFinder and hasattr(finder, "find_spec") else None
        if spec is not None:
            return _of_spec(spec)
    portions: list[str] = []
    for entry in [*sys.path, os.getcwd()] if path is None else path:
        finder = pkgutil.get_importer(entry or os.getcwd())
        spec = finder.find_spec(name) if finder is not None else None
        if spec is not None and spec.loader is not None:
            return _of_spec(spec)
        portions += list(spec.submodule_search_locations or ()) if spec is not None else ()
    return [Path(portion) for portion in portions], portions


def _of_spec(spec: ModuleSpec) -> tuple[list[Path], Sequence[str]]:
    inner = list(spec.submodule_search_locations or ())
    places = [spec.origin] if spec.origin and spec.has_location else inner
    return [Path(place) for place in places], inner


def _require_outside(name: str, run: Path) -> None:
    places = places_of(name)
    if not places and name not in sys.modules:
        raise _not_imported(name, "there is no such module")
    runs = (run.absolute(), run.resolve())
    if inside := [place for place in places for of in runs if of in (*place.parents, *place.resolve().parents, place)]:
        raise ConfigError(
            "plugins",
            f"{name} would be imported from {inside[-1]}, in the run's own folder, which is never done",
            "put it elsewhere",
        )


def _not_imported(name: str, reason: str) -> ConfigError:
    return ConfigError("plugins", f"cannot import '{name}' ({reason})", f"searched sys.path and {os.getcwd()}")
