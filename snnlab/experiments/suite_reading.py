"""Reads a suite's folder, or a folder of runs, as runs of methods on datasets; unreadable files are listed."""

from __future__ import annotations

import json
import lzma
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from snnlab.errors import ConfigError, RunFolderError, one_line
from snnlab.files import folders_at, read_text
from snnlab.printable import printable_data
from snnlab.runs.recorded import RecordedRun, RunFiles, find_runs, read_run_if_ended, reading_record
from snnlab.runs.run_folder import CONFIG
from snnlab.runs.runs_table import (
    DAMAGED,
    differing_settings,
    distinguishing_names,
    group_by,
    training_key,
    training_settings,
)
from snnlab.spec.interval import above
from snnlab.spec.signatures import check_settings
from snnlab.yaml_files import read_yaml


@dataclass(frozen=True)
class Energy:
    """Energy constants of an operation, for an estimate that is no measurement.

    Left out are memory, which takes more than arithmetic on most chips, membranes and communication.

    Args:
        mac_pj: Energy of a multiplication and an addition, pJ.
        ac_pj: Energy of an addition, pJ.
        source: Source of the numbers.
    """

    mac_pj: Annotated[float, "pJ", above(0)] = 4.6
    ac_pj: Annotated[float, "pJ", above(0)] = 0.9
    source: str = "32-bit floats in 45 nm: Horowitz, ISSCC 2014"

    def __str__(self) -> str:
        return (
            f"estimate, not measured: {self.mac_pj:g} pJ a MAC and {self.ac_pj:g} pJ an AC ({self.source}); without"
            " memory, membranes and communication"
        )


def energy_of(node: Mapping[str, Any] | None, place: str) -> Energy:
    """Return the constants of a suite's `energy`; None gives the defaults."""
    try:
        check_settings(Energy, node or {}, f"{place}.energy", "energy")
    except ConfigError as error:
        raise RunFolderError(error.place, error.message, error.hint, error.allowed) from error
    return Energy(**(node or {}))


SUITE_PAGE, SUITE_STATE, SUITE_SCHEMA = "suite.yaml", "suite.json", 1


@dataclass(frozen=True)
class SuiteRun:
    """One run of a suite as it was found.

    Attributes:
        status: completed, failed, interrupted, missing, running or damaged.
        recorded: The recorded run; None if it cannot be used.
        error: The reason why there is none, or None.
        tuned: {trials, val_size, values} if its settings were tuned, or None.
        wall_s: Wall time, s.
    """

    dataset: str
    method: str
    seed: int
    folder: Path
    status: str
    recorded: RecordedRun | None = None
    error: str | None = None
    tuned: Mapping[str, Any] | None = None
    wall_s: float | None = None

    @property
    def tested(self) -> bool:
        """True if it has test results."""
        return self.status == "completed" and any(key.startswith("test/") for key in self.metrics)

    @property
    def metrics(self) -> Mapping[str, float]:
        """The flat metrics of the run; empty if there is none."""
        return {} if self.recorded is None else self.recorded.metrics

    def part(self, name: str) -> Mapping[str, Any]:
        """Return a part of the result, such as `provenance`; empty if there is none."""
        return {} if self.recorded is None else self.recorded.content.get(name) or {}

    @property
    def settings(self) -> dict[str, Any]:
        """The run's settings by dotted keys."""
        return (self.recorded or RunFiles(self.folder)).settings


GIVEN = "given"
"""The role of a method whose weights come from a file: they are evaluated, and nothing is trained."""


@dataclass(frozen=True)
class MethodInfo:
    """A method's role (method, baseline or given), its note, and its differences from others, a line each."""

    role: str = "method"
    note: str | None = None
    differs: Sequence[str] = ()


