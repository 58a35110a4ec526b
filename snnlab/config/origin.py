"""Which line of a user's own YAML file a mistake stands in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from snnlab.errors import SnnlabError


@dataclass(frozen=True)
class Origin:
    """Where an experiment's settings come from.

    Attributes:
        files: The user's own files and the package of each, the last to win last; "" is the root.
        overridden: Keys that were set on the command line.
    """

    files: Sequence[tuple[Path, str]]
    overridden: Sequence[str]

    def located(self, error: SnnlabError) -> SnnlabError:
        """Return the error with the file and the line of its place, or of what holds that, where a file has it."""
        for place in (error.key, error.key.rpartition(".")[0]):
            if not place or any(_within(place, key) or _within(key, place) for key in self.overridden):
                return error
            for path, package in reversed(self.files):
                line = line_of(path, place, package)
                if line is not None:
                    return error.moved(origin=(path, line))
        return error


def line_of(path: Path, place: str, package: str) -> int | None:
    """Return the line, from 1, in which a file sets the key at `place`, or None."""
    if not _within(place, package) or place == package:
        return None
    node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    line = None
    for key in place.removeprefix(package).strip(".").split("."):
        if not isinstance(node, yaml.MappingNode):
            return None
        found = {k.value: (k.start_mark.line + 1, value) for k, value in node.value}
        if key not in found:
            return None
        line, node = found[key]
    return line


def _within(place: str, package: str) -> bool:
    return not package or place == package or place.startswith(f"{package}.")
