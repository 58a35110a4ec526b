"""What a search wrote at its end, read back: its summary and its table of trials."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from snnlab.errors import DamagedError

SUMMARY, TRIALS = "search.json", "trials.csv"
_NUMBER = (int, float)


def read_summary(folder: Path) -> Mapping[str, Any]:
    """Return what `search.json` holds.

    Raises:
        DamagedError: if it is not what a search wrote.
    """
    path = folder / SUMMARY
    try:
        page = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from error
    if not _is_summary(page):
        raise _damaged(path, "it is not what a search recorded")
    return page


def read_trials(folder: Path, objectives: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of `trials.csv`.

    Args:
        objectives: Names of the objectives, each of which has a column.

    Raises:
        DamagedError: if it is not what a search wrote.
    """
    path = folder / TRIALS
    try:
        rows = parsed_trials(path.read_text(encoding="utf-8"), objectives)
    except (OSError, ValueError, csv.Error) as error:
        raise _damaged(path, error) from error
    if not rows:
        raise _damaged(path, "it has no trial")
    return rows


def parsed_trials(text: str, objectives: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a table of trials.

    Raises:
        ValueError: if it is none.
    """
    reader = csv.DictReader(text.splitlines())
    if missing := [name for name in ("trial", "state", *objectives) if name not in (reader.fieldnames or ())]:
        raise ValueError(f"it has no column {missing[0]}")
    rows = list(reader)
    for row in rows:
        if None in row or None in row.values() or not row["state"].split():
            raise ValueError(f"line {rows.index(row) + 2} is not whole")
        if row["state"] == "complete":
            _ = [float(row[name]) for name in objectives if row[name]]
    return rows


def _is_summary(page: Any) -> bool:
    if not isinstance(page, dict):
        return False
    winner, finalists, importance = (page.get(name) for name in ("winner", "finalists", "importance"))
    return (
        (winner is None or _is_winner(winner))
        and (finalists is None or (isinstance(finalists, list) and all(map(_is_finalist, finalists))))
        and (importance is None or (isinstance(importance, dict) and all(map(_are_numbers, importance.values()))))
    )


def _is_winner(winner: Any) -> bool:
    if not isinstance(winner, dict) or "trial" not in winner or not isinstance(winner.get("overrides"), list):
        return False
    tests = winner.get("test") or {}
    return isinstance(tests, dict) and all(
        isinstance(one, dict)
        and isinstance(one.get("mean"), _NUMBER)
        and isinstance(one.get("sd", 0), (*_NUMBER, type(None)))
        for one in tests.values()
    )


def _is_finalist(one: Any) -> bool:
    if not isinstance(one, dict) or "number" not in one or not isinstance(one.get("values"), dict):
        return False
    found, again = one.get("found"), one.get("again")
    whole = _are_numbers(found) and isinstance(again, list) and all(map(_are_numbers, again))
    return whole and all(set(found) <= set(run) for run in again)  # type: ignore[arg-type]


def _are_numbers(node: Any) -> bool:
    return isinstance(node, dict) and all(isinstance(value, _NUMBER) for value in node.values())


def _damaged(path: Path, reason: object) -> DamagedError:
    return DamagedError(path, reason, f"snnlab sweep {quote(f'resume={path.parent}')} writes it anew")
