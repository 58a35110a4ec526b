"""Reads the files of a run folder; the only place that decides whether such a file is valid."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from io import StringIO
from pathlib import Path
from shlex import quote
from sys import float_info
from typing import Any

import numpy as np
import yaml

from snnlab.errors import ConfigError, DamagedError, RunFolderError, VersionError, one_line
from snnlab.files import folders_at, load_arrays, read_text
from snnlab.printable import printable, printable_data
from snnlab.runs.run_folder import (
    CHECKPOINTS,
    CONFIG,
    DAMAGED_RESULT,
    EARLIER_RESULT,
    METRICS,
    PREDICTIONS,
    RESULT,
    SCHEMA_VERSION,
    SPLIT,
)
from snnlab.yaml_files import read_yaml

# A reference to another value of the same file.
_REFERENCE = re.compile(r"\$\{([A-Za-z_][\w.]*)\}")


def read_unresolved(path: Path) -> Any:
    """Return the content of a YAML file without resolving its references.

    Raises:
        ConfigError: if it is larger than any experiment.
        OSError: if it cannot be read.
        yaml.YAMLError: if it is no YAML.
    """
    return read_yaml(path)


def read_resolved(path: Path) -> Any:
    """Return the content of a run's `config.yaml` with references to its own values resolved; others stay as they are.

    Raises:
        ConfigError: if it is larger than any experiment.
        OSError: if it cannot be read.
        yaml.YAMLError: if it is no YAML.
    """
    return resolve_references(read_unresolved(path))


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


_NUMBER, _NONE = (int, float), (type(None),)
# The types of the values of result.json by dotted key, and the keys that must exist.
_TYPES: Mapping[str, tuple[type, ...]] = {
    "status": (str,),
    "seed": (int,),
    "name": (str, *_NONE),
    "metrics": (dict,),
    "selection": (dict, *_NONE),
    "selection.rule": (str,),
    "selection.val_rule": (str,),
    "selection.epoch": (int, *_NONE),
    **dict.fromkeys(("selection.epochs", *(f"selection.{part}_size" for part in ("train", "val", "test"))), (int,)),
    "timing": (dict, *_NONE),
    **{f"timing.{key}": (*_NUMBER, *_NONE) for key in ("fit_s", "samples_per_s", "peak_rss_mb", "peak_device_mb")},
    "provenance": (dict,),
    "provenance.packages": (dict,),
    "provenance.numerics": (dict,),
    "provenance.data_fingerprint": (str,),
    "provenance.split_hash": (str,),
    "resumed": (list, *_NONE),
    "control": (str, *_NONE),
    "search": (dict, *_NONE),
    "error": (str, *_NONE),
}
_COMMIT: Mapping[str, Any] = {"commit": str}
# Parts whose values may be null, or may be missing in an older run.
_FORMS: Mapping[str, Any] = {
    "provenance": {
        **{"git": _COMMIT, "working_folder": _COMMIT, "python": str, "packages": {"": str}, "device": str},
        **{"threads": int, "processes": {"": int}},
        "numerics": dict.fromkeys(("default_dtype", "float32_matmul_precision", "backend"), str),
    },
    "search": {"trials": int, "val_size": int},
}
_REQUIRED = ("status", "seed", "metrics", "provenance")
_TYPE_NAMES = {dict: "a mapping", list: "a list", str: "a text", int: "a whole number", float: "a number"}
_STAGES, _REQUIRED_ARRAYS = ("val", "test"), ("recording", "target", "readout")


@dataclass(frozen=True)
class RecordedRun:
    """The recorded result of a completed, failed or interrupted run.

    Attributes:
        folder: The run's folder.
        content: Content of `result.json`.
    """

    folder: Path
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
    def resumed(self) -> list[dict[str, Any]]:
        """One entry for each time the run was resumed: `epoch`, `batch`, `at`, `changed` settings."""
        return self.content.get("resumed") or []

    @property
    def name(self) -> str:
        """Name of the experiment."""
        if value := self.content.get("name"):
            return value
        try:
            value = self.config.get("name")
        except RunFolderError:
            value = None
        return value if isinstance(value, str) else self.folder.absolute().parent.name

    def required(self, key: str) -> Any:
        """Return an entry of the provenance that must exist.

        Raises:
            DamagedError: if it is missing.
        """
        if (value := self.provenance.get(key)) is None:
            raise _damaged_error(self.folder / RESULT, f"provenance.{key} is missing")
        return value

    @cached_property
    def config(self) -> dict[str, Any]:
        """Content of `config.yaml`, unresolved."""
        return read_config(self.folder)

    def epochs(self) -> dict[str, np.ndarray]:
        """Return the columns of `metrics.csv`, one row per epoch, NaN for missing values.

        Raises:
            DamagedError: if it cannot be read.
        """
        path = self.folder / METRICS
        try:
            rows = list(csv.DictReader(StringIO(read_text(path), newline="")))
            names = list(rows[0]) if rows else []
            if None in names:
                raise ValueError("a row is longer than the header")
            found = {printable(name): np.array([float(row[name] or "nan") for row in rows]) for name in names}
        except (OSError, ValueError, TypeError, csv.Error) as error:
            raise _damaged_error(path, error) from error
        if "epoch" not in found:
            raise _damaged_error(path, "it has no column epoch")
        return found

    def predictions(self) -> dict[str, np.ndarray]:
        """Return the arrays of `predictions.npz`.

        Raises:
            DamagedError: if it cannot be read, or has other content.
        """
        found, problem = read_arrays(self.folder / PREDICTIONS)
        if problem:
            raise _damaged_error(self.folder / PREDICTIONS, problem)
        return found

    def split(self) -> dict[str, Any]:
        """Return the content of `split.json`; empty if an older run has none."""
        return read_split(self.folder)

    def class_names(self, number: int) -> list[str] | None:
        """Return the names of the classes, or None if they have no names.

        Raises:
            DamagedError: if `split.json` cannot be read, or names other classes.
        """
        names = self.split().get("classes")
        if names is not None and len(names) != number:
            raise _damaged_error(self.folder / SPLIT, f"it names {len(names)} classes, but the network has {number}")
        return names

    def check_files(self) -> None:
        """Read all existing files that `snnlab train` wrote, except the checkpoints.

        Raises:
            DamagedError: for the first file that cannot be read.
        """
        _ = self.config
        self.split()
        if (self.folder / METRICS).is_file():
            self.epochs()
        path = self.folder / PREDICTIONS
        if path.is_file():
            status = path.stat()
            if problem := _predictions_error(path.absolute(), status.st_mtime_ns, status.st_size):
                raise _damaged_error(path, problem)


def read_split(folder: Path) -> dict[str, Any]:
    """Return the content of a run's `split.json`; empty if an older run has none.

    Raises:
        DamagedError: if it cannot be read, or has other content.
    """
    path = folder / SPLIT
    if not path.is_file():
        return {}
    content = _read_json(path)
    parts = content if isinstance(content, dict) else {}
    if not all(isinstance(parts.get(part), list) for part in ("train", "val", "test")):
        raise _damaged_error(path, "the lists train, val and test are missing")
    names = parts.get("classes")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise _damaged_error(path, "classes is not a list of names")
    return parts


def require_no_file(run: Path) -> None:
    """Raise a RunFolderError if the path of a run is that of a file."""
    if run.is_file():
        is_graph = run.suffix == ".nir"
        hint = "snnlab import makes a run's folder of it" if is_graph else f"name the run's folder, {run.parent}"
        raise RunFolderError(run, "is a file", hint)


def read_run(folder: Path) -> RecordedRun:
    """Read a run's result.

    Raises:
        DamagedError: if `result.json` is not valid.
        VersionError: if another version of snnlab wrote it.
        RunFolderError: if the folder is not a run folder, or the run has not ended.
    """
    require_no_file(folder)
    path = folder / RESULT
    if not path.is_file():
        what = "this run has not ended" if (folder / CONFIG).is_file() else "is not a run folder"
        raise RunFolderError(folder, f"{what}, there is no {RESULT} in it")
    return RecordedRun(folder, read_result(path))


def row_record_error(folder: Path) -> RunFolderError:
    """Return the error of a folder with the record of several seeds in place of a run."""
    return RunFolderError(folder, "is the record of a row, with several seeds", "snnlab bench compare reads it")


def read_result(path: Path) -> dict[str, Any]:
    """Return the content of a `result.json`, or of an earlier one; raises as `read_run`."""
    content = _read_json(path)
    if not isinstance(content, dict):
        raise _damaged_error(path, "it is not the result of a run")
    if "runs" in content:
        raise row_record_error(path.parent)
    _check_form(path, content)
    if problem := result_error(content):
        raise _damaged_error(path, problem)
    return content


def _check_form(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse a result of another form; one without a version has the first."""
    if (version := content.get("schema_version", SCHEMA_VERSION)) != SCHEMA_VERSION:
        raise VersionError(path, f"has schema version {version}, but this snnlab reads {SCHEMA_VERSION}")


