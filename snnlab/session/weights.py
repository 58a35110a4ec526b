"""Loads the weights of recorded runs, and checks on which recordings these runs were trained.

Axes: R recordings.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from snnlab.bundles import is_bundle
from snnlab.data.duplicates import FEW_EVENTS
from snnlab.errors import ConfigError, DamagedError, DataError, RunFolderError
from snnlab.nn import Network
from snnlab.nn.neurons.whole_neuron import WholeNeuron
from snnlab.nn.quantization import fit_scales, groups_of, is_scale, whole_name
from snnlab.runs.recorded import RunFiles, read_run, read_run_if_ended
from snnlab.runs.run_folder import CONFIG, RESULT, SPLIT, TRAINED_ON, WEIGHTS, CheckpointName, write_trained_on
from snnlab.training.checkpoints import network_weights, tensors_hash
from snnlab.zoo import is_packaged, run_label, run_path

if TYPE_CHECKING:
    from torch import Tensor

    from snnlab.config.schema import Experiment
    from snnlab.data.data_module import EventDataModule
    from snnlab.data.events import Store

_log = logging.getLogger(__name__)


def checkpoint_file(folder: Path, checkpoint: CheckpointName) -> Path:
    """Return the path of a run's checkpoint, or of the weights of a packaged network or of a published run."""
    files = RunFiles(folder)
    path = files.checkpoint(checkpoint)
    if is_packaged(folder) or (not path.is_file() and (folder / WEIGHTS).is_file()):
        if checkpoint != "best":
            raise RunFolderError(
                run_label(folder), f"has no weights of its {checkpoint} epoch", "it has one file of weights"
            )
        return folder / WEIGHTS
    if not folder.exists():
        raise RunFolderError(folder, "there is no such folder", f"a relative path begins at {Path.cwd()}")
    if not path.is_file():
        why = "the run ended before it was written" if files.has(CONFIG) else "it is not a run folder"
        raise RunFolderError(folder, f"there is no checkpoints/{checkpoint}.ckpt in it", why)
    return path


def run_weights(run: Path, checkpoint: CheckpointName) -> dict[str, Tensor]:
    """Return the weights that a run has written, on the CPU.

    Raises:
        RunFolderError: if there are none, they are damaged, or they are not those of its result.
    """
    path = checkpoint_file(run, checkpoint)
    weights, ended = network_weights(path), read_run_if_ended(run)
    recorded = dict(ended.weights) if ended else {}
    # A bundle, a packaged network and a published run have one file, of either checkpoint.
    allowed = set(recorded.values()) if path.name == WEIGHTS else {recorded.get(checkpoint)} - {None}
    if allowed and tensors_hash(weights) not in allowed:
        hint = "fetch the file again" if is_bundle(run) else "copy this run's own file back"
        raise RunFolderError(_file_label(path, run), f"is not the checkpoint of which {RESULT} tells", hint)
    for name, values in weights.items():
        if not torch.isfinite(values).all():
            raise RunFolderError(_file_label(path, run), f"{name} has NaN or infinite values")
    return weights


def _file_label(path: Path, run: Path) -> str:
    """Return how a user names a file of a run or of a bundle."""
    return run_label(run) if is_bundle(run) else str(path)


def load_weights(network: Network, run: Path, checkpoint: CheckpointName) -> None:
    """Load the weights of a run into a network.

    Raises:
        RunFolderError: if there are none, or they are damaged.
    """
    weights, expected = run_weights(run, checkpoint), network.state_dict()
    for name, values in weights.items():
        if name in expected and _kind(values) != _kind(expected[name]):
            problem = f"{name} is of {values.dtype}, and this network's of {expected[name].dtype}"
            raise ConfigError(run_label(run), f"its weights do not fit this network: {problem}")
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ConfigError(run_label(run), f"its weights do not fit this network: {reason}") from error


def _kind(values: Tensor) -> tuple[bool, bool]:
    return values.is_floating_point(), values.is_complex()


def warn_of_other_dt(run: Path, step: float | None) -> None:
    """Warn if a network was imported or converted for steps of another length, ms."""
    found = read_run_if_ended(run)
    made = {} if found is None else {**(found.imported or {}), **(found.provenance.get("converted") or {})}
    dt = made.get("dt")
    if isinstance(dt, float) and (step is None or not math.isclose(step, dt)):
        length = "have no length" if step is None else f"are of {step:g} ms"
        what = "gains that depend on dt, and biases, which act once a step, are those of the former"
        _log.warning("%s was made for steps of %g ms, and these %s: %s", run, dt, length, what)


def init_from(network: Network, run: Path, step: float | None, *, whole: bool = False) -> str:
    """Load a run's weights where name and shape are equal, and return a log line.

    Args:
        network: The network.
        run: The folder of the run.
        step: Length of a step of the network, ms.
        whole: Whether the network is not trained, so that no tensor may stay random.
    """
    try:
        weights = run_weights(run, "best")
    except (RunFolderError, DataError) as error:
        raise RunFolderError("init_from", error) from error
    taken, own = take_weights(network, weights), network.state_dict()
    if not taken:
        raise ConfigError(
            "init_from", f"no layer of {run_label(run)} has the name and shape of a layer of this network"
        )
    warn_of_other_dt(run, step)
    new = [name for name in own if name not in taken and not is_scale(name)]
    if whole and new:
        raise ConfigError(
            "init_from", f"{run_label(run)} has no {new[0]}, and a network of no epoch would keep a random one"
        )
    rest = f"; random: {', '.join(new)}" if new else ""
    return f"loaded {len(taken)} of {len(own)} tensors from {run_label(run)}{rest}"


