"""The commands, found in the source of their files: nothing of a file is imported before its command is called."""

from __future__ import annotations

import ast
import importlib
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import snnlab.cli
from snnlab.features import folders_of_features

DECORATOR = "command"
# The beginning of a section of a docstring.
_SECTION = re.compile(r"^(Args|Examples|Raises):\n", re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """A command: the function of a file, and the text of that file."""

    names: tuple[str, ...]
    settings: Mapping[str, Any]  # the other arguments of `command`
    module: str
    source: str
    function: ast.FunctionDef

    @property
    def name(self) -> str:
        """The words that call it."""
        return self.names[0]

    @property
    def word(self) -> str:
        """The first of its words, which it may share with others."""
        return self.name.partition(" ")[0]

    @property
    def flag(self) -> str | None:
        """The option that chooses it, or None."""
        last = self.name.rpartition(" ")[2]
        return last if last.startswith("--") else None

    @property
    def place(self) -> str:
        """Its place in an error: its words without that option."""
        return self.name.removesuffix(f" {self.flag}")

    @property
    def doc(self) -> str:
        """Its docstring."""
        return ast.get_docstring(self.function) or ""

    @cached_property
    def module_doc(self) -> str:
        """The docstring of its file."""
        return ast.get_docstring(ast.parse(self.source)) or ""

    @cached_property
    def signature(self) -> Callable[..., Any]:
        """The function without its body.

        Of the rest of the file only what its annotations and defaults name has been executed.
        """
        kept = ast.parse(ast.unparse(self.function)).body[0]
        assert isinstance(kept, ast.FunctionDef)
        kept.decorator_list, kept.body = [], kept.body[:1] if self.doc else [ast.Pass()]
        whole = ast.Module([*_needed(self.source, kept), kept], [])
        space: dict[str, Any] = {"__name__": self.module}
        exec(compile(ast.fix_missing_locations(whole), self.module, "exec", dont_inherit=True), space)
        return space[kept.name]

    def load(self) -> Callable[..., int | None]:
        """Import the file, and return the function."""
        return getattr(importlib.import_module(self.module), self.function.name)


def _needed(source: str, function: ast.FunctionDef) -> list[ast.stmt]:
    """Return the statements of a file that bind the names in a signature, and those that they need, in their order."""
    waiting = ast.parse(source).body
    names = _names(function.args)
    kept: list[ast.stmt] = []
    while found := [one for one in waiting if names & _bound_by(one)]:
        kept += found
        waiting = [one for one in waiting if one not in found]
        names = names.union(*map(_names, found))
    for one in kept:
        if isinstance(one, ast.Import | ast.ImportFrom):
            one.names = [alias for alias in one.names if _bound_as(alias) in names]
    return sorted(kept, key=lambda one: one.lineno)


def _bound_by(statement: ast.stmt) -> set[str]:
    """Return the names that a statement of a file binds."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {_bound_as(alias) for alias in statement.names}
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        return _names(*(statement.targets if isinstance(statement, ast.Assign) else [statement.target]))
    return {statement.name} if isinstance(statement, ast.FunctionDef | ast.ClassDef) else set()


def _bound_as(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition(".")[0]


def _names(*nodes: ast.AST) -> set[str]:
    return {one.id for node in nodes for one in ast.walk(node) if isinstance(one, ast.Name)}


def section(doc: str, title: str = "") -> list[str]:
    """Return the lines of a section of a docstring; without a title, those before the sections."""
    head, *parts = _SECTION.split(doc)
    found = next((text for name, text in zip(parts[::2], parts[1::2], strict=True) if name == title), "")
    return textwrap.dedent(found if title else head).strip("\n").splitlines()


def commands() -> dict[str, list[Command]]:
    """Return the commands by their first words, in the order of their names."""
    found: dict[str, list[Command]] = {}
    folders = {Path(folder): "snnlab.cli" for folder in snnlab.cli.__path__} | folders_of_features("cli")
    for folder, package in folders.items():
        for path in sorted(folder.glob("*.py")):
            for one in _commands_of(path.read_text(encoding="utf-8"), f"{package}.{path.stem}"):
                found.setdefault(one.word, []).append(one)
    return dict(sorted(found.items()))


@cache  # a program that calls many commands would spend as long on reading these files as on a small training
def _commands_of(source: str, module: str) -> Sequence[Command]:
    """Return the commands of a file's text, in its order."""
    if f"@{DECORATOR}(" not in source:
        return []
    found = []
    for node in ast.parse(source).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for call in node.decorator_list:
            if isinstance(call, ast.Call) and ast.unparse(call.func) == DECORATOR:
                names = tuple(map(ast.literal_eval, call.args))
                settings = {str(one.arg): ast.literal_eval(one.value) for one in call.keywords}
                found.append(Command(names, settings, module, source, node))
    return found
