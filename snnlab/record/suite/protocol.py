"""The protocol under a table, made from the records: how the numbers came about, and what differs between arms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from snnlab.errors import listing
from snnlab.record.suite import clauses
from snnlab.record.suite.columns import short_number
from snnlab.record.suite.reading import Cell, Read
from snnlab.record.suite.rows import Row

Say = Callable[[Cell], str | None]

# In the order in which a reader asks.
_CLAUSES: tuple[tuple[str, Say], ...] = (
    ("split", clauses.split),
    ("sizes", clauses.sizes),
    ("test set", clauses.test_set),
    ("selection", clauses.selection),
    ("tuning", clauses.tuning),
    ("clock", clauses.clock),
    ("framing", clauses.framing),
    ("input", clauses.frames),
    ("augmentation", clauses.augmentation),
    ("readout", clauses.readout),
    ("training", clauses.training),
    ("precision", clauses.precision),
    ("devices", clauses.device),
    ("versions", clauses.versions),
    ("commit", clauses.commit),
)


class Clause(NamedTuple):
    """One line of a protocol.

    Attributes:
        about: What it is about, such as `split`.
        said: What holds for all arms; or, where arms differ, what holds for each, in their order.
    """

    about: str
    said: str


def protocol(read: Read, rows: Sequence[Row]) -> list[Clause]:
    """Return the protocol of one dataset's rows.

    Args:
        read: What the rows were made from.
        rows: The rows.
    """
    lines = [Clause("runs", _runs(rows)), Clause("seeds", _seeds(rows))]
    for about, say in _CLAUSES:
        if text := _said(rows, say):
            lines.append(Clause(about, text))
    if (differs := _differs(rows)) is not None:
        lines.append(Clause("arms", differs))
    if read.match is not None:
        lines.append(Clause("budget", _budget(read, rows)))
    lines.append(Clause("accuracy", clauses.ACCURACY))
    if len(rows) > 1:
        lines.append(Clause("ranking", clauses.RANKING))
    lines.append(Clause("operations", clauses.OPERATIONS))
    lines.append(Clause("energy", str(read.energy)))
    if read.command:
        lines.append(Clause("command", read.command))
    return lines


def _said(rows: Sequence[Row], say: Say) -> str:
    """Return what a clause says of all arms; where they differ, of each group of arms that are alike."""
    by_text: dict[str, list[str]] = {}
    for row in rows:
        texts = dict.fromkeys(text for cell in row.tested if (text := say(cell)))
        if texts:
            by_text.setdefault(" / ".join(texts), []).append(row.arm)
    if len(by_text) == 1:
        return next(iter(by_text))
    return "; ".join(f"{listing(arms)}: {text}" for text, arms in by_text.items())


def _runs(rows: Sequence[Row]) -> str:
    asked, tested = sum(row.asked for row in rows), sum(len(row.seeds) for row in rows)
    failed = [cell for row in rows for cell in row.cells if cell.status == "failed"]
    said = f"{tested} of {asked} completed and tested, {len(failed)} failed"
    why = [f"{cell.arm} seed {cell.seed} ({cell.error or 'no reason recorded'})" for cell in failed]
    return said + (f": {'; '.join(why)}" if why else "")


def _seeds(rows: Sequence[Row]) -> str:
    by_seeds: dict[str, list[str]] = {}
    for row in rows:
        by_seeds.setdefault(listing(map(str, row.seeds)) or "none", []).append(row.arm)
    if len(by_seeds) == 1:
        said = next(iter(by_seeds))
    else:
        said = "; ".join(f"{listing(arms)}: {seeds}" for seeds, arms in by_seeds.items())
    return f"{said}; {clauses.SEEDS}"


def _differs(rows: Sequence[Row]) -> str | None:
    if len(rows) < 2:
        return None
    return "; ".join(f"{row.arm}: {' '.join(row.differs) or 'the defaults'}" for row in rows)


def _budget(read: Read, rows: Sequence[Row]) -> str:
    match = read.match or {}
    by = str(match.get("by", "")).replace("_", " ")
    said = [f"{by} of all arms within {match.get('within', 0):.0%} of the first arm's"]
    for row in rows:
        own = (read.matched.get(row.dataset) or {}).get(row.arm)
        if own is not None:
            said.append(f"{row.arm} {short_number(own['value'])} ({own['off']:.2f} x)")
    return "; ".join(said)
