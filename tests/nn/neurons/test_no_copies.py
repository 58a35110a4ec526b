"""No two neurons' files repeat each other: what several share stands in a base class."""

from __future__ import annotations

import ast
import keyword
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from snnlab.nn import neurons
from snnlab.spec.docstrings import argument_texts_of

FOLDER = Path(neurons.__file__).parent
FILES = sorted(path for path in FOLDER.glob("*.py") if path.stem != "__init__")
MOST_ALIKE = 5
Line = tuple[int, str]


def words(source: str) -> Iterator[list[Line]]:
    """Yield the lines of a file, without imports, documentation and blank lines."""
    lines = enumerate(source.splitlines(), 1)
    skipped = without_logic(ast.parse(source))
    yield [(number, " ".join(line.split())) for number, line in lines if line.strip() and number not in skipped]


def shapes(source: str) -> Iterator[list[Line]]:
    """Yield the lines of each function with names, texts and numbers alike; a list of fields has no logic."""
    (lines,) = words(source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            own = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            yield [(number, shape_of(line)) for number, line in lines if number in own]


def without_logic(tree: ast.Module) -> set[int]:
    skipped: set[int] = set()
    for node in ast.walk(tree):
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.stmt) and (text or isinstance(node, ast.Import | ast.ImportFrom)):
            skipped |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return skipped


def shape_of(line: str) -> str:
    """Return a line with each name as `n`, each text as `""` and each number as `0`."""
    line = re.sub(r"f?\"[^\"]*\"|f?'[^']*'", '""', line)
    line = re.sub(r"\b\d[\w.]*", "0", line)
    return re.sub(r"[A-Za-z_]\w*", lambda found: found[0] if keyword.iskeyword(found[0]) else "n", line)


@pytest.mark.parametrize("parts", [words, shapes])
def test_no_two_neurons_files_share_six_lines_in_a_row(parts: Callable[[str], Iterator[list[Line]]]) -> None:
    places: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for path in FILES:
        for lines in parts(path.read_text(encoding="utf-8")):
            for at in range(len(lines) - MOST_ALIKE):
                run = lines[at : at + MOST_ALIKE + 1]
                places[tuple(text for _, text in run)].add(f"{path.name}:{run[0][0]}")
    assert [found for found in places.values() if len({place.partition(":")[0] for place in found}) > 1] == []


def test_no_text_of_an_argument_is_typed_in_two_classes() -> None:
    typed: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                for argument in argument_texts_of(ast.get_docstring(node) or "").items():
                    typed[argument].append(node.name)
    assert {argument: classes for argument, classes in typed.items() if len(classes) > 1} == {}