@dataclass(frozen=True)
class RecordedSuite:
    """The content of a suite's folder, from which its tables are made.

    Attributes:
        methods: The methods by name, in order.
        command: The command that started it, or None.
        energy: Constants of the energy estimate.
        tune: The settings of tuning, or None.
        match: The quantity that methods should have in common, or None.
        matched: By dataset and method, {value, off, beyond}.
        controls: {name, dataset, method, passed, said} each.
        published: Published results of others, as in the suite's settings.
        looks: By dataset, the number of seeds of each method at each interim look.
        problems: What could not be read, a line each.
    """

    name: str
    runs: Sequence[SuiteRun]
    methods: Mapping[str, MethodInfo]
    command: str | None = None
    energy: Energy = field(default_factory=Energy)
    tune: Mapping[str, Any] | None = None
    match: Mapping[str, Any] | None = None
    matched: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    controls: Sequence[Mapping[str, Any]] = ()
    published: Sequence[Mapping[str, Any]] = ()
    looks: Mapping[str, Sequence[Mapping[str, int]]] = field(default_factory=dict)
    problems: Sequence[str] = ()


def relative_run_folder(dataset: str, method: str, seed: int) -> str:
    """Return a run's folder, relative to the suite's folder."""
    return f"runs/{dataset}/{method}/{seed}"


def read(folder: Path) -> RecordedSuite:
    """Read a suite's folder, with its runs in any state, or a folder of runs.

    Raises:
        RunFolderError: if its records cannot be read or another version wrote them, or the folder has no run.
    """
    unpack_runs(folder)
    content = read_suite_yaml(folder)
    if content is None:
        return _read_runs(folder)
    with reading_record(folder, f"restore {SUITE_PAGE} and {SUITE_STATE} from a copy"):
        return _read_suite(folder, content)


PACKED = "runs.tar.xz"


def unpack_runs(folder: Path) -> None:
    """Unpack the runs of a published suite beside their archive, if they are not there."""
    archive, runs = folder / PACKED, folder / "runs"
    if runs.is_dir() or not archive.is_file():
        return
    try:
        with TemporaryDirectory(dir=folder) as temporary, tarfile.open(archive) as file:
            file.extractall(temporary, filter="data")
            (Path(temporary) / runs.name).rename(runs)
    except (OSError, EOFError, tarfile.TarError, lzma.LZMAError) as error:
        raise RunFolderError(archive, f"cannot be unpacked ({one_line(error)})", "restore it from a copy") from error


def steps_of(settings: Mapping[str, Any]) -> int | None:
    """Return the number of steps of a recording or a window; None if the settings, by dotted keys, do not say it."""
    found = (settings.get(f"data.{name}") for name in ("duration_ms", "num_bins", "dt"))
    duration, bins, dt = (value if isinstance(value, int | float) else None for value in found)
    if dt is not None and duration is not None:
        return round(duration / dt)
    return None if bins is None else int(bins)


def _read_suite(folder: Path, content: Mapping[str, Any]) -> RecordedSuite:
    problems: list[str] = []
    state = _read_suite_state(folder, problems)
    # A published suite has the runs that were chosen, and plans none.
    published = [entry for entry in state.get("cells") or () if entry.get("control") is None]
    entries = published if (folder / PACKED).is_file() else _run_entries(content, state)
    runs = [_run_of_entry(folder, entry, problems) for entry in entries]
    methods = {
        name: MethodInfo(node.get("role", "method"), node.get("note"), list(node.get("overrides") or ()))
        for name, node in content["methods"].items()
    }
    return RecordedSuite(
        content.get("name") or folder.name,
        runs,
        methods,
        content.get("command"),
        energy_of(content.get("energy"), str(folder / SUITE_PAGE)),
        content.get("tune"),
        content.get("match"),
        state.get("match") or {},
        state.get("controls") or (),
        content.get("published") or (),
        state.get("looks") or {},
        problems,
    )


def _read_runs(folder: Path) -> RecordedSuite:
    """Read the runs below a folder, up to a suite's depth, as methods that are named by their differences."""
    problems: list[str] = []
    folders = list(find_runs(folder)) or sorted(run for run in folders_at(folder, 3) if os.path.isfile(run / CONFIG))
    found = [run for each in folders if (run := _run_of_folder(each, folder, problems)) is not None]
    if not found:
        reason = f": {problems[0]}" if problems else ""
        raise RunFolderError(folder, f"is not a suite's folder and has no run that can be read{reason}")
    groups = list(group_by(found, lambda run: training_key(run.settings)).values())
    settings = [training_settings(runs[0].settings) for runs in groups]
    names, columns = distinguishing_names(settings), differing_settings(settings)
    runs = [replace(one, method=name) for name, of in zip(names, groups, strict=True) for one in of]
    methods = {
        name: MethodInfo(differs=[f"{key}={values[index]}" for key, values in columns.items()])
        for index, name in enumerate(names)
    }
    return RecordedSuite(folder.resolve().name, runs, methods, problems=problems)


