"""All that is in a table, before it is written in one form or another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from snnlab.record.suite.columns import COLUMNS
from snnlab.record.suite.energy import Energy
from snnlab.record.suite.grouping import read_runs
from snnlab.record.suite.protocol import Clause, protocol
from snnlab.record.suite.published import Published, published
from snnlab.record.suite.ranking import Neighbours, compared, times_shown
from snnlab.record.suite.reading import Read, is_suite, read_suite
from snnlab.record.suite.rows import Row, rows_of

SCHEMA = 1


class Part(NamedTuple):
    """What there is of one dataset.

    Attributes:
        dataset: Its name.
        rows: The arms, the best first.
        neighbours: Each row against the one below it.
        published: Figures of others, which are not ranked.
        protocol: How the numbers came about.
        behind: The best row against each other one.
    """

    dataset: str
    rows: Sequence[Row]
    neighbours: Sequence[Neighbours]
    published: Sequence[Published]
    protocol: Sequence[Clause]
    behind: Sequence[Neighbours]

    def rank(self, row: Row) -> str:
        """Return a row's place, with ≈ where it cannot be told from the row above; nothing without a result."""
        if "test_accuracy" not in row.values and "test_mae" not in row.values:
            return ""
        tied = any(pair.worse == row.arm and pair.told is False for pair in self.neighbours)
        return f"{self.rows.index(row) + 1}{' ≈' if tied else ''}"


class Table(NamedTuple):
    """All datasets of a suite, or of a folder of runs.

    Attributes:
        name: What it is called.
        parts: The datasets.
        controls: {name, dataset, arm, passed, said} each.
        energy: Constants of the energy estimate.
        problems: What could not be read or shown, a line each.
        command: The command that made it, and goes on with it, or None.
    """

    name: str
    parts: Sequence[Part]
    controls: Sequence[Any]
    energy: Energy
    problems: Sequence[str]
    command: str | None = None

    def record(self) -> dict[str, Any]:
        """Return the table as JSON has it; accuracies are fractions in 0..1."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "columns": [{"key": c.key, "of": c.of, "heading": c.heading, "about": c.about} for c in COLUMNS],
            "datasets": [
                {
                    "dataset": part.dataset,
                    "rows": [{"rank": part.rank(row), **row.record()} for row in part.rows],
                    "neighbours": [pair._asdict() for pair in part.neighbours],
                    "against_best": [pair._asdict() for pair in part.behind],
                    "published": [{**one._asdict(), "ranked": False} for one in part.published],
                    "protocol": {clause.about: clause.said for clause in part.protocol},
                }
                for part in self.parts
            ],
            "controls": [dict(one) for one in self.controls],
            "energy": vars(self.energy),
            "problems": list(self.problems),
        }


def read_table(folder: Path, best_on_test: bool = False) -> Table:
    """Read a suite's folder, or a plain folder of runs, which are grouped over all settings but the seed.

    Args:
        folder: The folder.
        best_on_test: Whether the best epoch on the test recordings is wanted beside the results, which it is none of.

    Raises:
        RecordError: if there is nothing in it that can be read.
    """
    read = read_suite(folder) if is_suite(folder) else read_runs(folder)
    problems = list(read.problems)
    parts = []
    for dataset in dict.fromkeys(cell.dataset for cell in read.cells):
        figures, lacking = published(read.published, dataset)
        problems += lacking
        parts.append(_part(read, dataset, figures, best_on_test))
    return Table(read.name, parts, read.controls, read.energy, problems, read.command)


def _part(read: Read, dataset: str, figures: Sequence[Published], best_on_test: bool) -> Part:
    rows = rows_of(read, dataset, best_on_test)
    beside, behind = compared(rows, partial(times_shown, read.looks.get(dataset, ())))
    return Part(dataset, rows, beside, figures, protocol(read, rows), behind)
