"""What a run's folder holds, read back: the one place that decides whether a file is what was written."""

from __future__ import annotations

import csv
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from shlex import quote
from typing import Any
from zipfile import BadZipFile

import numpy as np
import yaml
from omegaconf import OmegaConf

from snnlab.errors import DamagedError, ForeignError, RecordError, one_line
from snnlab.printable import cleaned, printable
from snnlab.runs.renamed_settings import renamed
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
from snnlab.yaml_files import require_bounded, too_large

# What a record refers to: another value in it.
_REFERENCE = re.compile(r"\$\{([A-Za-z_][\w.]*)\}")


def read_raw(path: Path) -> Any:
    """Return what a YAML file holds, its references as they stand.

    Raises:
        ConfigError: if it is larger than any experiment.
        OSError: if it cannot be read.
        yaml.YAMLError: if it is no YAML.
    """
    require_bounded(path)
    return cleaned(OmegaConf.to_container(OmegaConf.load(path), resolve=False))


def read_plain(path: Path) -> Any:
    """Return what a run's `config.yaml` holds; a reference to a value in it is that value, any other one stays.

    Raises:
        ConfigError: if it is larger than any experiment.
        OSError: if it cannot be read.
        yaml.YAMLError: if it is no YAML.
    """
    return plain(read_raw(path))


def plain(raw: Any) -> Any:
    """Return values with the references among them followed, and any other reference as it stands."""
    return _followed(raw, raw)


def _followed(node: Any, root: Any) -> Any:
    if isinstance(node, Mapping):
        return {str(key): _followed(value, root) for key, value in node.items()}
    if isinstance(node, list):
        return [_followed(value, root) for value in node]
    found = _REFERENCE.fullmatch(node) if isinstance(node, str) else None
    if found is None:
        return node
    target = root
    for key in found[1].split("."):
        target = target.get(key) if isinstance(target, Mapping) else None
    return node if target is None or isinstance(target, Mapping | list) else target


# Ten times as fast as the one in Python, and there are many files.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NUMBER, _NOTHING = (int, float), (type(None),)
# What the values of result.json are, by dotted key, where they are there; and what has to be there.
_KINDS: Mapping[str, tuple[type, ...]] = {
    "status": (str,),
    "seed": (int,),
    "name": (str, *_NOTHING),
    "metrics": (dict,),
    "selection": (dict, *_NOTHING),
    "selection.rule": (str,),
    "selection.val_rule": (str,),
    "selection.epoch": (int, *_NOTHING),
    **dict.fromkeys(("selection.epochs", *(f"selection.{part}_size" for part in ("train", "val", "test"))), (int,)),
    "timing": (dict, *_NOTHING),
    **{f"timing.{key}": (*_NUMBER, *_NOTHING) for key in ("fit_s", "samples_per_s", "peak_rss_mb", "peak_device_mb")},
    "provenance": (dict,),
    "provenance.packages": (dict,),
    "provenance.numerics": (dict,),
    "provenance.data_fingerprint": (str,),
    "provenance.split_hash": (str,),
    "resumed": (list, *_NOTHING),
    "control": (str, *_NOTHING),
    "search": (dict, *_NOTHING),
    "error": (str, *_NOTHING),
}
_NEEDED = ("status", "seed", "metrics", "provenance")
_WORDS = {dict: "a mapping", list: "a list", str: "a text", int: "a whole number", float: "a number"}
# What NumPy and zipfile raise for an archive that was cut or changed.
_BROKEN = (OSError, ValueError, EOFError, BadZipFile, zlib.error, NotImplementedError, RuntimeError, KeyError)
_BROKEN_TOO = (TypeError, AttributeError, OverflowError, MemoryError, IndexError)
_STAGES, _OF_STAGE = ("val", "test"), ("recording", "target", "readout")


