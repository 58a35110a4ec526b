"""References of a YAML, such as `${data.num_classes}`: limits on their size, and those to values outside of it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from snnlab.errors import ConfigError
from snnlab.printable import is_printable, printable
from snnlab.yaml_files import MAX_DEPTH, MAX_VALUES

# A reference to another key of the YAML, from its root or, with leading dots, relative to the reference.
_PLAIN = re.compile(r"\$\{\s*\.*[A-Za-z_][\w.\[\]]*\s*\}")
# Any possible key in a text with references: an argument of a resolver can be one too.
_WORD = re.compile(r"(?P<up>\.*)(?P<path>[A-Za-z_][\w.\[\]]*)")
# This number of characters counts as one value.
_CHARACTERS = 100


def has_external_reference(value: Any) -> bool:
    """Return whether a text refers to values outside of its YAML: environment, time, or another resolver."""
    return isinstance(value, str) and "${" in _PLAIN.sub("", value)


def external_references(node: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield the texts that refer to values outside of their YAML, each with its key.

    Args:
        node: Values with their references, such as `OmegaConf.to_container(cfg, resolve=False)`.
        place: The key of the node.
    """
    for inner, text in iterate_texts(node, place):
        if has_external_reference(text):
            yield inner, text


def iterate_texts(node: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text below a node with its key; list entries as `archives[0]`."""
    if isinstance(node, str):
        yield place, node
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from iterate_texts(value, f"{place}.{key}" if place else str(key))
    elif isinstance(node, list | tuple):
        for number, value in enumerate(node):
            yield from iterate_texts(value, f"{place}[{number}]")


def require_bounded(raw: Mapping[str, Any]) -> None:
    """Refuse references that would resolve to more values than any experiment has.

    Args:
        raw: Values with their references.
    """
    sizes = _Sizes(raw)
    for place, text in iterate_texts(raw):
        if "${" in text and sizes.of_text(place, text) > MAX_VALUES:
            raise ConfigError(place, f"its references resolve to more than {MAX_VALUES:,} values")


def require_printable(raw: Mapping[str, Any]) -> None:
    """Refuse names and texts with control characters, which a terminal would execute.

    Args:
        raw: Values with their references.
    """
    for place, text in iterate_texts(raw):
        if not is_printable(place) or not is_printable(text, "\n\t"):
            shown = printable(text)
            if any("\udc80" <= letter <= "\udcff" for letter in place + text):  # bytes that Python could not decode
                fix = "set LC_ALL=C.UTF-8" if sys.getfilesystemencoding() == "ascii" else ""
                raise ConfigError(printable(place), f"is no text in the terminal's encoding: '{shown[:60]}'", fix)
            raise ConfigError(printable(place), f"contains control characters: '{shown[:60]}'")


class _Sizes:
    """The number of values, or of hundreds of characters, of each key when its references are resolved."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._raw, self._computed, self._visiting = raw, dict[str, float](), set[str]()

    def of_text(self, place: str, text: str) -> float:
        size = 1 + len(text) / _CHARACTERS
        for found in _WORD.finditer(text) if "${" in text else ():
            size += self._of_place(_absolute_place(place, found["up"], found["path"]))
        return size

    def _of_place(self, place: str) -> float:
        node = _node_at(self._raw, place)
        if node is None or place in self._visiting:  # a plain word; or a cycle, which OmegaConf refuses
            return 0
        if place not in self._computed:
            if len(self._visiting) > MAX_DEPTH:
                return MAX_VALUES + 1
            self._visiting.add(place)
            self._computed[place] = min(self._of_node(place, node), 2.0 * MAX_VALUES)
            self._visiting.discard(place)
        return self._computed[place]

    def _of_node(self, place: str, node: Any) -> float:
        inner = [self.of_text(where, text) for where, text in iterate_texts(node, place)]
        return 1 + sum(inner) + _count_leaves(node)


def _count_leaves(node: Any) -> int:
    if isinstance(node, Mapping):
        return 1 + sum(map(_count_leaves, node.values()))
    return 1 + sum(map(_count_leaves, node)) if isinstance(node, list | tuple) else 1


def _absolute_place(place: str, up: str, path: str) -> str:
    if not up:
        return _with_dots(path)
    around = _with_dots(place).split(".")[: -len(up)] if up else []
    return ".".join([*around, *_with_dots(path).split(".")])


def _with_dots(path: str) -> str:
    return path.replace("[", ".").replace("]", "")


def _node_at(node: Any, place: str) -> Any:
    for key in place.split("."):
        if isinstance(node, Mapping):
            node = next((value for name, value in node.items() if str(name) == key), None)
        elif isinstance(node, list | tuple) and key.isdecimal() and int(key) < len(node):
            node = node[int(key)]
        else:
            return None
    return node
