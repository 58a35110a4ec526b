"""`suite.yaml` and `suite.json`: the settings of a suite and the state of each run."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf

from snnlab.errors import ConfigError, RunFolderError, VersionError
from snnlab.experiments.suite_plan import RunSpec, SuitePlan
from snnlab.experiments.suite_reading import (
    SUITE_PAGE,
    SUITE_SCHEMA,
    SUITE_STATE,
)
from snnlab.experiments.suite_settings import Method, Suite, SuiteSelection
from snnlab.files import files_below, read_text, unwritable, write_json, write_text
from snnlab.runs.recorded import read_run_if_usable
from snnlab.runs.run_folder import CHECKPOINTS, CONFIG
from snnlab.spec.override_texts import key_of

_log = logging.getLogger(__name__)


def is_begun(folder: Path) -> bool:
    """Return whether a suite's folder has a run; before that, its settings may still change."""
    files = chain.from_iterable(files_below(folder / part) for part in ("runs", "controls"))
    return any(path.name == CONFIG for path in files) or (folder / "tune").exists()


def make_suite_folder(folder: Path) -> None:
    """Create a suite's folder if it does not exist."""
    for path in (folder, *folder.parents):
        if (path / CHECKPOINTS).is_dir() and (path / CONFIG).is_file():
            raise RunFolderError("folder", f"{path} is the folder of a run", "name another one for the suite")
    if (folder / "sweep.yaml").is_file():
        raise RunFolderError("folder", f"{folder} is the folder of a search", "name another one for the suite")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error, "folder") from error


def write_suite_yaml(plan: SuitePlan) -> None:
    """Write `suite.yaml`."""
    try:
        write_text(
            plan.folder / SUITE_PAGE, OmegaConf.to_yaml(OmegaConf.create({"schema": SUITE_SCHEMA, **plan.to_dict()}))
        )
    except OSError as error:
        raise unwritable(plan.folder, error, "folder") from error


def unite_suite(suite: Suite, selection: SuiteSelection, content: Mapping[str, Any] | None) -> Suite:
    """Return a suite that unites the selected parts with the content of its folder.

    Args:
        selection: The selected methods and datasets.
        content: The content of the folder's `suite.yaml`, or None.
    """
    before: Mapping[str, Any] = content or {"methods": {}, "datasets": {}, "seeds": []}
    methods = {
        name: suite.methods[name] if name in suite.methods else Method(**before["methods"][name])
        for name in [*suite.methods, *before["methods"]]
        if name in before["methods"] or selection.methods is None or name in selection.methods
    }
    datasets = {
        name: suite.datasets[name] if name in suite.datasets else before["datasets"][name]
        for name in [*suite.datasets, *before["datasets"]]
        if name in before["datasets"] or selection.datasets is None or name in selection.datasets
    }
    seeds = list(dict.fromkeys([*before["seeds"], *suite.seeds]))
    return replace(suite, methods=methods, datasets=datasets, seeds=seeds)


def require_same_settings(plan: SuitePlan, content: Mapping[str, Any], free: Collection[str]) -> None:
    """Refuse settings that differ from those of the runs in the folder.

    Args:
        content: The content of the folder's `suite.yaml`.
        free: Settings that may differ, such as the folder of the recordings.
    """
    now = plan.to_dict()
    for name, method in now["methods"].items():
        old = content["methods"].get(name)
        if old is not None:
            _require_equal(plan, f"methods.{name}", old["overrides"], method["overrides"], free)
            _require_equal(plan, f"methods.{name}.tune", [str(old.get("tune"))], [str(method["tune"])], free)
    for name, overrides in now["datasets"].items():
        if name in content["datasets"]:
            _require_equal(plan, f"datasets.{name}", content["datasets"][name], overrides, free)
    _require_equal(plan, "common", content["common"], now["common"], free)
    _require_equal(plan, "tune", [str(content["tune"])], [str(_to_plain(now["tune"]))], free)


def _require_equal(plan: SuitePlan, place: str, old: Sequence[str], new: Sequence[str], free: Collection[str]) -> None:
    one, other = ([text for text in texts if key_of(text) not in free] for texts in (old, new))
    if one != other:
        differs = [text for text in [*one, *other] if text not in one or text not in other] or other
        raise ConfigError(
            plan.folder,
            f"was started with other settings ({place}: {differs[0]})",
            "folder=FOLDER starts another suite",
        )


def _to_plain(node: Any) -> Any:
    return OmegaConf.to_container(OmegaConf.create(dict(node))) if isinstance(node, Mapping) else node


DAMAGED = "suite_damaged.json"
Status = Literal["completed", "failed", "missing", "running"]


@dataclass
class RunState:
    """The state of a run.

    Attributes:
        status: `missing`: not trained yet, or there are no recordings.
        error: The reason why it failed or is missing, or None.
        wall_s: Wall time, s; of a resumed run, the time since it was resumed.
        tuned: {trials, val_size, values}, or None.
        foreign: Whether its folder holds a run of another version; it is not changed.
    """

    status: Status = "missing"
    error: str | None = None
    wall_s: float | None = None
    tuned: dict[str, Any] | None = None
    foreign: bool = False