def require_form(folder: Path) -> None:
    """Refuse a run that another version of snnlab recorded in another form: its configuration may mean something else.

    Raises:
        VersionError: naming both versions.
    """
    with suppress(DamagedError):  # no result yet, or a damaged one, which is an error where it is needed
        content = _read_json(folder / RESULT)
        if isinstance(content, dict):
            _check_form(folder / RESULT, content)


def read_run_if_ended(folder: Path) -> RecordedRun | None:
    """Read a run's result as `read_run`, or return None if the run has not ended."""
    return read_run(folder) if (folder / RESULT).is_file() else None


def is_imported(folder: Path) -> bool:
    """Return whether the network of a folder was imported from another project's file, not trained there."""
    found = read_run_if_ended(folder)
    return found is not None and "imported" in found.provenance


def read_config(folder: Path) -> dict[str, Any]:
    """Return a run's `config.yaml`; nothing in it is resolved or imported.

    Raises:
        DamagedError: if it is not a valid experiment.
    """
    path = folder / CONFIG
    try:
        config = read_yaml(path)
    except ConfigError as error:
        raise _damaged_error(path, error.message) from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise _damaged_error(path, one_line(error)) from error
    if not isinstance(config, dict) or not _is_experiment(config):
        raise _damaged_error(path, "it is not the configuration of a run")
    return config


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
    return is_run(folder) and any(map(_is_readable, (read_run, read_config, _read_split), [folder] * 3))


