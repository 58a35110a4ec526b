"""What a run goes on from: its last checkpoint, read, and held against what is asked for now."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from snnlab.errors import ConfigError, RecordError
from snnlab.kernels.function import FIRST_KERNELS, Backend, kernels_of
from snnlab.runs.provenance import config_hash
from snnlab.runs.run_folder import CONFIG, earlier_configs
from snnlab.training.checkpoints import read_checkpoint
from snnlab.training.resuming import Resumption
from snnlab.training.snapshots import FORMAT, NODE

_log = logging.getLogger(__name__)


def read_resumption(folder: Path, changed: Mapping[str, Any], *, longer: bool) -> Resumption:
    """Read what a run goes on from.

    Raises:
        RecordError: if its checkpoint is damaged, or not its own.
    """
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    path = folder / "checkpoints" / "last.ckpt"
    if not path.is_file():
        _log.info("%s has no checkpoint yet and begins anew", folder.name)
        return Resumption(None, {}, changed, now)
    checkpoint = read_checkpoint(path)
    node = checkpoint.get(NODE)
    if not isinstance(node, Mapping) or node.get("format") != FORMAT:
        raise RecordError(path, "this version of snnlab cannot resume from it", f"init_from={folder} takes its weights")
    texts = [config.read_text(encoding="utf-8") for config in (folder / CONFIG, *earlier_configs(folder))]
    if node["config_hash"] not in map(config_hash, texts):
        raise RecordError(folder, f"its {CONFIG} is not the one that its checkpoint was made with")
    return Resumption(path, {**node, "states": list(checkpoint["callbacks"])}, changed, now, longer)


def other_kernels(node: Mapping[str, Any], backend: Backend) -> tuple[int | None, ...]:
    """Return the versions of the kernels before and now where they are two, else nothing.

    Args:
        node: What snnlab keeps in a checkpoint; empty where there is no checkpoint. One of a run that began before
            versions were counted has none.
        backend: What runs the neurons, as the experiment says.
    """
    now = kernels_of(backend)
    before = node.get("kernels", None if now is None else FIRST_KERNELS)
    before = before if isinstance(before, int) else None
    return (before, now) if node and before != now else ()


def check_epochs(wanted: Any, resumption: Resumption) -> None:
    """Raise if fewer epochs are asked for than are trained."""
    begun = resumption.position.epoch + (resumption.position.batch > 0)
    if isinstance(wanted, int) and 0 <= wanted < begun:
        raise ConfigError("trainer.max_epochs", f"the run has begun its epoch {begun} already", f"set {begun} or more")
