"""What docstrings say: the first sentence, and the Args with those of the bases."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

# `name: text` or, as torch writes it, `name (int, optional): text`.
_ENTRY = re.compile(r"\s+\*{0,2}(\w+)(?: \([^)]*\))?: ?(.*)")
# The text of an argument begins so where a base class documents it.
_REFERENCE = "See `"


def first_sentence(thing: Any) -> str:
    """Return the first sentence of a docstring, or an empty text."""
    paragraph = " ".join((inspect.getdoc(inspect.unwrap(thing)) or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.)\s", paragraph)[0]


def argument_texts(factory: Callable[..., Any]) -> dict[str, str]:
    """Return the text of each argument in the docstring's Args; for a class, with the missing ones from its bases."""
    texts: dict[str, str] = {}
    factory = inspect.unwrap(factory)
    for source in inspect.getmro(factory) if isinstance(factory, type) else (factory,):
        for name, text in argument_texts_of(source.__doc__ or "").items():
            if not text.startswith(_REFERENCE):
                texts.setdefault(name, text)
    return texts


@cache  # those of a base are asked for by each class below it
def argument_texts_of(doc: str) -> Mapping[str, str]:
    """Return the text of each argument in the Args of one docstring."""
    lines = inspect.cleandoc(doc).splitlines()
    if "Args:" not in lines:
        return {}
    texts: dict[str, str] = {}
    name, indent = "", 0
    for line in lines[lines.index("Args:") + 1 :]:
        depth = len(line) - len(line.lstrip())
        if line and not depth:
            break
        entry = _ENTRY.match(line)
        if entry and depth <= (indent or depth):
            name, indent = entry[1], depth
            texts[name] = entry[2]
        elif name:
            texts[name] = f"{texts[name]} {line.strip()}".strip()
    return texts