def _run_of_folder(folder: Path, root: Path, problems: list[str]) -> SuiteRun | None:
    run, status, error = _read_result(folder)
    shown = folder.relative_to(root) if folder != root else folder
    try:
        settings = (run or RunFiles(folder)).settings
    except RunFolderError as broken:
        problems.append(f"{shown}: {broken.of(folder)}; it is left out")
        return None
    if status == DAMAGED:
        problems.append(f"{shown}: {error}; it is left out")
    return SuiteRun(str(settings.get("data.type", "?")), "", int(settings.get("seed", 0)), folder, status, run, error)


def _run_of_entry(root: Path, entry: Mapping[str, Any], problems: list[str]) -> SuiteRun:
    folder = root / entry["folder"]
    run, status, error = _read_result(folder)
    if status == DAMAGED:
        problems.append(f"{entry['folder']}: {error}; it is left out")
    elif run is None and entry.get("status") == "failed":
        status = "failed"
    error = error or entry.get("error")
    names = (entry["dataset"], entry["method"], int(entry["seed"]))
    return SuiteRun(*names, folder, status, run, error, entry.get("tuned"), entry.get("wall_s"))


def _read_result(folder: Path) -> tuple[RecordedRun | None, str, str | None]:
    """Return a run's record, its status, and its error."""
    try:
        run = read_run_if_ended(folder)
        if run is not None and run.status == "completed":
            run.check_files()
    except RunFolderError as error:
        return None, DAMAGED, str(error.of(folder).with_fields(hint=""))
    if run is None:
        begun = (folder / CONFIG).is_file()
        return None, "running" if begun else "missing", "has not ended" if begun else None
    return run, run.status, run.content.get("error")


def read_suite_yaml(folder: Path) -> dict[str, Any] | None:
    """Return the content of a suite's `suite.yaml`; None if there is none.

    Raises:
        RunFolderError: if it cannot be read, or another version wrote it.
    """
    path = folder / SUITE_PAGE
    if not path.is_file():
        return None
    with reading_record(path, "restore it from a copy"):
        content = read_yaml(path)
        if content.get("schema") != SUITE_SCHEMA or not content["methods"]:
            message = f"was not written by this version of snnlab (schema {SUITE_SCHEMA})"
            raise RunFolderError(path, message, "folder=FOLDER starts another suite")
    return content


def _read_suite_state(folder: Path, problems: list[str]) -> Mapping[str, Any]:
    """Return the content of `suite.json`; empty if it cannot be read: then the runs' folders say what there is."""
    path = folder / SUITE_STATE
    if not path.is_file():
        return {}
    try:
        with reading_record(path, "its tuning and controls are not shown"):
            state = printable_data(json.loads(read_text(path)))
            if state["schema"] != SUITE_SCHEMA:
                raise ValueError(f"it is not of schema {SUITE_SCHEMA}")
    except RunFolderError as error:
        problems.append(str(error.of(folder)))
        return {}
    return state


def _run_entries(content: Mapping[str, Any], state: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield each run of the suite with its recorded state; controls are left out."""
    known = {entry["folder"]: entry for entry in state.get("cells") or () if entry.get("control") is None}
    for dataset in content.get("datasets") or {}:
        for method, node in content["methods"].items():
            if (only := node.get("datasets")) is not None and dataset not in only:
                continue
            for seed in (content.get("seeds") or ())[: 1 if node.get("role") == GIVEN else None]:
                folder = relative_run_folder(dataset, method, seed)
                yield {"dataset": dataset, "method": method, "seed": seed, "folder": folder, **known.get(folder, {})}


def latest_per_seed(runs: Iterable[SuiteRun]) -> tuple[list[SuiteRun], list[int]]:
    """Return the last tested run of each seed, or else its last run; and the seeds that have several runs."""
    seeds = sorted(group_by(runs, lambda run: run.seed).items())
    kept = [([run for run in of if run.tested] or of)[-1] for _, of in seeds]
    return kept, [seed for seed, of in seeds if len(of) > 1]
