"""What a run's `config.yaml` says, read without following what would ask this machine for anything."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from snnlab.printable import cleaned
from snnlab.yaml_files import require_bounded

# What a record refers to: another value in it.
_REFERENCE = re.compile(r"\$\{([A-Za-z_][\w.]*)\}")


def read_raw(path: Path) -> Any:
    """Return what a YAML file holds, its references as they stand.

    Raises:
        ConfigError: if it is larger than any experiment.
        OSError: if it cannot be read.
        yaml.YAMLError: if it is no YAML.
    """
    require_bounded(path)
    return cleaned(OmegaConf.to_container(OmegaConf.load(path), resolve=False))


def read_plain(path: Path) -> Any:
    """Return what a run's `config.yaml` holds; a reference to a value in it is that value, any other one stays.

    Raises:
        ConfigError: if it is larger than any experiment.
        OSError: if it cannot be read.
        yaml.YAMLError: if it is no YAML.
    """
    return plain(read_raw(path))


def plain(raw: Any) -> Any:
    """Return values with the references among them followed, and any other reference as it stands."""
    return _followed(raw, raw)


def _followed(node: Any, root: Any) -> Any:
    if isinstance(node, Mapping):
        return {str(key): _followed(value, root) for key, value in node.items()}
    if isinstance(node, list):
        return [_followed(value, root) for value in node]
    found = _REFERENCE.fullmatch(node) if isinstance(node, str) else None
    if found is None:
        return node
    target = root
    for key in found[1].split("."):
        target = target.get(key) if isinstance(target, Mapping) else None
    return node if target is None or isinstance(target, Mapping | list) else target