def take_weights(network: Network, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Load the weights whose name and shape are those of a network, and return them by their names there.

    Args:
        network: The network; one in whole numbers gets scales for real weights.
        weights: The weights.
    """
    own = network.state_dict()
    named = {whole_name(name, own): value for name, value in weights.items()}
    taken = {name: value for name, value in named.items() if name in own and own[name].shape == value.shape}
    network.load_state_dict(taken, strict=False)
    is_whole = any(isinstance(module, WholeNeuron) for module in network.modules())
    if taken and is_whole and not any(map(is_scale, taken)):
        fit_scales(groups_of(network))
    return taken


TRAINED_BEFORE = "trained_before"


def require_not_trained_on(run: Path, data: EventDataModule, part: str) -> None:
    """Refuse to evaluate a run on recordings that it was trained on, which can happen with another split.

    Args:
        data: The data of the evaluation.
        part: `test` or `val`.

    Raises:
        RunFolderError: if the run's folder cannot be read.
    """
    if _has_same_split(run, data):
        return
    recordings: np.ndarray = getattr(data.split, part)
    seen = trained_on_mask(run, data.store)
    if seen is None:
        _log.warning("%s: has no %s: it may have been trained on some of these recordings", run_label(run), TRAINED_ON)
    elif count := int(seen[recordings].sum()):
        raise ConfigError(
            "evaluate",
            (
                f"{run_label(run)} was trained on {count:,} of these {recordings.size:,} {part} recordings:"
                " the split differs from the run's"
            ),
            "remove the override that changes it, or use --split train",
        )


def find_trained_before(experiment: Experiment, data: EventDataModule, *, warn: bool = False) -> dict[str, Any] | None:
    """Return the run of the initial weights, which was trained on no validation or test recording, for the record.

    Args:
        warn: Log a warning if it is not known, as for another project's weights.

    Raises:
        RunFolderError: if that run's folder cannot be read.
    """
    weights = experiment.foreign_weights
    found = _trained_before(experiment.init_from, weights and weights.file, data)
    if found is None:
        return None
    run = found["run"]
    if found["val"] is None:
        if warn:
            place = "model.weights" if experiment.init_from is None else "init_from"
            _log.warning(
                "%s: %s did not record its training recordings; some may be validation or test recordings now",
                place,
                run,
            )
    elif found["val"] or found["test"]:
        raise ConfigError(
            "init_from",
            f"{run} was trained on {found['val']:,} of {data.split.val.size:,} validation and"
            f" {found['test']:,} of {data.split.test.size:,} test recordings",
            f"data.split_file={run_path(run) / SPLIT} uses the split of that run",
        )
    return found


def read_trained_before(folder: Path, data: EventDataModule) -> dict[str, Any] | None:
    """Return the recorded result of `find_trained_before` of a resumed run; compute it again if the file is damaged."""
    try:
        return RunFiles(folder).split().get(TRAINED_BEFORE)
    except DamagedError:
        config = RunFiles(folder).config
        weights = (config.get("model") or {}).get("weights") or {}
        return _trained_before(config.get("init_from"), weights.get("file"), data)


def _trained_before(init_from: str | None, weights_file: str | None, data: EventDataModule) -> dict[str, Any] | None:
    if init_from is None:
        return None if weights_file is None else {"run": weights_file, "val": None, "test": None}
    run = run_path(init_from)
    seen = trained_on_mask(run, data.store)
    if seen is None:
        unseen = 0 if _has_same_split(run, data) else None
        return {"run": run_label(run), "val": unseen, "test": unseen}
    val, test = (int(seen[part].sum()) for part in (data.split.val, data.split.test))
    return {"run": run_label(run), "val": val, "test": test}


def record_trained_on(folder: Path, experiment: Experiment, data: EventDataModule) -> None:
    """Write the training recordings of a run and of its `init_from` run, unless the file exists."""
    if RunFiles(folder).trained_on() is not None:
        return
    store = data.store
    own = data.split.train[store.sizes[data.split.train] >= FEW_EVENTS]
    found = [store.hashes[own]]
    if experiment.init_from is not None:
        run = run_path(experiment.init_from)
        before, seen = RunFiles(run).trained_on(), trained_on_mask(run, store)
        found += [] if before is None else [before]
        found += [] if seen is None else [store.hashes[seen & (store.sizes >= FEW_EVENTS)]]
    write_trained_on(folder, np.concatenate(found))


def trained_on_mask(run: Path, store: Store) -> np.ndarray | None:
    """Return which recordings of a store a run was trained on, compared by their events; None if not known.

    Recordings of few events may be equal by chance, so they are compared only by index in the run's own store.

    Shape:
        returns bool `[R]`.

    Raises:
        RunFolderError: if the run's folder cannot be read.
    """
    checksums, same = RunFiles(run).trained_on(), RunFiles(run).has(SPLIT) and _has_same_store(run, store)
    if checksums is None and not same:
        return None
    seen = np.zeros(len(store), bool)
    if checksums is not None:
        seen |= np.isin(store.hashes, checksums) & (store.sizes >= FEW_EVENTS)
    if same:
        try:
            seen[np.array(RunFiles(run).split().get("train", []), np.int64)] = True
        except (ValueError, TypeError, IndexError) as error:
            raise RunFolderError(run / SPLIT, f"was not written by a run ({error})") from error
    return seen


def _has_same_split(run: Path, data: EventDataModule) -> bool:
    recorded = RunFiles(run).split().get("hash")
    if recorded is None and (ended := read_run_if_ended(run)) is not None:  # a published run has no split.json
        recorded = ended.provenance.get("split_hash")
    return recorded == data.split.hash and _has_same_store(run, data.store)


def _has_same_store(run: Path, store: Store) -> bool:
    try:
        return read_run(run).provenance.get("data_fingerprint") == store.fingerprint
    except RunFolderError:  # a run that was killed has no result
        return False