def _is_readable(read: Any, folder: Path) -> bool:
    try:
        read(folder)
    except VersionError:
        return True
    except RunFolderError:
        return False
    return True


def _read_split(folder: Path) -> None:
    if not RecordedRun(folder, {}).split():
        raise RunFolderError(folder, f"has no {SPLIT}")


def _is_experiment(config: Mapping[Any, Any]) -> bool:
    model = config.get("model")
    return isinstance(config.get("data"), dict) and isinstance(model, dict) and isinstance(model.get("layers"), dict)


def _read_json(path: Path) -> Any:
    try:
        return printable_data(json.loads(read_text(path)))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged_error(path, one_line(error)) from error


def result_error(content: Mapping[str, Any]) -> str | None:
    """Return the error in a `result.json` as text, or None."""
    if missing := [key for key in _REQUIRED if key not in content]:
        return f"{missing[0]} is missing"
    for key, types in _TYPES.items():
        part, _, name = key.rpartition(".")
        node = content.get(part) or {} if part else content
        if name in node and not _has_type(node[name], types):
            return f"{key} is not {_TYPE_NAMES[types[0]]}"
    numbers = (*_NUMBER, *_NONE)
    if invalid := [name for name, value in content["metrics"].items() if not _has_type(value, numbers)]:
        return f"metrics.{invalid[0]} is not a number"
    if other := [name for name, form in _FORMS.items() if not has_form(content.get(name), form)]:
        return f"{other[0]} has a value of another form"
    entries = content.get("resumed") or []
    if not all(isinstance(entry, dict) and isinstance(entry.get("epoch"), int) for entry in entries):
        return "resumed is not a list of entries with an epoch"
    return None


