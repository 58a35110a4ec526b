"""Reads the last checkpoint of a run, and checks it against the current configuration."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from snnlab.errors import ConfigError, RunFolderError
from snnlab.kernels.function import Backend, kernel_version
from snnlab.runs.provenance import config_hash
from snnlab.runs.recorded import RunFiles
from snnlab.runs.run_folder import CONFIG
from snnlab.training.checkpoints import read_checkpoint
from snnlab.training.resuming import Resumption
from snnlab.training.snapshots import FORMAT, NODE

_log = logging.getLogger(__name__)


def read_resumption(folder: Path, changed: Mapping[str, Any], *, extend_schedule: bool) -> Resumption:
    """Read the checkpoint from which a run resumes.

    Args:
        changed: The settings that the user changes.
        extend_schedule: The learning rate schedule changes too.

    Raises:
        RunFolderError: if the checkpoint is damaged, or is not from this run.
    """
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    files = RunFiles(folder)
    path = files.checkpoint("last")
    if not path.is_file():
        _log.info("%s has no checkpoint yet and starts from the beginning", folder.name)
        return Resumption(None, {}, changed, now)
    checkpoint = read_checkpoint(path)
    node = checkpoint.get(NODE)
    if not isinstance(node, Mapping) or node.get("format") != FORMAT:
        raise RunFolderError(
            path, "this version of snnlab cannot resume from it", f"init_from={folder} uses its weights"
        )
    if node["config_hash"] not in map(config_hash, files.config_texts):
        raise RunFolderError(folder, f"its {CONFIG} differs from the one of its checkpoint")
    return Resumption(path, {**node, "states": list(checkpoint["callbacks"])}, changed, now, extend_schedule)


def changed_kernels(node: Mapping[str, Any], backend: Backend) -> tuple[int | None, ...]:
    """Return the versions of the kernels before and now if they differ, else ().

    Args:
        node: The snnlab entry of the checkpoint; empty without a checkpoint.
        backend: The backend of the experiment.
    """
    now = kernel_version(backend)
    before = node.get("kernels")
    before = before if isinstance(before, int) else None
    return (before, now) if node and before != now else ()


def check_epochs(max_epochs: Any, resumption: Resumption) -> None:
    """Raise if `max_epochs` is below the number of epochs that the run has started."""
    started = resumption.position.epoch + (resumption.position.batch > 0)
    if isinstance(max_epochs, int) and 0 <= max_epochs < started:
        raise ConfigError(
            "trainer.max_epochs", f"the run has already started epoch {started}", f"set {started} or more"
        )
