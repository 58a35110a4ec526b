"""`suite.json`: what has become of each training, written anew when one has ended."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from snnlab.errors import DamagedError, ForeignError, RecordError
from snnlab.files import write_json
from snnlab.record.run_reading import read_ended
from snnlab.record.suite.reading import SUITE_SCHEMA, SUITE_STATE
from snnlab.suite.plan import Cell

DAMAGED = "suite_damaged.json"
Status = Literal["completed", "failed", "missing", "running"]
_log = logging.getLogger(__name__)


@dataclass
class State:
    """What has become of a training.

    Attributes:
        status: `missing`: not trained yet, or there are no recordings to train with.
        error: Why it failed or is missing, or None.
        wall_s: How long it took, s; of one that was broken off, since it went on.
        tuned: {trials, val_size, values}, or None.
        foreign: Whether its folder holds a run of another version, which is left alone.
    """

    status: Status = "missing"
    error: str | None = None
    wall_s: float | None = None
    tuned: dict[str, Any] | None = None
    foreign: bool = False


@dataclass
class Spent:
    """Seconds.

    Attributes:
        trainings_s: Of all trainings together, as `snnlab train` needs them.
        overhead_s: During which the suite ran and none of its trainings did.
    """

    trainings_s: float = 0.0
    overhead_s: float = 0.0


@dataclass
class Book:
    """The states of all trainings.

    Attributes:
        states: By training.
        match: By dataset and arm: {value, off, beyond}.
        controls: {name, dataset, arm, passed, said} each.
        looks: By dataset, how many seeds of each arm there were each time a table was shown.
        damaged: Whether there is a `suite.json` that nobody can read; it is put aside when one is written.
    """

    folder: Path
    states: dict[Cell, State]
    match: dict[str, dict[str, Any]] = field(default_factory=dict)
    controls: list[dict[str, Any]] = field(default_factory=list)
    spent: Spent = field(default_factory=Spent)
    looks: dict[str, list[dict[str, int]]] = field(default_factory=dict)
    damaged: bool = False

    def count(self, status: Status, cells: Sequence[Cell] | None = None) -> int:
        """Return how many trainings are in a state."""
        return sum(self.states[cell].status == status for cell in cells or self.states)

    def look(self) -> None:
        """Note how many seeds of each arm there are, now that a table of them is shown."""
        found: dict[str, dict[str, int]] = {}
        for cell, state in self.states.items():
            if cell.control is None and state.status == "completed":
                of_dataset = found.setdefault(cell.dataset, {})
                of_dataset[cell.arm] = of_dataset.get(cell.arm, 0) + 1
        for dataset, seeds in found.items():
            earlier = self.looks.setdefault(dataset, [])
            if seeds not in earlier:
                earlier.append(seeds)

    def write(self) -> None:
        """Write `suite.json`."""
        cells = [{**asdict(cell), "folder": cell.folder, **asdict(state)} for cell, state in self.states.items()]
        page = {
            "cells": cells,
            "match": self.match,
            "controls": self.controls,
            "spent": asdict(self.spent),
            "looks": self.looks,
        }
        if self.damaged:
            (self.folder / SUITE_STATE).rename(self.folder / DAMAGED)
            self.damaged = False
        write_json(self.folder / SUITE_STATE, {"schema": SUITE_SCHEMA, **page})


def open_book(folder: Path, cells: Sequence[Cell]) -> Book:
    """Return the states of a suite's trainings, as their folders and the last `suite.json` have them.

    Raises:
        RecordError: if `suite.json` is of another version.
    """
    found = _read(folder)
    page = found or {}
    kept = {entry["folder"]: entry for entry in page.get("cells", [])}
    book = Book(folder, {cell: _state(folder, cell, kept.get(cell.folder)) for cell in cells})
    book.match, book.controls = dict(page.get("match", {})), list(page.get("controls", []))
    book.spent = Spent(**page.get("spent", {}))
    book.looks = {dataset: list(looks) for dataset, looks in page.get("looks", {}).items()}
    book.damaged = found is None
    return book


def result_of(folder: Path) -> dict[str, Any] | None:
    """Return what a run's `result.json` holds; None where there is none, or none that can be read.

    Raises:
        ForeignError: if another version of snnlab wrote it.
    """
    try:
        recorded = read_ended(folder)
    except DamagedError:
        return None
    return None if recorded is None else recorded.page


def _state(folder: Path, cell: Cell, kept: Mapping[str, Any] | None) -> State:
    kept = kept or {}
    state = State(tuned=kept.get("tuned"), wall_s=kept.get("wall_s"))
    try:
        result = result_of(folder / cell.folder)
    except ForeignError as error:
        state.status, state.foreign = "failed", True
        state.error = f"{error.of(folder)}; remove {cell.folder}"
        return state
    if result is None:
        said = kept.get("status")
        state.error = kept.get("error") if said in ("failed", "missing") else None
        state.status = "failed" if said == "failed" else "missing"
        return state
    if result["status"] == "completed":
        state.status = "completed"
        state.wall_s = state.wall_s or (result.get("timing") or {}).get("fit_s")
    elif result["status"] == "failed":
        state.status, state.error = "failed", result.get("error") or kept.get("error")
    return state


def _read(folder: Path) -> dict[str, Any] | None:
    """Return what `suite.json` holds, nothing where there is none; None where it is damaged."""
    path = folder / SUITE_STATE
    if not path.is_file():
        return {}
    try:
        page = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        _log.warning("%s is damaged; what it said is read from the runs again", path)
        return None
    if not isinstance(page, dict) or page.get("schema") != SUITE_SCHEMA:
        raise RecordError(path, "was not written by this version of snnlab", "folder=FOLDER begins another")
    return page
