"""The pages of the documentation as blocks of code, and outputs that are compared with what a page shows."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from scripts.notebooks import FENCE
from snnlab.cli.kinds import registry
from snnlab.config.catalogue import REGISTRIES

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")))
}
TUTORIALS = [page for page in PAGES if page.parent.name == "tutorials"]


class Block(NamedTuple):
    page: Path
    line: int  # of its text, from 1
    not_run: str | None  # the reason, from the comment above it: <!-- not run: ... -->
    within: float  # relative tolerance of the numbers that it shows, from the comment above it: <!-- within: 0.05 -->
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


# Tolerance where a page states none: sums are rounded otherwise on other machines.
WITHIN = 1e-3


def blocks_of(page: Path, text: str) -> list[Block]:
    return [
        Block(
            page,
            text.count("\n", 0, match.start("text")) + 1,
            match["not_run"],
            float(match["within"] or WITHIN),
            match["language"],
            match["text"],
        )
        for match in FENCE.finditer(text)
    ]


BLOCKS = [block for page, text in PAGES.items() for block in blocks_of(page, text)]


def commands_of(block: Block) -> dict[str, str]:
    """Return each command of a block of shell commands, and the output that stands below it, after a line with `$`."""
    if block.not_run or block.language not in ("", "sh", "bash"):
        return {}
    found: dict[str, str] = {}
    command = None
    for line in block.text.splitlines(keepends=True):
        text = line.removeprefix("$ ").partition(" #")[0].strip()
        if text.startswith("snnlab ") and (line.startswith("$ ") or command is None):
            command = text if line.startswith("$ ") else None
            found[text] = ""
        elif command:
            found[command] += line
    return found


NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?")


def assert_shows(output: str, shown: str, within: float = WITHIN) -> None:
    """Assert that an output has the lines that a page shows, in this order.

    A line of `...` stands for any lines, `...` within a line for any text. Numbers may differ by `within` times
    themselves, or by one in the last digit that is shown; whole numbers only by `within`.
    """
    lines = iter(output.splitlines())
    for expected in (line for line in shown.splitlines() if line.strip() not in ("", "...")):
        assert any(is_alike(line, expected, within) for line in lines), f"{expected!r} is not next in\n{output}"


def is_alike(line: str, expected: str, within: float) -> bool:
    """Return whether a line of an output is the expected one, up to the tolerance of numbers and to spaces."""
    pattern = r"\s+".join(re.escape(word).replace(r"\.\.\.", ".*") for word in NUMBER.sub("0", expected).split())
    if not re.fullmatch(rf"\s*{pattern}\s*", NUMBER.sub("0", line)):
        return False
    if "..." in expected:
        return True
    pairs = zip(map(number, NUMBER.findall(line)), NUMBER.findall(expected), strict=True)
    return all(abs(one - number(other)) <= max(last_digit(other), within * abs(number(other))) for one, other in pairs)


def number(text: str) -> float:
    return float(text.replace(",", ""))


def last_digit(text: str) -> float:
    """Return the value of one in the last digit of a number as text: 0.01 for 0.35, 0 for a whole number."""
    mantissa, _, exponent = text.partition("e")
    decimals = len(mantissa.partition(".")[2])
    return 10.0 ** (int(exponent or 0) - decimals) if decimals or exponent else 0.0


@contextmanager
def own_registries() -> Iterator[None]:
    """Within it, what code of a page registers or imports is there; after it, it is gone."""
    modules = set(sys.modules)
    entries = {kind: dict(registry(kind)._entries) for kind in REGISTRIES}
    yield
    for kind, before in entries.items():
        registry(kind)._entries.clear()
        registry(kind)._entries.update(before)
    for name in set(sys.modules) - modules:
        if name.startswith("my_"):
            del sys.modules[name]