@dataclass(frozen=True)
class Recorded:
    """What a finished, failed or interrupted run recorded.

    Attributes:
        folder: The run's folder.
        page: What `result.json` holds.
    """

    folder: Path
    page: dict[str, Any] = field(repr=False)

    @property
    def status(self) -> str:
        """Whether it is completed, failed or interrupted."""
        return self.page["status"]

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.page["seed"]

    @property
    def metrics(self) -> dict[str, float]:
        """`test/accuracy`, `val/loss`, ...; what was no finite number is left out."""
        return {name: value for name, value in self.page["metrics"].items() if value is not None}

    @property
    def selection(self) -> dict[str, Any]:
        """Rule, epoch and sizes; nothing of a run that failed before the end."""
        return self.page.get("selection") or {}

    @property
    def timing(self) -> dict[str, Any]:
        """Seconds, samples a second, memory."""
        return self.page.get("timing") or {}

    @property
    def provenance(self) -> dict[str, Any]:
        """Where it comes from."""
        found = self.page["provenance"]
        return {**found, "numerics": renamed(found["numerics"])} if "numerics" in found else found

    @property
    def resumed(self) -> list[dict[str, Any]]:
        """How it went on after an end, see `snnlab.runs.run_folder.Result`."""
        return self.page.get("resumed") or []

    @property
    def name(self) -> str:
        """What the experiment is called."""
        if said := self.page.get("name"):
            return said
        try:
            said = self.config.get("name")
        except RecordError:
            said = None
        return said if isinstance(said, str) else self.folder.absolute().parent.name

    def required(self, key: str) -> Any:
        """Return a part of the provenance that a command cannot do without.

        Raises:
            DamagedError: if it is missing.
        """
        if (value := self.provenance.get(key)) is None:
            raise _damaged(self.folder / RESULT, f"provenance.{key} is missing")
        return value

    @cached_property
    def config(self) -> dict[str, Any]:
        """What `config.yaml` says, see `read_config`."""
        return read_config(self.folder)

    def epochs(self) -> dict[str, np.ndarray]:
        """Return the columns of `metrics.csv`, a row an epoch, NaN where there is nothing.

        Raises:
            DamagedError: if it cannot be read.
        """
        path = self.folder / METRICS
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
            names = list(rows[0]) if rows else []
            if None in names:
                raise ValueError("a row is longer than its head")
            found = {printable(name): np.array([float(row[name] or "nan") for row in rows]) for name in names}
        except (OSError, ValueError, TypeError, csv.Error) as error:
            raise _damaged(path, error) from error
        if "epoch" not in found:
            raise _damaged(path, "it has no epochs")
        return found

    def predictions(self) -> dict[str, np.ndarray]:
        """Return the arrays of `predictions.npz`.

        Raises:
            DamagedError: if it cannot be read, or holds something else.
        """
        found, wrong = _arrays(self.folder / PREDICTIONS)
        if wrong:
            raise _damaged(self.folder / PREDICTIONS, wrong)
        return found

    def split(self) -> dict[str, Any]:
        """Return what `split.json` holds, see `read_split`."""
        return read_split(self.folder)

    def class_names(self, number: int) -> list[str] | None:
        """Return what the classes are called; None: they have no names.

        Raises:
            DamagedError: if `split.json` cannot be read, or names other classes.
        """
        names = self.split().get("classes")
        if names is not None and len(names) != number:
            raise _damaged(self.folder / SPLIT, f"it names {len(names)} classes, and the network has {number}")
        return names

    def check_files(self) -> None:
        """Read all files that `snnlab train` wrote but for the checkpoints, as far as they are there.

        Raises:
            DamagedError: for the first that cannot be read.
        """
        _ = self.config
        self.split()
        if (self.folder / METRICS).is_file():
            self.epochs()
        path = self.folder / PREDICTIONS
        if path.is_file():
            there = path.stat()
            if wrong := _wrong_predictions(path.absolute(), there.st_mtime_ns, there.st_size):
                raise _damaged(path, wrong)


