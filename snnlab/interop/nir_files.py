"""The package `nir`, an optional one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from snnlab.errors import ConfigError, MissingPackageError
from snnlab.files import write_atomically


def nir_package() -> Any:
    """Return the package `nir`.

    Raises:
        MissingPackageError: if it is not installed.
    """
    try:
        import nir
    except ImportError as error:
        raise MissingPackageError("nir", "is not installed", "pip install 'snnlab[nir]'") from error
    return nir


def write_graph(path: Path, graph: Any) -> None:
    """Write a graph into a file, whole or not at all.

    Raises:
        ConfigError: if it cannot be written.
    """
    try:
        write_atomically(path, lambda file: nir_package().write(file, graph))
    except OSError as error:
        raise ConfigError("export", f"{path} cannot be written ({error.strerror or error})") from error
