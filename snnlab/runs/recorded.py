"""Reads the files of a run folder, which `snnlab.runs.run_folder` writes.

A file that cannot be parsed, or lacks what every run has, is damaged; `snnlab.training.checkpoints` opens checkpoints.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, fields
from functools import cache, cached_property
from io import StringIO
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import yaml

from snnlab.bundles import is_bundle
from snnlab.errors import DamagedError, RunFolderError, SnnlabError, VersionError, one_line
from snnlab.files import folders_at, load_array, load_arrays, read_text
from snnlab.printable import printable, printable_data
from snnlab.runs.run_folder import (
    CHECKPOINTS,
    CONFIG,
    EARLIER_RESULT,
    HOT_PIXELS,
    METRICS,
    PREDICTIONS,
    RESULT,
    SCHEMA_VERSION,
    SPLIT,
    TRAINED_ON,
    CheckpointName,
    Result,
    earlier_configs,
)
from snnlab.yaml_files import read_yaml, yaml_problem

# What each result has.
_RESULT_TYPES = {"status": str, "seed": int, "metrics": dict, "provenance": dict}
# A reference to another value of the same file.
_REFERENCE = re.compile(r"\$\{([A-Za-z_][\w.]*)\}")


def resolve_references(raw: Any) -> Any:
    """Return values with references to each other resolved; other references stay as they are."""
    return _resolve(raw, raw)


def _resolve(node: Any, root: Any) -> Any:
    if isinstance(node, Mapping):
        return {str(key): _resolve(value, root) for key, value in node.items()}
    if isinstance(node, list):
        return [_resolve(value, root) for value in node]
    found = _REFERENCE.fullmatch(node) if isinstance(node, str) else None
    if found is None:
        return node
    target = root
    for key in found[1].split("."):
        target = target.get(key) if isinstance(target, Mapping) else None
    return node if target is None or isinstance(target, Mapping | list) else target


def flat(node: Any, place: str = "") -> dict[str, Any]:
    """Return the values of nested mappings by dotted keys; lists stay whole."""
    if not isinstance(node, Mapping):
        return {place: node}
    found: dict[str, Any] = {}
    for key, value in node.items():
        found |= flat(value, f"{place}.{key}" if place else str(key))
    return found


@dataclass(frozen=True)
class RunFiles:
    """The files of a run's folder, also of a run that has not ended; each is read when it is asked for.

    Attributes:
        folder: The run's folder.
    """

    folder: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """Content of `config.yaml`, nested; nothing in it is resolved or imported. Raises a DamagedError."""
        path = self.folder / CONFIG
        with _reading(path):
            config = read_yaml(path)
            if not isinstance(config["data"], dict) or not isinstance(config["model"]["layers"], dict):
                raise ValueError("it is not the configuration of a run")
        return config

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The settings of `config.yaml` by dotted keys, with references to its own values resolved."""
        return flat(resolve_references(self.config))

    @property
    def config_text(self) -> str:
        """The text of `config.yaml`."""
        return (self.folder / CONFIG).read_text(encoding="utf-8")

    @property
    def config_texts(self) -> list[str]:
        """The texts of `config.yaml`, and of the earlier ones of a run that was resumed with other settings."""
        earlier = earlier_configs(self.folder)
        return [self.config_text, *(path.read_text(encoding="utf-8") for path in earlier)]

    def has(self, name: str) -> bool:
        """Return whether a file exists."""
        return (self.folder / name).is_file()

    def checkpoint(self, name: CheckpointName) -> Path:
        """Return the path of a checkpoint, which may not exist."""
        return self.folder / CHECKPOINTS / f"{name}.ckpt"

    def epoch_rows(self) -> list[dict[str, str]]:
        """Return the rows of `metrics.csv`, as text."""
        return read_rows(self.folder / METRICS)

    def epochs(self) -> dict[str, np.ndarray]:
        """Return the columns of `metrics.csv`, one row per epoch, NaN for missing values. Raises a DamagedError."""
        with _reading(self.folder / METRICS):
            columns = columns_of(self.epoch_rows())
            if "epoch" not in columns:
                raise ValueError("it has no column epoch")
        return columns

    def predictions(self) -> dict[str, np.ndarray]:
        """Return the arrays of `predictions.npz`. Raises a DamagedError."""
        return _read_predictions(self.folder / PREDICTIONS)

    def split(self) -> dict[str, Any]:
        """Return the content of `split.json`; empty without the file. Raises a DamagedError."""
        path = self.folder / SPLIT
        if not path.is_file():
            return {}
        with _reading(path):
            content = _read_json(path)
            _ = [len(content[part]) for part in ("train", "val", "test")]
        return content

    def class_names(self, number: int) -> list[str] | None:
        """Return the names of the classes, or None if they have no names. Raises a DamagedError."""
        with _reading(self.folder / SPLIT):
            names = self.split().get("classes")
            if names is not None and len(names) != number:
                raise ValueError(f"it names {len(names)} classes, but the network has {number}")
        return names if names is None else [str(name) for name in names]

    def trained_on(self) -> np.ndarray | None:
        """Return the checksums of the training recordings, uint64 `[N]`; None without the file."""
        path = self.folder / TRAINED_ON
        if not path.exists():
            return None
        with _reading(path):
            hashes = load_array(path)
            if hashes.ndim != 1 or hashes.dtype != np.uint64:
                raise ValueError("it was not written by a run")
        return hashes

    def hot_pixels(self, number: int) -> list[int]:
        """Return the indices y * W + x of the hot pixels, of `number` pixels."""
        path = self.folder / HOT_PIXELS
        if not path.exists():
            problem = "is missing, and the network was trained without the pixels that it lists"
            raise RunFolderError(path, problem, "copy the run's own file back, or train again")
        with _reading(path):
            return [range(number).index(pixel) for pixel in _read_json(path)["pixels"]]

    def check_files(self) -> None:
        """Read all existing files that `snnlab train` wrote, except the checkpoints; raise a DamagedError."""
        _ = self.config
        self.split()
        if self.has(METRICS):
            self.epochs()
        path = self.folder / PREDICTIONS
        if path.is_file():
            status = path.stat()
            _check_predictions(path.absolute(), status.st_mtime_ns, status.st_size)


