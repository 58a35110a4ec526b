"""Plugins: user-defined modules that are imported, so that configurations can name what they register.

A plugin is code. It is imported if the user types its name, `plugins=[my_layers]`, and for the user's own recorded run
also if the run's signature shows that it is the same file as then. Where that file has changed, the run's own copy is
imported, if the signature shows that it is the same. A file alone never imports a plugin, and no other run imports one
from its folder.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.abc
import importlib.util
import logging
import os
import pkgutil
import shlex
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from snnlab.config.schema import Experiment
from snnlab.errors import ConfigError, join_names
from snnlab.files import open_regular
from snnlab.runs.run_folder import is_installed, kept_plugin

_log = logging.getLogger(__name__)

# The SHA-256 of the file of each module of a plugin when it was imported; the file may have changed since.
_IMPORTED: dict[str, str] = {}


class _Kept(NamedTuple):
    source: bytes
    path: Path
    is_package: bool


class _KeptModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of plugins that runs of the user's keep; their text was compared with the run's signature.

    Attributes:
        of_run: The modules of each run.
        active: Those of the run that is opened now.
    """

    def __init__(self) -> None:
        self.of_run: dict[Path, dict[str, _Kept]] = {}
        self.active: Mapping[str, _Kept] = {}
        self._of_package: dict[str, Mapping[str, _Kept]] = {}

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        """Return the specification of a module that is kept, of the opened run or of a package imported from one."""
        package = fullname.partition(".")[0]
        loaded = getattr(sys.modules.get(package), "__loader__", None) is self
        modules = self._of_package[package] if loaded else self.active
        if (kept := modules.get(fullname)) is None:
            return None
        spec = importlib.util.spec_from_loader(fullname, self, origin=str(kept.path), is_package=kept.is_package)
        assert spec is not None
        spec.has_location = True
        return spec

    def exec_module(self, module: ModuleType) -> None:
        """Run the text that was compared, and not the file, which may have changed since."""
        package = module.__name__.partition(".")[0]
        modules = self._of_package.setdefault(package, self.active)
        if module.__name__ == package:
            modules = self._of_package[package] = self.active
        kept = modules[module.__name__]
        exec(compile(kept.source, str(kept.path), "exec"), module.__dict__)


_KEPT = _KeptModules()


@contextmanager
def kept_plugins(run: Path | None) -> Iterator[None]:
    """Let the run's own copies of plugins be found within the context, if they are needed."""
    modules = {} if run is None else _KEPT.of_run.get(run.absolute(), {})
    before, _KEPT.active = _KEPT.active, modules
    if modules and _KEPT not in sys.meta_path:
        sys.meta_path.insert(0, _KEPT)  # it stays: a package may import its modules later
    try:
        yield
    finally:
        _KEPT.active = before


def import_plugins(experiment: Experiment) -> None:
    """Import the modules that an experiment names; the working folder is searched last."""
    if experiment.plugins and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    for name in experiment.plugins:
        with kept_plugins(experiment.of_run):
            if experiment.of_run is not None:
                _require_outside(name, experiment.of_run)
            before = set(sys.modules)
            try:
                importlib.import_module(name)
            except (Exception, SystemExit) as error:  # any error of a module is reported to the user as one line
                raise _import_error(name, f"{type(error).__name__}: {error}") from error
        for module, path in plugin_files([name]).items():
            if module not in before or module not in _IMPORTED:
                _IMPORTED[module] = _hash(path)


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
    """Return the files of the imported plugins by name, and of the loaded modules of their packages.

    Those that have no file, and modules that are installed beside a plugin's own, are left out.
    """
    packages = {name.partition(".")[0] for name in names}
    found: dict[str, Path] = {}
    for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
        file = getattr(sys.modules[name], "__file__", None)
        if file and (name in names or not is_installed(Path(file))):
            found[name] = Path(file).resolve()
    return found


def find_recorded_plugins(run: Path, names: Sequence[str], known: Mapping[str, tuple[Path, str]]) -> list[str]:
    """Return the plugins that cannot be imported as they were recorded; where their files changed, the copies will be.

    Args:
        run: A run of the user's own.
        names: The plugins that it names.
        known: File and SHA-256 of each module that was imported, by the run's signature.
    """
    missing: list[str] = []
    _KEPT.of_run[run.absolute()] = {}
    for name in names:
        modules = {module: each for module, each in known.items() if _is_of(module, name)}
        if name not in modules:
            missing.append(name)
        elif not all(_is_imported_file(module, each) for module, each in modules.items()):
            kept = {module: _read_kept(run, module, *each) for module, each in modules.items()}
            found = {module: each for module, each in kept.items() if each is not None}
            if len(found) < len(kept):
                missing.append(name)
                continue
            _KEPT.of_run[run.absolute()] |= found
            _log.info(f"{name} has changed since, or is elsewhere: the copy in {found[name].path.parent} is used")
    return missing


def _is_of(module: str, plugin: str) -> bool:
    return module == plugin or module.partition(".")[0] == plugin.partition(".")[0]


def _is_imported_file(name: str, recorded: tuple[Path, str]) -> bool:
    """Return whether a module is the same file that was imported when the run was recorded."""
    path, content = recorded
    if name in sys.modules and name in _IMPORTED:
        return _IMPORTED[name] == content
    paths = module_paths(name)
    return bool(paths) and paths[-1].resolve() == path and path.is_file() and _hash(path) == content


def _read_kept(run: Path, name: str, path: Path, content: str) -> _Kept | None:
    """Return a run's copy of a module, if it is what was imported and no other one of this name is imported."""
    if (copy := kept_plugin(run, name, path)) is None:
        return None
    try:
        with open_regular(copy) as file:
            source = file.read()
    except OSError:
        return None
    if hashlib.sha256(source).hexdigest() != content or (name in sys.modules and _IMPORTED.get(name) != content):
        return None
    return _Kept(source, copy.absolute(), copy.name == "__init__.py")


def _hash(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    if (kept := _KEPT.find_spec(name, None)) is not None:
        return _spec_paths(kept)
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
    if name in _KEPT.active:
        return
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