def has_form(value: Any, form: Any) -> bool:
    """Return whether a value is null or has a form.

    Numbers must be finite, as null is written for others. A mapping may have more keys than its form.

    Args:
        form: A type, or several; float includes whole numbers. `[form]`: a list of such values. `{name: form}`: a
            mapping with such values; the name "" stands for all of them, which must not be null then.
    """
    if value is None:
        return True
    if isinstance(form, list):
        return isinstance(value, list) and all(has_form(each, form[0]) for each in value)
    if isinstance(form, dict):
        if not isinstance(value, dict):
            return False
        if "" in form:
            return all(each is not None and has_form(each, form[""]) for each in value.values())
        return all(has_form(value.get(key), of) for key, of in form.items())
    types = form if isinstance(form, tuple) else (form,)
    if isinstance(value, bool):
        return bool in types
    if isinstance(value, int | float) and not abs(value) <= float_info.max:
        return False
    return isinstance(value, (*types, int) if float in types else types)


def _has_type(value: Any, types: tuple[type, ...]) -> bool:
    return type(None) in types if value is None else has_form(value, types)


@cache
def _predictions_error(path: Path, changed: int, size: int) -> str | None:
    """Return the error in a `predictions.npz` as text, or None; cached until the file changes."""
    return read_arrays(path)[1]


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], str | None]:
    """Return the arrays of a `predictions.npz`, and the error in them as text, or None."""
    try:
        found = load_arrays(path)
    except (OSError, ValueError) as error:
        return {}, one_line(error)
    return found, _arrays_error(found)


def _arrays_error(arrays: Mapping[str, np.ndarray]) -> str | None:
    """Return the error in the arrays of a `predictions.npz` as text, or None."""
    for stage in _STAGES:
        of_stage = {name: values for name, values in arrays.items() if name.startswith(f"{stage}_")}
        if not of_stage:
            continue
        if missing := [name for name in _REQUIRED_ARRAYS if f"{stage}_{name}" not in of_stage]:
            return f"{stage}_{missing[0]} is missing"
        if len({values.shape[:1] for values in of_stage.values()}) > 1:
            return f"the arrays of {stage} have different lengths"
        _, target, readout = (of_stage[f"{stage}_{name}"] for name in _REQUIRED_ARRAYS)
        answers = of_stage.get(f"{stage}_answers", target)
        if any(values.dtype.kind not in "iuf" for values in (target, readout, answers)) or readout.ndim < 2:
            return f"the arrays of {stage} are not outputs of a network"
        if target.ndim == 1 and not all(_are_valid_classes(values, readout.shape[-1]) for values in (target, answers)):
            return f"the classes of {stage} are not among the network's {readout.shape[-1]}"
    return None


def _are_valid_classes(values: np.ndarray, number: int) -> bool:
    return values.dtype.kind in "iu" and (not values.size or 0 <= values.min() <= values.max() < number)


def _damaged_error(path: Path, reason: object) -> DamagedError:
    folder = path.parent
    if path.name == CONFIG:
        hint = f"restore it from a copy; the weights are still usable: {quote(f'init_from={folder}')}"
    else:
        hint = f"snnlab train {quote(f'resume={folder}')} writes it again"
    return DamagedError(path, reason, hint)


def archive_result(folder: Path) -> None:
    """Remove the result of a run that is resumed.

    A completed result becomes `result_before_N.json`, an unreadable one `result_damaged.json`, any other is deleted.
    """
    path = folder / RESULT
    try:
        recorded = read_run_if_ended(folder)
    except DamagedError:
        path.rename(folder / DAMAGED_RESULT)
        return
    if recorded is None:
        return
    if recorded.status == "completed":
        path.rename(folder / EARLIER_RESULT.format(1 + len(list(folder.glob(EARLIER_RESULT.format("*"))))))
    else:
        path.unlink()


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