@dataclass(frozen=True)
class RecordedRun(RunFiles):
    """The recorded result of a completed, failed or interrupted run, and its other files.

    Attributes:
        content: Content of `result.json`.
    """

    content: dict[str, Any] = field(repr=False)

    @property
    def status(self) -> str:
        """Status: completed, failed or interrupted."""
        return self.content["status"]

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.content["seed"]

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics such as `test/accuracy` and `val/loss`, without those that are not finite numbers."""
        return {name: value for name, value in self.content["metrics"].items() if value is not None}

    @property
    def selection(self) -> dict[str, Any]:
        """Rule, epoch and sizes of the selection; empty for a run that failed before the end."""
        return self.content.get("selection") or {}

    @property
    def timing(self) -> dict[str, Any]:
        """Seconds, samples per second, memory."""
        return self.content.get("timing") or {}

    @property
    def provenance(self) -> dict[str, Any]:
        """Versions, git state, device, and hashes of configuration, data and split."""
        return self.content["provenance"]

    @property
    def weights(self) -> Mapping[str, str]:
        """Hashes of the weights of the checkpoints, by their names."""
        return self.content.get("weights") or {}

    @property
    def resumed(self) -> list[dict[str, Any]]:
        """One entry for each time the run was resumed: `epoch`, `batch`, `at`, `changed` settings."""
        return self.content.get("resumed") or []

    @property
    def name(self) -> str:
        """Name of the experiment."""
        if value := self.content.get("name"):
            return value
        with suppress(RunFolderError):
            if isinstance(value := self.config.get("name"), str):
                return value
        return self.folder.absolute().parent.name

    @property
    def imported(self) -> Mapping[str, Any] | None:
        """Where the network was imported from; None if it was trained here."""
        return self.provenance.get("imported")

    def required(self, key: str) -> Any:
        """Return an entry of the provenance that must exist."""
        with _reading(self.folder / RESULT):
            if (value := self.provenance.get(key)) is None:
                raise KeyError(f"provenance.{key}")
        return value

    @property
    def tested_recordings(self) -> list[int]:
        """The tested recordings, in their order; empty if they are not known."""
        if self.has(SPLIT) or not self.has(PREDICTIONS):
            return self.split().get("test") or []
        return list(dict.fromkeys(self.predictions().get("test_recording", np.zeros(0, int)).tolist()))

    @cached_property
    def test_list_hash(self) -> str | None:
        """Hash of the tested recordings; without their list that of the whole split, None if that is not known either.

        The hash of a split may differ for equal test recordings, but is never equal for different ones.
        """
        if found := self.tested_recordings:
            return hashlib.sha256(json.dumps(found).encode()).hexdigest()
        return self.provenance.get("split_hash")

    def result(self) -> Result:
        """Return the result, to be written again."""
        known = {one.name for one in fields(Result)} - {"folder"}
        stored = {key: value for key, value in self.content.items() if key in known}
        return Result(self.folder, **{**stored, "name": self.name})


def require_no_file(run: Path) -> None:
    """Raise a RunFolderError if the path of a run is that of a file."""
    if run.is_file():
        is_graph = run.suffix == ".nir"
        hint = "snnlab import makes a run's folder of it" if is_graph else f"name the run's folder, {run.parent}"
        raise RunFolderError(run, "is a file", hint)


def read_run(folder: Path) -> RecordedRun:
    """Read a run's result; raise a DamagedError, or a VersionError if another version of snnlab wrote it."""
    require_no_file(folder)
    path = folder / RESULT
    if not path.is_file():
        what = "this run has not ended" if (folder / CONFIG).is_file() else "is not a run folder"
        raise RunFolderError(folder, f"{what}, there is no {RESULT} in it")
    return RecordedRun(folder, read_result(path))