def read_split(folder: Path) -> dict[str, Any]:
    """Return what a run's `split.json` holds; nothing of an older run that has none.

    Raises:
        DamagedError: if it cannot be read, or holds something else.
    """
    path = folder / SPLIT
    if not path.is_file():
        return {}
    page = _json(path)
    lists = page if isinstance(page, dict) else {}
    if not all(isinstance(lists.get(part), list) for part in ("train", "val", "test")):
        raise _damaged(path, "it has no lists train, val and test")
    names = lists.get("classes")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise _damaged(path, "its classes are no names")
    return lists


def read_run(folder: Path) -> Recorded:
    """Read a run's result.

    Raises:
        DamagedError: if `result.json` is not what a run wrote.
        ForeignError: if another version of snnlab wrote it.
        RecordError: if the folder is no run's, or the run has not ended.
    """
    path = folder / RESULT
    if not path.is_file():
        what = "this run has not ended" if (folder / CONFIG).is_file() else "is no run's folder"
        raise RecordError(folder, f"{what}, there is no {RESULT} in it")
    return Recorded(folder, result_page(path))


def result_page(path: Path) -> dict[str, Any]:
    """Return what a file holds that a run wrote as its `result.json`; see `read_run`."""
    page = _json(path)
    if not isinstance(page, dict):
        raise _damaged(path, "it is not what a run recorded")
    version = page.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise ForeignError(path, f"is of schema {version}, and this snnlab reads {SCHEMA_VERSION}")
    if wrong := _wrong_result(page):
        raise _damaged(path, wrong)
    return page


def read_ended(folder: Path) -> Recorded | None:
    """Read a run's result; None where the run has not ended, see `read_run`."""
    return read_run(folder) if (folder / RESULT).is_file() else None


