"""The exact messages of the command line for mistakes, which write no files.

Each command has a transcript `COMMAND.txt`: command line, stderr, exit status. `$FAST` is a training of seconds,
without the settings that follow it; WORK is the working folder. `there are: ...` and `takes ...` stand for the names of
kinds, files or settings, of which none is a matter of wording.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from snnlab.spec.override_texts import key_of

from ..cli.conftest import FAST, Outcome

FOLDER = Path(__file__).parent


class Exchange(NamedTuple):
    typed: str
    said: list[str]
    status: int


def exchanges(path: Path) -> Iterator[Exchange]:
    """Yield the entries of a transcript; a line that begins with # is a heading."""
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        typed, *said, status = [line for line in block.splitlines() if not line.startswith("# ")]
        yield Exchange(typed.removeprefix("$ "), said, int(status.strip("[]")))


ALL = [(path.stem, one) for path in sorted(FOLDER.glob("*.txt")) for one in exchanges(path)]
# `train` has two hundred, which take most of the time.
PARAMS = [
    pytest.param(one, id=one.typed, marks=pytest.mark.long if at % (16 if command == "train" else 4) else ())
    for at, (command, one) in enumerate(ALL)
]


def words_of(typed: str, digits_store: str) -> list[str]:
    """Split a command line as a shell does, without `snnlab`."""
    _, *words = shlex.split(typed)
    keys = {key_of(word) for word in words}
    fast = [*(word for word in FAST if key_of(word) not in keys), digits_store]
    return [word for one in words for word in (fast if one == "$FAST" else [one])]


def is_transcript(lines: list[str], transcript: list[str]) -> bool:
    pattern = re.escape("\n".join(transcript)).replace(r"are:\ \.\.\.", "are: .+").replace(r"takes\ \.\.\.", "takes .+")
    return re.fullmatch(pattern, "\n".join(lines)) is not None


@pytest.mark.parametrize("exchange", PARAMS)
def test_a_mistake_prints_its_transcript_and_writes_nothing(
    exchange: Exchange,
    surroundings: Path,
    snnlab: Callable[..., Outcome],
    digits_store: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # of plugins
    before = set(surroundings.rglob("*"))
    done = snnlab(*words_of(exchange.typed, digits_store))
    lines = done.err.replace(str(surroundings), "WORK").splitlines()
    said = [line for line in lines if not line.startswith("packing ")]
    assert is_transcript(said, exchange.said), said
    assert (done.status, done.out) == (exchange.status, "")
    assert set(surroundings.rglob("*")) == before


def test_each_command_is_there_once_with_at_most_two_lines() -> None:
    exchanged = [one for _, one in ALL]
    assert len({one.typed for one in exchanged}) == len(exchanged)
    assert [one.typed for one in exchanged if len(one.said) > 2] == []
    assert [one.typed for one in exchanged if not any(line.startswith("snnlab: ") for line in one.said)] == []
