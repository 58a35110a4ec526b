"""A row for each arm on each dataset: what its seeds came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from snnlab.errors import RecordError
from snnlab.record.arms import Arm as Answers
from snnlab.record.arms import arm_of
from snnlab.record.statistics import accuracy_interval
from snnlab.record.suite.figures import figures
from snnlab.record.suite.flags import flags
from snnlab.record.suite.reading import Arm, Cell, Read
from snnlab.record.suite.spread import Spread, spread


@dataclass(frozen=True)
class Row:
    """An arm on a dataset.

    Attributes:
        dataset: The dataset's name.
        arm: The arm's name.
        role: arm or baseline.
        seeds: Of the runs that were completed and tested.
        asked: How many runs there were to be.
        failed: How many of them failed.
        values: Mean and spread of each figure, by key; see `figures`.
        flags: What makes the row less than it seems, in words.
        note: A sentence about the arm, or None.
        differs: In what it differs from the other arms.
        cells: Its runs, one a seed, tested or not.
        answers: What its networks answered to the test recordings; or why that cannot be compared.
    """

    dataset: str
    arm: str
    role: str
    seeds: Sequence[int]
    asked: int
    failed: int
    values: Mapping[str, Spread]
    flags: Sequence[str]
    note: str | None = None
    differs: Sequence[str] = ()
    cells: Sequence[Cell] = field(default=(), repr=False, compare=False)
    answers: Answers | str = field(default="it was not tested", repr=False, compare=False)

    @property
    def tested(self) -> list[Cell]:
        """The runs that count."""
        return [cell for cell in self.cells if cell.tested]

    def record(self) -> dict[str, Any]:
        """Return the row as JSON has it."""
        return {
            "dataset": self.dataset,
            "arm": self.arm,
            "role": self.role,
            "seeds": list(self.seeds),
            "asked": self.asked,
            "failed": self.failed,
            "values": {key: value._asdict() for key, value in self.values.items()},
            "flags": list(self.flags),
            "note": self.note,
            "differs": list(self.differs),
        }


def rows_of(read: Read, dataset: str, best_on_test: bool) -> list[Row]:
    """Return the rows of a dataset, the best first, those without a result last.

    Args:
        read: The suite, or the runs.
        dataset: The dataset.
        best_on_test: Whether the best epoch on the test recordings is wanted.
    """
    of_arm: dict[str, list[Cell]] = {}
    for cell in read.cells:
        if cell.dataset == dataset:
            of_arm.setdefault(cell.arm, []).append(cell)
    peers = [cell for cells in of_arm.values() for cell in newest(cells)[0] if cell.tested]
    rows = [_row(read, dataset, arm, cells, peers, best_on_test) for arm, cells in of_arm.items()]
    return sorted(rows, key=_goodness, reverse=True)


def newest(cells: Sequence[Cell]) -> tuple[list[Cell], list[int]]:
    """Return the last run of each seed that was tested, or else the last; and the seeds that have several."""
    by_seed: dict[int, list[Cell]] = {}
    for cell in cells:
        by_seed.setdefault(cell.seed, []).append(cell)
    kept = [([one for one in of if one.tested] or of)[-1] for _, of in sorted(by_seed.items())]
    return kept, [seed for seed, of in sorted(by_seed.items()) if len(of) > 1]


def _row(read: Read, dataset: str, name: str, cells: Sequence[Cell], peers: Sequence[Cell], best: bool) -> Row:
    kept, twice = newest(cells)
    tested = [cell for cell in kept if cell.tested]
    arm = read.arms.get(name) or Arm()
    found = [figures(cell, read.energy, best) for cell in tested]
    keys = dict.fromkeys(key for each in found for key in each)
    # A figure of some of the seeds is none of the arm.
    values = {key: spread([each[key] for each in found]) for key in keys if all(key in each for each in found)}
    answers = _answers(name, tested)
    if "test_accuracy" in values:
        # Of new seeds on new recordings, where the answers are there.
        between = accuracy_interval(answers.right, answers.clusters) if isinstance(answers, Answers) else None
        low, high = (None, None) if between is None else between
        values["test_accuracy"] = values["test_accuracy"]._replace(low=low, high=high)
    match = (read.matched.get(dataset) or {}).get(name)
    return Row(
        dataset,
        name,
        arm.role,
        [cell.seed for cell in tested],
        len(kept),
        sum(cell.status == "failed" for cell in kept),
        values,
        flags(kept, peers, tuned=read.tune is not None, match=match, by=(read.match or {}).get("by"), twice=twice),
        arm.note,
        arm.differs,
        kept,
        answers,
    )


def _answers(name: str, tested: Sequence[Cell]) -> Answers | str:
    if not tested:
        return "it was not tested"
    try:
        return arm_of(name, [cell.run for cell in tested if cell.run is not None])
    except (RecordError, KeyError) as error:
        return str(error)


def _goodness(row: Row) -> tuple[bool, float]:
    if (accuracy := row.values.get("test_accuracy")) is not None:
        return True, accuracy.mean
    error = row.values.get("test_mae")
    return (False, 0.0) if error is None else (True, -error.mean)
