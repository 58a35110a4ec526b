"""Untrusted YAML: its size is checked while it is parsed, before data is built, and the line of each key is kept."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from yaml.constructor import ConstructorError

from snnlab.errors import ConfigError
from snnlab.files import open_regular, read_text
from snnlab.printable import printable_data

# Limits far above any experiment, sweep, suite or run.
MAX_BYTES = 4_000_000
MAX_VALUES = 100_000
MAX_DEPTH = 100
# Digits of one number: the time to read or print it is quadratic in them.
MAX_DIGITS = 100
_NUMBER = re.compile(r"[-+.]?[0-9]")


class ContentError(ValueError):
    """A YAML text exceeds a limit of this module, or a value does not fit its tag; `line` is its line, from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


class Parsed(NamedTuple):
    """A YAML text: its data, and the line, from 1, of each key, such as `model.layers.lif1`."""

    content: Any
    lines: Mapping[str, int]


def parse(text: str) -> Parsed:
    """Parse a YAML text once, as OmegaConf does: `1e3` is a number, dates are texts, a key cannot be repeated.

    Raises:
        ContentError: if it exceeds a limit, or a value does not fit its tag.
        yaml.YAMLError: if it is not valid.
    """
    loader = _LimitedLoader(text)
    try:
        node = loader.get_single_node()
        # The lines come last: constructing a mapping merges those of `<<` into its node.
        return Parsed(None if node is None else loader.construct_document(node), dict(_lines(node)))
    finally:
        loader.dispose()


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file that snnlab has written; references in it are texts.

    Raises:
        OSError: if it cannot be read.
        yaml.YAMLError: if it is no YAML.
    """
    if problem := too_large(path):
        raise ConfigError(path, problem)
    return printable_data(yaml.load(read_text(path), Loader=_FastLoader))


def yaml_problem(error: yaml.YAMLError) -> str:
    """Return what is not valid in a YAML text."""
    if isinstance(error, yaml.reader.ReaderError):
        return f"it contains the character #x{error.character:02x} at position {error.position}"
    return getattr(error, "problem", None) or " ".join(str(error).split())


def too_large(path: Path) -> str | None:
    """Return the limit that a YAML file exceeds (bytes, nesting, digits, values after anchors), or None.

    A file that is not YAML is left to its reader.

    Raises:
        OSError: if it cannot be read.
    """
    with open_regular(path) as file:
        content = file.read(MAX_BYTES + 1)
    if problem := bytes_problem(content):
        return problem
    limits = _Limits()
    try:
        for event in yaml.parse(content.decode("utf-8"), Loader=_FastLoader):
            limits.count(event)
    except ContentError as error:
        return str(error)
    except (UnicodeDecodeError, yaml.YAMLError):
        pass
    return None


def bytes_problem(content: bytes) -> str | None:
    """Return the message about a file that is too large to be parsed, or None."""
    return f"is larger than {MAX_BYTES:,} bytes, the limit for a YAML file" if len(content) > MAX_BYTES else None


class _Limits:
    """Counts the values of a document as its events are parsed."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._opened: list[tuple[str | None, int]] = []
        self._total = 0

    def count(self, event: yaml.Event) -> None:
        """Count the value that an event begins; an alias counts as the values that it stands for."""
        if isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
            self._opened.append((event.anchor, self._total))
            self._total += 1
            if len(self._opened) > MAX_DEPTH:
                raise _limit_error(event, f"is nested more than {MAX_DEPTH} deep")
        elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
            anchor, before = self._opened.pop()
            if anchor is not None:
                self._sizes[anchor] = self._total - before
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._sizes:
                raise _limit_error(event, f"*{event.anchor} is inside or before its own anchor")
            self._total += self._sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            self._count_scalar(event)
        if self._total > MAX_VALUES:
            raise _limit_error(event, f"has more than {MAX_VALUES:,} values")

    def _count_scalar(self, event: yaml.ScalarEvent) -> None:
        self._total += 1
        if event.anchor is not None:
            self._sizes[event.anchor] = 1
        number = event.implicit[0] or str(event.tag).endswith((":int", ":float"))
        if number and len(event.value) > MAX_DIGITS and _NUMBER.match(event.value):
            raise _limit_error(event, f"has a number of {len(event.value):,} digits")


def _limit_error(event: yaml.Event, message: str) -> ContentError:
    return ContentError(message, event.start_mark.line + 1)


_FLOAT = re.compile(
    r"""^(?:
     [-+]?[0-9]+(?:_[0-9]+)*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+)
    |\.[0-9]+(?:_[0-9]+)*(?:[eE][-+][0-9]+)?
    |[-+]?[0-9]+(?:_[0-9]+)*(?::[0-5]?[0-9])+\.[0-9_]*
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.X,
)


def _with_rules(base: Any) -> Any:
    """Return a loader with OmegaConf's rules for numbers, dates and repeated keys."""

    class RuledLoader(base):
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[str] = set()
            for key in (key for key, _ in node.value if key.tag == self.DEFAULT_SCALAR_TAG):
                if key.value in seen:
                    message = f"found duplicate key {key.value}"
                    raise ConstructorError("while constructing a mapping", node.start_mark, message, key.start_mark)
                seen.add(key.value)
            return super().construct_mapping(node, deep=deep)

    RuledLoader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
    RuledLoader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in RuledLoader.yaml_implicit_resolvers.items()
    }
    return RuledLoader


# In C it is ten times as fast, and there are many runs; its messages are less exact, and it cannot count as it parses.
_FastLoader = _with_rules(getattr(yaml, "CSafeLoader", yaml.SafeLoader))


class _LimitedLoader(_with_rules(yaml.SafeLoader)):
    """A loader that keeps within the limits."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._limits = _Limits()

    def get_event(self) -> Any:
        event = super().get_event()
        self._limits.count(event)
        return event

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except ContentError:
            raise
        except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:  # such as !!int abc
            raise ContentError(" ".join(str(error).split()), node.start_mark.line + 1) from error


def _lines(node: Any, place: str = "") -> Iterator[tuple[str, int]]:
    """Yield the keys below a constructed node with their lines; those of a merged mapping (`<<`) come first."""
    pairs: list[tuple[str, int, Any]] = []
    if isinstance(node, yaml.SequenceNode):
        pairs = [(str(number), entry.start_mark.line, entry) for number, entry in enumerate(node.value)]
    elif isinstance(node, yaml.MappingNode):
        pairs = [(str(key.value), key.start_mark.line, value) for key, value in node.value]
    for key, line, value in pairs:
        inner = f"{place}.{key}" if place else key
        yield inner, line + 1
        yield from _lines(value, inner)