def read_config(folder: Path) -> dict[str, Any]:
    """Return a run's `config.yaml` with the names of today; nothing in it is resolved, imported or looked up.

    Raises:
        DamagedError: if it is not what a run wrote.
    """
    path = folder / CONFIG
    try:
        if problem := too_large(path, _LOADER):
            raise _damaged(path, problem)
        config = cleaned(yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise _damaged(path, one_line(error)) from error
    if not isinstance(config, dict) or not _is_experiment(config):
        raise _damaged(path, "it is not what a run recorded")
    return renamed(config)


def find_runs(root: Path) -> Iterator[Path]:
    """Yield the folders of runs below `root`, those that have not ended too, oldest first.

    Args:
        root: Such as `outputs`; or the folder of one run.
    """
    if is_run(root):
        yield root
        return
    found = {path.parent for pattern in (f"*/{CONFIG}", f"*/*/{CONFIG}") for path in root.glob(pattern)}
    yield from sorted(filter(is_run, found), key=lambda path: (path.name, path.parent.name))


def is_run(folder: Path) -> bool:
    """Return whether a folder looks like a run's, by the names in it; what is in the files is not looked at."""
    return (folder / CONFIG).is_file() and any((folder / name).exists() for name in (CHECKPOINTS, RESULT, SPLIT))


def is_surely_run(folder: Path) -> bool:
    """Return whether a folder is a run's, by what is in its files: one of them at least is as a run writes it."""
    return is_run(folder) and any(map(_holds, (read_run, read_config, _read_split), [folder] * 3))


def _holds(read: Any, folder: Path) -> bool:
    try:
        read(folder)
    except ForeignError:
        return True
    except RecordError:
        return False
    return True


def _read_split(folder: Path) -> None:
    if not Recorded(folder, {}).split():
        raise RecordError(folder, f"has no {SPLIT}")


def _is_experiment(config: Mapping[Any, Any]) -> bool:
    model = config.get("model")
    return isinstance(config.get("data"), dict) and isinstance(model, dict) and isinstance(model.get("layers"), dict)


def _json(path: Path) -> Any:
    try:
        return cleaned(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, one_line(error)) from error


def _wrong_result(page: Mapping[str, Any]) -> str | None:
    """Return what a `result.json` has that no run writes, or None."""
    if missing := [key for key in _NEEDED if key not in page]:
        return f"{missing[0]} is missing"
    for key, kinds in _KINDS.items():
        part, _, name = key.rpartition(".")
        node = page.get(part) or {} if part else page
        if name in node and not isinstance(node[name], kinds):
            return f"{key} is not {_WORDS[kinds[0]]}"
    numbers = (*_NUMBER, *_NOTHING)
    if wrong := [name for name, value in page["metrics"].items() if not isinstance(value, numbers)]:
        return f"metrics.{wrong[0]} is not a number"
    entries = page.get("resumed") or []
    if not all(isinstance(entry, dict) and isinstance(entry.get("epoch"), int) for entry in entries):
        return "resumed is not what a run recorded"
    return None


@cache
def _wrong_predictions(path: Path, changed: int, size: int) -> str | None:
    """Return what is wrong with a `predictions.npz`, or None; as long as it stays the same it is read once for that."""
    return _arrays(path)[1]


def _arrays(path: Path) -> tuple[dict[str, np.ndarray], str | None]:
    """Return the arrays of a `predictions.npz`, and what is wrong with them, or None."""
    try:
        # Opened here: NumPy leaves a file open that is no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (*_BROKEN, *_BROKEN_TOO) as error:
        return {}, one_line(error)
    return found, _wrong_arrays(found)


def _wrong_arrays(arrays: Mapping[str, np.ndarray]) -> str | None:
    """Return what a `predictions.npz` has or lacks, unlike what a run writes, or None."""
    for stage in _STAGES:
        of_stage = {name: values for name, values in arrays.items() if name.startswith(f"{stage}_")}
        if not of_stage:
            continue
        if missing := [name for name in _OF_STAGE if f"{stage}_{name}" not in of_stage]:
            return f"{stage}_{missing[0]} is missing"
        if len({values.shape[:1] for values in of_stage.values()}) > 1:
            return f"the arrays of {stage} have different lengths"
        _, target, readout = (of_stage[f"{stage}_{name}"] for name in _OF_STAGE)
        answers = of_stage.get(f"{stage}_answers", target)
        if any(values.dtype.kind not in "iuf" for values in (target, readout, answers)) or readout.ndim < 2:
            return f"the arrays of {stage} are not what a network answers"
        if target.ndim == 1 and not all(_are_classes(values, readout.shape[-1]) for values in (target, answers)):
            return f"the classes of {stage} are none of the network's {readout.shape[-1]}"
    return None


def _are_classes(values: np.ndarray, number: int) -> bool:
    return values.dtype.kind in "iu" and (not values.size or 0 <= values.min() <= values.max() < number)


def _damaged(path: Path, reason: object) -> DamagedError:
    folder = path.parent
    if path.name == CONFIG:
        cure = f"put it back from a copy; the weights are there still: {quote(f'init_from={folder}')}"
    else:
        cure = f"snnlab train {quote(f'resume={folder}')} writes it anew"
    return DamagedError(path, reason, cure)


def archive_result(folder: Path) -> None:
    """Take away the result of a run that is going on; a complete one is kept, and one that cannot be read too.

    `result_before_N.json` and `result_damaged.json`.
    """
    path = folder / RESULT
    try:
        recorded = read_ended(folder)
    except DamagedError:
        path.rename(folder / DAMAGED_RESULT)
        return
    if recorded is None:
        return
    if recorded.status == "completed":
        path.rename(folder / EARLIER_RESULT.format(1 + len(list(folder.glob(EARLIER_RESULT.format("*"))))))
    else:
        path.unlink()


def search_of(folder: Path) -> dict[str, Any] | None:
    """Return what a run's result, or the last one that was kept, says of the search for its settings."""
    return next((said for page in _pages(folder) if (said := page.get("search"))), None)


def _pages(folder: Path) -> Iterator[dict[str, Any]]:
    earlier = sorted(folder.glob(EARLIER_RESULT.format("*")), key=_number, reverse=True)
    for path in (folder / RESULT, *earlier):
        try:
            if path.is_file():
                yield result_page(path)
        except RecordError:  # it says nothing that can be read
            continue


def _number(path: Path) -> int:
    return int(path.stem.rpartition("_")[2])
