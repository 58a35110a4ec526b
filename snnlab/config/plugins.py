"""Plugins: user-defined modules that are imported, so that configurations can name what they register.

A plugin is code. It is imported if the user types its name, `plugins=[my_layers]`, and for the user's own recorded run
also if the run's signature shows that it is the same file as then. A file alone never imports a plugin, and a recorded
run never imports one from its own folder.
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
from snnlab.errors import ConfigError, join_names


def import_plugins(experiment: Experiment) -> None:
    """Import the modules that an experiment names; the working folder is searched last."""
    if experiment.plugins and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    for name in experiment.plugins:
        if experiment.of_run is not None:
            _require_outside(name, experiment.of_run)
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # any error of a module is reported to the user as one line
            raise _import_error(name, f"{type(error).__name__}: {error}") from error


def require_typed_plugins(names: Sequence[str], typed: Collection[str]) -> None:
    """Refuse an experiment whose plugins are named by a file alone.

    Args:
        typed: The settings that the user typed.
    """
    if names and "plugins" not in typed:
        raise ConfigError(
            "plugins",
            f"a file names {join_names(names)}, which is code, and a file alone cannot import code",
            f"if you trust it, add it to the command: {plugins_override(names)}",
        )


def plugins_override(names: Sequence[str]) -> str:
    """Return the override that names plugins, quoted for the shell."""
    return shlex.quote(f"plugins=[{','.join(names)}]")


def plugin_files(names: Sequence[str]) -> dict[str, Path]:
    """Return the files of the imported plugins by name, without those that have no file."""
    files = {name: getattr(sys.modules.get(name), "__file__", None) for name in names}
    return {name: Path(file).resolve() for name, file in files.items() if file}


def module_paths(name: str) -> list[Path]:
    """Return the files and folders that the import of a module reads, the module's own last; nothing is imported.

    Empty if there is no such module, or it has no file.
    """
    importlib.invalidate_caches()
    found: list[Path] = []
    path: Sequence[str] | None = None
    steps = name.split(".")
    if not all(step.isidentifier() for step in steps):
        return []
    for number in range(1, len(steps) + 1):
        files, path = _find_module(".".join(steps[:number]), path)
        if not files:
            return []
        found += files
    return [file.absolute() for file in found]


def _find_module(name: str, path: Sequence[str] | None) -> tuple[list[Path], Sequence[str]]:
    """Return the files of one module, and the search path of its submodules.

    `importlib.util.find_spec` is not used, because it imports the parent packages.

    Args:
        name: The module's full name.
        path: The search path of its parent package; None: it has no parent.
    """
    if (module := sys.modules.get(name)) is not None:
        files = [file] if (file := getattr(module, "__file__", None)) else list(getattr(module, "__path__", ()))
        return [Path(item) for item in files], list(getattr(module, "__path__", ()))
    for finder in sys.meta_path if path is None else ():
        spec = finder.find_spec(name, None) if finder is not PathFinder and hasattr(finder, "find_spec") else None
        if spec is not None:
            return _spec_paths(spec)
    portions: list[str] = []
    for entry in [*sys.path, os.getcwd()] if path is None else path:
        finder = pkgutil.get_importer(entry or os.getcwd())
        spec = finder.find_spec(name) if finder is not None else None
        if spec is not None and spec.loader is not None:
            return _spec_paths(spec)
        portions += list(spec.submodule_search_locations or ()) if spec is not None else ()
    return [Path(portion) for portion in portions], portions


def _spec_paths(spec: ModuleSpec) -> tuple[list[Path], Sequence[str]]:
    """Return a module's files, and the search path of its submodules."""
    inner = list(spec.submodule_search_locations or ())
    files = [spec.origin] if spec.origin and spec.has_location else inner
    return [Path(file) for file in files], inner


def _require_outside(name: str, run: Path) -> None:
    paths = module_paths(name)
    if not paths and name not in sys.modules:
        raise _import_error(name, "there is no such module")
    runs = (run.absolute(), run.resolve())
    if inside := [path for path in paths for of in runs if of in (*path.parents, *path.resolve().parents, path)]:
        raise ConfigError(
            "plugins",
            f"{name} would be imported from {inside[-1]}, in the run's own folder, which is not allowed",
            "move it elsewhere",
        )


def _import_error(name: str, reason: str) -> ConfigError:
    return ConfigError("plugins", f"cannot import '{name}' ({reason})", f"searched sys.path and {os.getcwd()}")
