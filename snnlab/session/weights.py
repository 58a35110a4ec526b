"""The weights of recorded runs, given to networks, and the recordings that they have seen.

Axes: R recordings.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from snnlab.data.duplicates import FEW_EVENTS
from snnlab.errors import ConfigError, DamagedError, RecordError
from snnlab.files import write_atomically
from snnlab.nn import Network
from snnlab.runs.recorded import read_config, read_run, read_split
from snnlab.runs.run_folder import SPLIT
from snnlab.training.checkpoints import network_weights

if TYPE_CHECKING:
    from snnlab.config.schema import Experiment
    from snnlab.data.data_module import EventDataModule
    from snnlab.data.events import Store

_log = logging.getLogger(__name__)

FILE = "trained_on.npy"


def write_trained_on(folder: Path, checksums: np.ndarray) -> None:
    """Write the checksums of recordings' events.

    Args:
        checksums: See `Store.hashes`.

    Shape:
        checksums: uint64 `[N]`.
    """
    values = np.unique(checksums).astype("<u8")
    write_atomically(folder / FILE, lambda file: np.save(file, values, allow_pickle=False))


def read_trained_on(folder: Path) -> np.ndarray | None:
    """Return the checksums, uint64 `[N]`; None where an older run wrote none.

    Raises:
        RecordError: if the file cannot be read.
    """
    path = folder / FILE
    try:
        found = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        raise RecordError(path, f"cannot be read ({error})") from error
    if found.ndim != 1 or found.dtype != np.uint64:
        raise RecordError(path, "is not what a run recorded")
    return found


Checkpoint = Literal["best", "last"]
CHECKPOINTS: tuple[Checkpoint, ...] = ("best", "last")


def checkpoint_file(folder: Path, checkpoint: Checkpoint) -> Path:
    """Return where a run's weights are.

    Raises:
        RecordError: if they are not there.
    """
    path = folder / "checkpoints" / f"{checkpoint}.ckpt"
    if not path.is_file():
        why = "the run ended before" if (folder / "config.yaml").is_file() else "it is no run's folder"
        raise RecordError(folder, f"there is no checkpoints/{checkpoint}.ckpt in it", why)
    return path


def load_weights(network: Network, run: Path, checkpoint: Checkpoint) -> None:
    """Give a network the weights of a run.

    Raises:
        RecordError: if there are none, or they are damaged.
        ConfigError: if they are of another network.
    """
    weights = network_weights(checkpoint_file(run, checkpoint))
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ConfigError(run, f"its weights do not fit this network: {reason}") from error


def init_from(network: Network, run: Path) -> str:
    """Give a network a run's weights wherever name and shape are the same, and return what was done, in words.

    Raises:
        RecordError: if the folder is no run's, or has no weights.
        ConfigError: if none of its weights fits.
    """
    try:
        weights = network_weights(checkpoint_file(run, "best"))
    except RecordError as error:
        raise RecordError("init_from", error) from error
    own = network.state_dict()
    taken = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    if not taken:
        raise ConfigError("init_from", f"no layer of {run} has the name and the shape of one of this network's")
    network.load_state_dict(taken, strict=False)
    new = [name for name in own if name not in taken]
    rest = f"; at random: {', '.join(new)}" if new else ""
    return f"begins with {len(taken)} of {len(own)} tensors from {run}{rest}"


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


def counted_before(before: dict[str, Any] | None) -> dict[str, Any]:
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