@dataclass
class TimeSpent:
    """The time that a suite has taken, in seconds.

    Attributes:
        trainings_s: Sum over all runs, as `snnlab train` would take.
        overhead_s: Time in which the suite ran and none of its runs did.
    """

    trainings_s: float = 0.0
    overhead_s: float = 0.0


@dataclass
class SuiteState:
    """The state of a suite: the states of all its runs, and what follows from them.

    Attributes:
        states: The states by planned run.
        match: By dataset and method: {value, off, beyond}.
        controls: {name, dataset, method, passed, said} each.
        looks: By dataset, the number of seeds of each method at each interim look (each time a table was shown).
        damaged: Whether `suite.json` cannot be read; it is renamed before a new one is written.
    """

    folder: Path
    states: dict[RunSpec, RunState]
    match: dict[str, dict[str, Any]] = field(default_factory=dict)
    controls: list[dict[str, Any]] = field(default_factory=list)
    spent: TimeSpent = field(default_factory=TimeSpent)
    looks: dict[str, list[dict[str, int]]] = field(default_factory=dict)
    damaged: bool = False

    def count(self, status: Status, run_specs: Sequence[RunSpec] | None = None) -> int:
        """Return the number of runs with a status, among `run_specs`; None: among all runs."""
        return sum(self.states[spec].status == status for spec in (self.states if run_specs is None else run_specs))

    def record_look(self) -> None:
        """Record an interim look: the number of seeds of each method, as a table of them is shown now."""
        found: dict[str, dict[str, int]] = {}
        for spec, state in self.states.items():
            if spec.control is None and state.status == "completed":
                of_dataset = found.setdefault(spec.dataset, {})
                of_dataset[spec.method] = of_dataset.get(spec.method, 0) + 1
        for dataset, seeds in found.items():
            earlier = self.looks.setdefault(dataset, [])
            if seeds not in earlier:
                earlier.append(seeds)

    def write(self) -> None:
        """Write `suite.json`."""
        run_specs = [
            {
                **{"dataset": spec.dataset, "method": spec.method, "seed": spec.seed, "control": spec.control},
                **{"folder": spec.folder, **asdict(state)},
            }
            for spec, state in self.states.items()
        ]
        content = {
            "cells": run_specs,
            "match": self.match,
            "controls": self.controls,
            "spent": asdict(self.spent),
            "looks": self.looks,
        }
        if self.damaged:
            (self.folder / SUITE_STATE).rename(self.folder / DAMAGED)
            self.damaged = False
        write_json(self.folder / SUITE_STATE, {"schema": SUITE_SCHEMA, **content})


def load_suite_state(folder: Path, run_specs: Sequence[RunSpec]) -> SuiteState:
    """Return a suite's state from the folders of its runs and the last `suite.json`.

    Raises:
        RunFolderError: if another version wrote `suite.json`.
    """
    found = _read_state_file(folder)
    content = found or {}
    recorded = {entry["folder"]: entry for entry in content.get("cells", [])}
    suite_state = SuiteState(
        folder, {spec: _state_of_run(folder, spec, recorded.get(spec.folder)) for spec in run_specs}
    )
    suite_state.match, suite_state.controls = dict(content.get("match", {})), list(content.get("controls", []))
    suite_state.spent = TimeSpent(**content.get("spent", {}))
    suite_state.looks = {dataset: list(looks) for dataset, looks in content.get("looks", {}).items()}
    suite_state.damaged = found is None
    return suite_state


def _state_of_run(folder: Path, spec: RunSpec, recorded: Mapping[str, Any] | None) -> RunState:
    recorded = recorded or {}
    state = RunState(tuned=recorded.get("tuned"), wall_s=recorded.get("wall_s"))
    try:
        run = read_run_if_usable(folder / spec.folder)
    except VersionError as error:
        state.status, state.foreign = "failed", True
        state.error = f"{error.of(folder)}; remove {spec.folder}"
        return state
    if run is None:
        status = recorded.get("status")
        state.error = recorded.get("error") if status in ("failed", "missing") else None
        state.status = "failed" if status == "failed" else "missing"
        return state
    if run.status == "completed":
        state.status = "completed"
        state.wall_s = state.wall_s or run.timing.get("fit_s")
    elif run.status == "failed":
        state.status, state.error = "failed", run.content.get("error") or recorded.get("error")
    return state


def _read_state_file(folder: Path) -> dict[str, Any] | None:
    """Return the content of `suite.json`; {} if there is none, None if it is damaged."""
    path = folder / SUITE_STATE
    if not path.is_file():
        return {}
    try:
        content = json.loads(read_text(path))
    except ValueError:
        _log.warning("%s is damaged; the state of the runs is read from their folders", path)
        return None
    if not isinstance(content, dict) or content.get("schema") != SUITE_SCHEMA:
        raise RunFolderError(path, "was not written by this version of snnlab", "folder=FOLDER starts another")
    return content
