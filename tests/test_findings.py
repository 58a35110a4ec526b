"""`FINDINGS.md` names tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent
_NAMED = re.compile(r"(?P<file>tests/[\w/]+\.py)?(?:::(?P<name>test_\w+))?")


@cache
def names_in(file: str) -> set[str]:
    tree = ast.parse((TESTS.parent / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def rows() -> list[list[str]]:
    lines = (TESTS / "FINDINGS.md").read_text(encoding="utf-8").splitlines()
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in cells if row[0].strip() != "id"]


def test_each_finding_has_a_test_or_a_reason() -> None:
    found = rows()
    assert len(found) > 200
    assert [row for row in found if len(row) != 3 or not all(row)] == []


def test_the_tests_named_are_there() -> None:
    missing = []
    for row in rows():
        file = None
        for match in _NAMED.finditer(row[2]):
            file = match["file"] or file
            if match["file"] and not (TESTS.parent / match["file"]).is_file():
                missing.append(match[0])
            elif match["name"] and (file is None or match["name"] not in names_in(file)):
                missing.append(f"{file}::{match['name']}")
    assert missing == []
