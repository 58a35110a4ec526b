"""A plain folder of runs, such as a sweep's, read as arms: runs that differ in their seed alone are one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from snnlab.errors import RecordError
from snnlab.record.arms import settings_of
from snnlab.record.run_reading import find_runs
from snnlab.record.runs_table import DAMAGED
from snnlab.record.suite.reading import Arm, Cell, Read, read_config, read_result, said_of

Settings = Mapping[str, Any]


def read_runs(folder: Path) -> Read:
    """Read the runs below a folder as arms, named by what they differ in.

    Raises:
        RecordError: if there is none.
    """
    problems: list[str] = []
    found = [cell for run in _runs_below(folder) if (cell := _cell(run, folder, problems)) is not None]
    if not found:
        said = f": {problems[0]}" if problems else ""
        raise RecordError(f"{folder}: is no suite's folder, and there is no run in it that can be read{said}")
    groups: dict[str, list[Cell]] = {}
    for cell in found:
        groups.setdefault(_key(cell.config), []).append(cell)
    settings = [settings_of(cells[0].config) for cells in groups.values()]
    names = names_of(settings)
    cells = [replace(one, arm=name) for name, of in zip(names, groups.values(), strict=True) for one in of]
    differs = [_differs(own, settings) for own in settings]
    arms = {name: Arm(differs=said) for name, said in zip(names, differs, strict=True)}
    return Read(folder.resolve().name, cells, arms, problems=problems)


def names_of(settings: Sequence[Settings]) -> list[str]:
    """Return a name for each group: the fewest settings that tell it from the others."""
    if len(settings) == 1:
        return ["all runs"]
    short = {key: _short(key) for key in _differing(settings)}
    chosen: list[str] = []
    apart = 1
    # What all have comes first, then what most differ in; a type says more than what comes with it.
    keys = sorted(
        short, key=lambda k: (any(k not in own for own in settings), -_kinds(settings, [k]), k[-4:] != "type")
    )
    for key in keys:
        if (more := _kinds(settings, [*chosen, key])) > apart:
            chosen, apart = [*chosen, key], more
    return [" ".join(f"{short[key]}={_text(own, key)}" for key in chosen) for own in settings]


def _runs_below(folder: Path) -> list[Path]:
    """Return the folders of runs, as deep as a suite has them."""
    return list(find_runs(folder)) or sorted(path.parent for path in folder.glob("*/*/*/config.yaml"))


def _cell(folder: Path, root: Path, problems: list[str]) -> Cell | None:
    run, status, error = read_result(folder)
    place = folder.relative_to(root) if folder != root else folder
    try:
        config = read_config(folder)
    except RecordError as broken:
        problems.append(f"{place}: {said_of(broken, folder)}; it is left out")
        return None
    if status == DAMAGED:
        problems.append(f"{place}: {error}; it is left out")
    seed = int(config.get("seed", 0))
    return Cell(str(config.get("data.type", "?")), "", seed, folder, status, run, error)


def _key(config: Settings) -> str:
    return json.dumps(settings_of(config), sort_keys=True, default=str)


def _differing(settings: Sequence[Settings]) -> list[str]:
    """Return the settings in which groups differ; of those of several layers that are alike, the first."""
    keys = dict.fromkeys(key for own in settings for key in own)
    columns: dict[tuple[str, str], str] = {}
    for key in keys:
        column = [_text(own, key) for own in settings]
        if len(set(column)) > 1:
            columns.setdefault((key.rpartition(".")[2], json.dumps(column)), key)
    return list(columns.values())


def _differs(own: Settings, settings: Sequence[Settings]) -> list[str]:
    return [f"{key}={_text(own, key)}" for key in _differing(settings)]


def _kinds(settings: Sequence[Settings], keys: Sequence[str]) -> int:
    return len({tuple(_text(own, key) for key in keys) for own in settings})


def _text(own: Settings, key: str) -> str:
    value = own.get(key, "-")
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _short(key: str) -> str:
    return key.removeprefix("model.layers.")
