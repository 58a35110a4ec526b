"""The words of `docs/glossary.md`: what this code called things before stands in no name and no sentence of it."""

from __future__ import annotations

import ast
import keyword
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Words that no name may have as a part, split at underscores and capitals.
NOT_IN_NAMES = frozenset(
    [
        "arm",
        "arms",
        "bell",
        "bells",
        "book",
        "books",
        "clause",
        "clauses",
        "crew",
        "cure",
        "cures",
        "exam",
        "heard",
        "hear",
        "hollow",
        "ledger",
        "lent",
        "mates",
        "meeting",
        "patient",
        "patients",
        "sheet",
        "sheets",
        "spool",
        "swift",
        "told",
        "twin",
        "twins",
        "vitals",
        "waking",
        "wakes",
    ]
)
# Words that are no name on their own; as a part of a name they may have their plain meaning.
NO_NAMES = frozenset(
    [
        "Case",
        "Given",
        "Rule",
        "Seen",
        "alike",
        "labelled",
        "left_out",
        "listing",
        "told",
        "watched",
    ]
)
# Words that no sentence has either.
NOT_IN_SENTENCES = frozenset(["bell", "lent", "crew", "foretells", "patient", "somebody", "twin", "vitals", "whoever"])
_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
FOLDERS = ("snnlab", "tests", "scripts")


def python_files() -> Iterator[Path]:
    for folder in FOLDERS:
        yield from sorted((ROOT / folder).rglob("*.py"))


def names(path: Path) -> set[str]:
    with tokenize.open(path) as file:
        found = {token.string for token in tokenize.generate_tokens(file.readline) if token.type == tokenize.NAME}
    return {name for name in found if not keyword.iskeyword(name)}


def bound_names(path: Path) -> set[str]:
    """Return the names of classes, functions, parameters, variables and attributes that a file defines."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.id if isinstance(node, ast.Name) else node.attr)
    return found


def parts(name: str) -> set[str]:
    return {part.lower() for part in _PARTS.findall(name)}


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_name_has_a_word_of_the_private_language(folder: str) -> None:
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in python_files()
        if path.is_relative_to(ROOT / folder)
        for name in names(path)
        if parts(name) & NOT_IN_NAMES
    }
    assert found == set()


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_name_is_one_of_the_older_names(folder: str) -> None:
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in python_files()
        if path.is_relative_to(ROOT / folder)
        for name in bound_names(path) & NO_NAMES
    }
    assert found == set()


def test_no_two_classes_have_the_same_name() -> None:
    files_of = defaultdict(list)
    for path in sorted((ROOT / "snnlab").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                files_of[node.name].append(str(path.relative_to(ROOT)))
    assert {name: files for name, files in files_of.items() if len(files) > 1} == {}


def test_no_file_is_named_with_one() -> None:
    assert [path for path in python_files() if parts(path.stem) & NOT_IN_NAMES] == []


def test_no_sentence_has_one() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    pages.remove(ROOT / "docs" / "glossary.md")  # which lists them
    files = [*python_files(), *(ROOT / "configs").rglob("*.yaml"), *pages]
    found = {
        f"{path.relative_to(ROOT)}: {word}"
        for path in files
        if path != Path(__file__)
        for word in NOT_IN_SENTENCES & set(re.findall(r"[a-z]+", path.read_text(encoding="utf-8").lower()))
    }
    assert found == set()


def test_the_glossary_names_each_word_once() -> None:
    rows = [
        line.split("|")[1].strip() for line in (ROOT / "docs" / "glossary.md").read_text().splitlines() if "|" in line
    ]
    assert len(rows) == len(set(rows)) == 18
