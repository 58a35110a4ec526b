"""A suite, or a folder of runs, in figures: arms ranked on each dataset, who can be told from whom, the protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from snnlab.errors import RecordError
from snnlab.record.arms import Arm as Answers
from snnlab.record.arms import arm_of
from snnlab.record.groups import grouped
from snnlab.record.statistics import MIN_SEEDS, accuracy_interval
from snnlab.record.suite.energy import Energy
from snnlab.record.suite.figures import COLUMNS, Row, figures, spread
from snnlab.record.suite.protocol import Clause, flags, protocol
from snnlab.record.suite.published import Published, published
from snnlab.record.suite.reading import Arm, Cell, Read, newest, read
from snnlab.record.verdicts import Looks, verdicts

SCHEMA = 1


class Neighbours(NamedTuple):
    """Two rows, one below the other.

    Attributes:
        better: The arm above.
        worse: The arm below.
        told: Whether they can be told apart; None where they cannot be compared.
    """

    better: str
    worse: str
    told: bool | None
    said: str


class Part(NamedTuple):
    """What there is of one dataset.

    Attributes:
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
        tied = any(pair.worse == row.arm and pair.told is False for pair in self.neighbours)
        return f"{self.rows.index(row) + 1}{' ≈' if tied else ''}" if row.goodness[0] else ""


class SuiteTable(NamedTuple):
    """All datasets of a suite, or of a folder of runs.

    Attributes:
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


def read_table(folder: Path, best_on_test: bool = False) -> SuiteTable:
    """Read a suite's folder, or a plain folder of runs, which are grouped over all settings but the seed.

    Args:
        best_on_test: Whether the best epoch on the test recordings is wanted beside the results, which it is none of.

    Raises:
        RecordError: if there is nothing in it that can be read.
    """
    found = read(folder)
    problems, parts = list(found.problems), []
    for dataset, cells in grouped(found.cells, lambda cell: cell.dataset).items():
        others, lacking = published(found.published, dataset)
        problems += lacking
        rows = _rows(found, dataset, cells, best_on_test)
        beside, behind = _compared(rows, partial(_times_shown, found.looks.get(dataset, ())))
        parts.append(Part(dataset, rows, beside, others, protocol(found, rows), behind))
    return SuiteTable(found.name, parts, found.controls, found.energy, problems, found.command)


def _rows(found: Read, dataset: str, cells: Sequence[Cell], best_on_test: bool) -> list[Row]:
    of_arm = {arm: newest(of) for arm, of in grouped(cells, lambda cell: cell.arm).items()}
    peers = [cell for kept, _ in of_arm.values() for cell in kept if cell.tested]
    rows = [_row(found, dataset, arm, *of, peers, best_on_test) for arm, of in of_arm.items()]
    return sorted(rows, key=lambda row: row.goodness, reverse=True)


def _row(
    found: Read, dataset: str, name: str, kept: list[Cell], twice: list[int], peers: list[Cell], best_on_test: bool
) -> Row:
    tested = [cell for cell in kept if cell.tested]
    arm = found.arms.get(name) or Arm()
    each = [figures(cell, found.energy, best_on_test) for cell in tested]
    # A figure of some of the seeds is none of the arm.
    keys = [key for key in (each[0] if each else ()) if all(key in one for one in each)]
    values = {key: spread([one[key] for one in each]) for key in keys}
    answers = _answers(name, tested)
    if "test_accuracy" in values:
        # Of new seeds on new recordings, where the answers are there.
        between = accuracy_interval(answers.right, answers.clusters) if isinstance(answers, Answers) else None
        low, high = (None, None) if between is None else between
        values["test_accuracy"] = values["test_accuracy"]._replace(low=low, high=high)
    seeds, failed = [cell.seed for cell in tested], sum(cell.status == "failed" for cell in kept)
    said = flags(found, dataset, kept, peers, twice)
    return Row(dataset, name, arm.role, seeds, len(kept), failed, values, said, arm.note, arm.differs, kept, answers)


def _answers(name: str, tested: Sequence[Cell]) -> Answers | str:
    if not tested:
        return "it was not tested"
    try:
        return arm_of(name, [cell.run for cell in tested if cell.run is not None])
    except (RecordError, KeyError) as error:
        return str(error)


def _compared(rows: Sequence[Row], looks: Looks) -> tuple[list[Neighbours], list[Neighbours]]:
    """Return each row against the one below it, and the best against each other one.

    Who stands beside whom is chosen by the results, so that p is adjusted for the comparisons of all with all. Rows
    without accuracy count as not there.
    """
    arms = {row.arm: row.answers for row in rows if "test_accuracy" in row.values}
    comparable = [arm for arm in arms.values() if isinstance(arm, Answers)]

    def same_test(one: Answers, other: Answers) -> bool:
        return one.data == other.data and np.array_equal(one.recordings, other.recordings)

    found = {(each.one.name, each.other.name): each for each in verdicts(comparable, same_test, looks)}

    def said(pair: tuple[str, str]) -> Neighbours:
        if (verdict := found.get(pair)) is not None:
            return Neighbours(*pair, verdict.significant, verdict.sentence)
        reasons = [each for each in (arms[pair[0]], arms[pair[1]]) if isinstance(each, str)]
        why = f" ({reasons[0]})" if reasons else ": they were tested on other recordings"
        return Neighbours(*pair, None, f"{pair[0]} and {pair[1]}: not compared{why}")

    names = list(arms)
    return [said(pair) for pair in pairwise(names)], [said((names[0], name)) for name in names[1:]]


def _times_shown(looks: Sequence[Mapping[str, int]], one: Answers, other: Answers) -> int:
    """Return how often two arms were compared in a table, with this time: with other numbers of seeds each.

    Args:
        looks: How many seeds of each arm there were each time.
        one: One arm.
        other: The other.
    """
    earlier = {(seeds.get(one.name, 0), seeds.get(other.name, 0)) for seeds in looks}
    with_verdict = {pair for pair in earlier if min(pair) >= MIN_SEEDS}
    return len(with_verdict | {(len(one.seeds), len(other.seeds))})