def read_result(path: Path) -> dict[str, Any]:
    """Return the content of a `result.json`, or of an earlier one; raises as `read_run`."""
    with _reading(path):
        content = _read_json(path)
        _check_form(path, content)
        for key, kind in _RESULT_TYPES.items():
            if not isinstance(content[key], kind):
                raise ValueError(f"{key} is not that of a run")
        if not all(value is None or math.isfinite(value) for value in content["metrics"].values()):
            raise ValueError("a metric is not a finite number")
    return content


def _check_form(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse a result of another form; one without a version has the first."""
    if (version := content.get("schema_version", SCHEMA_VERSION)) != SCHEMA_VERSION:
        raise VersionError(path, f"has schema version {version}, but this snnlab reads {SCHEMA_VERSION}")


def require_form(folder: Path) -> None:
    """Refuse a run that another version of snnlab recorded: its configuration may mean something else."""
    path = folder / RESULT
    with suppress(DamagedError), _reading(path):  # a damaged result is an error where it is needed
        _check_form(path, _read_json(path))


def read_run_if_ended(folder: Path) -> RecordedRun | None:
    """Read a run's result as `read_run`, or return None if the run has not ended."""
    return read_run(folder) if (folder / RESULT).is_file() else None


def read_run_if_usable(folder: Path) -> RecordedRun | None:
    """Read a run's result, or return None if the run has not ended or its result is damaged.

    Raises:
        VersionError: if another version of snnlab wrote it.
    """
    with suppress(DamagedError):
        return read_run_if_ended(folder)
    return None


def find_runs(root: Path) -> Iterator[Path]:
    """Yield the run folders below `root`, oldest first, including runs that have not ended.

    Args:
        root: A folder such as `outputs`, or one run folder.
    """
    if is_run(root):
        yield root
        return
    found = filter(is_run, [*folders_at(root, 1), *folders_at(root, 2)])
    yield from sorted(found, key=lambda path: (path.name, path.parent.name))


def is_run(folder: Path) -> bool:
    """Return whether a folder looks like a run folder, by the names of its files only."""
    # Not pathlib's methods: these raise an error in a folder that may not be entered.
    has_config = os.path.isfile(folder / CONFIG)
    return has_config and any(os.path.exists(folder / name) for name in (CHECKPOINTS, RESULT, SPLIT))


def is_readable_run(folder: Path) -> bool:
    """Return whether a folder is a run folder with at least one valid file."""

    def can_read(read: Any) -> bool:
        try:
            return bool(read())
        except VersionError:
            return True
        except RunFolderError:
            return False

    files = RunFiles(folder)
    return is_run(folder) and any(map(can_read, (lambda: read_run(folder), lambda: files.config, files.split)))


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a `metrics.csv`, as text."""
    return list(csv.DictReader(StringIO(read_text(path), newline="")))


def columns_of(rows: Sequence[Mapping[str, str]]) -> dict[str, np.ndarray]:
    """Return rows of metrics as columns, NaN for missing values.

    Raises:
        ValueError: if a row is longer than the header, or a value is no number.
        TypeError: if a row is shorter than the header.
    """
    names = list(rows[0]) if rows else []
    if None in names:
        raise ValueError("a row is longer than the header")
    return {printable(name): np.array([float(row[name] or "nan") for row in rows]) for name in names}


def _read_json(path: Path) -> Any:
    return printable_data(json.loads(read_text(path)))


@cache
def _check_predictions(path: Path, changed: int, size: int) -> None:
    """Read a `predictions.npz` only once until the file changes; a damaged one each time."""
    _read_predictions(path)


def _read_predictions(path: Path) -> dict[str, np.ndarray]:
    with _reading(path):
        arrays = load_arrays(path)
        for stage in ("val", "test"):
            lengths = {len(values) for name, values in arrays.items() if name.startswith(f"{stage}_")}
            # A published run has its answers, and no outputs.
            known = {f"{stage}_readout", f"{stage}_answer"} & arrays.keys() and f"{stage}_target" in arrays
            if lengths and not (known and len(lengths) == 1):
                raise ValueError(f"the arrays of {stage} do not belong together")
    return arrays


def _reading(path: Path) -> AbstractContextManager[None]:
    folder = path.parent
    if path.name == CONFIG:
        hint = f"restore it from a copy; the weights are still usable: {quote(f'init_from={folder}')}"
    elif is_bundle(folder):
        hint = "fetch the bundle again"
    elif path.name in (TRAINED_ON, HOT_PIXELS):
        hint = "restore it from a copy"
    else:
        hint = f"snnlab train {quote(f'resume={folder}')} writes it again"
    return reading_record(path, hint)


@contextmanager
def reading_record(path: Path, hint: str) -> Iterator[None]:
    """Report any error within as damage of a file that snnlab wrote.

    Args:
        hint: How to write it again, or what else to do.
    """
    try:
        yield
    except RunFolderError:
        raise
    except SnnlabError as error:
        raise DamagedError(path, error.message, hint) from error
    except yaml.YAMLError as error:
        raise DamagedError(path, yaml_problem(error), hint) from error
    except KeyError as error:
        raise DamagedError(path, f"{error.args[0]} is missing", hint) from error
    except Exception as error:
        raise DamagedError(path, one_line(error), hint) from error


def search_record(folder: Path) -> dict[str, Any] | None:
    """Return the record of the settings' search from a run's result, or from its last archived one; None if none."""
    return next((value for content in _all_results(folder) if (value := content.get("search"))), None)


def _all_results(folder: Path) -> Iterator[dict[str, Any]]:
    earlier = sorted(folder.glob(EARLIER_RESULT.format("*")), key=_archive_number, reverse=True)
    for path in (folder / RESULT, *earlier):
        try:
            if path.is_file():
                yield read_result(path)
        except RunFolderError:  # an unreadable result has no record of a search
            continue


def _archive_number(path: Path) -> int:
    return int(path.stem.rpartition("_")[2])
