"""Limits for untrusted YAML: the size of its data is checked before it is built."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

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


# Ten times as fast as the loader in Python, and there are many files.
_FastLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _YAMLLoader(_FastLoader):
    """Reads YAML as OmegaConf does: 1e-3 is a number, a date is a text, and no key stands twice in a mapping."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, form) for tag, form in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in _FastLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping; a second value of a key is an error, not the one that counts."""
        keys = [key.value for key, _ in node.value if key.tag == yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG]
        if len({*keys}) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise yaml.constructor.ConstructorError(None, None, f"found duplicate key {twice}", node.start_mark)
        return super().construct_mapping(node, deep)


_YAMLLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file; references in it are texts.

    Raises:
        ConfigError: if it is larger than any experiment.
        OSError: if it cannot be read.
        yaml.YAMLError: if it is no YAML.
    """
    if problem := too_large(path, _YAMLLoader):
        raise ConfigError(path, problem)
    return printable_data(yaml.load(read_text(path), Loader=_YAMLLoader))


def require_bounded(path: Path) -> None:
    """Check that a YAML file stays within the limits of this module.

    Raises:
        ConfigError: with the file and the limit that it exceeds.
        OSError: if it cannot be read.
    """
    if problem := too_large(path):
        raise ConfigError(path, problem)


def too_large(path: Path, loader: Any = yaml.SafeLoader) -> str | None:
    """Return the limit that a YAML file exceeds (bytes, nesting, digits, values after anchors), or None.

    A file that is not YAML is left to its reader.

    Args:
        path: The file.
        loader: The loader of that reader, since two parsers may read the same file differently.

    Raises:
        OSError: if it cannot be read.
    """
    with open_regular(path) as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        return f"is larger than {MAX_BYTES:,} bytes, the limit for a YAML file"
    try:
        return _exceeded_limit(content.decode("utf-8"), loader)
    except (UnicodeDecodeError, yaml.YAMLError):
        return None


def _exceeded_limit(text: str, loader: Any, *, parse_string: bool = True) -> str | None:
    """Return the limit that a YAML text exceeds, or None.

    Args:
        text: YAML.
        loader: The loader of its reader.
        parse_string: Whether a document that is only a string is parsed as YAML again, as OmegaConf does.
    """
    sizes: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = []
    total = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
            opened.append((event.anchor, total))
            total += 1
            if len(opened) > MAX_DEPTH:
                return f"is nested more than {MAX_DEPTH} deep"
        elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
            anchor, before = opened.pop()
            if anchor is not None:
                sizes[anchor] = total - before
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                return f"*{event.anchor} is inside or before its own anchor"
            total += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
            if not opened and parse_string:
                return _exceeded_limit(event.value, loader, parse_string=False)
            number = event.implicit[0] or str(event.tag).endswith((":int", ":float"))
            if number and len(event.value) > MAX_DIGITS and _NUMBER.match(event.value):
                return f"has a number of {len(event.value):,} digits"
        if total > MAX_VALUES:
            return f"has more than {MAX_VALUES:,} values"
    return None
