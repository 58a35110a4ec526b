"""Whether a network has been trained on recordings that are to say how good it is.

Axes: R recordings.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from snnlab.data.duplicates import FEW_EVENTS
from snnlab.errors import ConfigError, DamagedError, RecordError
from snnlab.record.run_folder import SPLIT
from snnlab.record.run_reading import read_config, read_run, read_split
from snnlab.record.trained_on import read_trained_on, write_trained_on

if TYPE_CHECKING:
    from snnlab.config.schema import Experiment
    from snnlab.data.module import EventDataModule
    from snnlab.events import Store

_log = logging.getLogger(__name__)
KEY = "trained_before"


def require_not_trained_on(run: Path, data: EventDataModule, part: str) -> None:
    """Refuse to evaluate a run on recordings that it was trained on, as those of another split may be.

    Args:
        data: What it is to be evaluated on.
        part: `test` or `val`.

    Raises:
        ConfigError: if some of the part's recordings were trained on.
        RecordError: if the run's folder cannot be read.
    """
    if read_split(run).get("hash") == data.split.hash and _is_of(run, data.store):
        return
    places: np.ndarray = getattr(data.split, part)
    seen = seen_by(run, data.store)
    if seen is None:
        _log.warning("%s: is older than the record of what was trained on, which may be among these recordings", run)
    elif many := int(seen[places].sum()):
        raise ConfigError(
            "evaluate",
            (
                f"{run} was trained on {many:,} of these {places.size:,} {part} recordings: this is"
                " another split than the run's"
            ),
            "leave out what changes it, or --split train evaluates what it was trained on",
        )


def found_before(experiment: Experiment, data: EventDataModule, *, say: bool = False) -> dict[str, Any] | None:
    """Return which validation and test recordings the run of `init_from` was trained on, for the record.

    Args:
        say: Whether what is odd is said to the user.

    Raises:
        ConfigError: if there are any, unless `on_trained_before: record`.
        RecordError: if that run's folder cannot be read.
    """
    if experiment.init_from is None:
        return None
    run = Path(experiment.init_from).expanduser()
    found = _found_in(run, data)
    if found["val"] is None:
        if say:
            _log.warning("init_from: %s does not say what it was trained on, which may be validation or test now", run)
    elif found["val"] or found["test"]:
        said = (
            f"{run} was trained on {len(found['val']):,} of {data.split.val.size:,} validation and"
            f" {len(found['test']):,} of {data.split.test.size:,} test recordings"
        )
        if experiment.on_trained_before == "fail":
            raise ConfigError(
                "init_from",
                said,
                f"data.split_file={run / SPLIT} takes that run's split, on_trained_before=record trains all the same"
                " and says so in result.json",
            )
        if say:
            _log.warning("init_from: %s", said)
    return found


def recorded_before(folder: Path, data: EventDataModule) -> dict[str, Any] | None:
    """Return what a run that is resumed recorded of `found_before`; found again where the record is damaged."""
    try:
        return read_split(folder).get(KEY)
    except DamagedError:
        begun_with = read_config(folder).get("init_from")
        return None if begun_with is None else _found_in(Path(begun_with).expanduser(), data)


def _found_in(run: Path, data: EventDataModule) -> dict[str, Any]:
    seen = seen_by(run, data.store)
    if seen is None:
        return {"run": str(run), "val": None, "test": None}
    val, test = (part[seen[part]].tolist() for part in (data.split.val, data.split.test))
    return {"run": str(run), "val": val, "test": test}


def counted(before: dict[str, Any] | None) -> dict[str, Any]:
    """Return what `result.json` says of what `found_before` found: how many."""
    if before is None:
        return {}
    return {KEY: {key: len(value) if isinstance(value, list) else value for key, value in before.items()}}


def record_trained_on(folder: Path, experiment: Experiment, data: EventDataModule) -> None:
    """Write what a run is trained on, and what the run that it begins with was; of a resumed one it is there."""
    if read_trained_on(folder) is not None:
        return
    store = data.store
    own = data.split.train[store.sizes[data.split.train] >= FEW_EVENTS]
    found = [store.hashes[own]]
    if experiment.init_from is not None:
        run = Path(experiment.init_from).expanduser()
        before, seen = read_trained_on(run), seen_by(run, store)
        found += [] if before is None else [before]
        found += [] if seen is None else [store.hashes[seen & (store.sizes >= FEW_EVENTS)]]
    write_trained_on(folder, np.concatenate(found))


def seen_by(run: Path, store: Store) -> np.ndarray | None:
    """Return which recordings of a store a run was trained on, by their events; None where nobody can tell.

    Recordings of few events, which may be equal by chance, are known by their place in the run's own store alone.

    Shape:
        returns bool `[R]`.

    Raises:
        RecordError: if the run's folder cannot be read.
    """
    checksums, same = read_trained_on(run), _is_of(run, store)
    if checksums is None and not same:
        return None
    seen = np.zeros(len(store), bool)
    if checksums is not None:
        seen |= np.isin(store.hashes, checksums) & (store.sizes >= FEW_EVENTS)
    if same:
        try:
            seen[np.array(read_split(run).get("train", []), np.int64)] = True
        except (ValueError, TypeError, IndexError) as error:
            raise RecordError(run / SPLIT, f"is not what a run recorded ({error})") from error
    return seen


def _is_of(run: Path, store: Store) -> bool:
    try:
        page = read_run(run).page
    except RecordError:  # one that was killed has no result
        return False
    return (page.get("provenance") or {}).get("data_fingerprint") == store.fingerprint
