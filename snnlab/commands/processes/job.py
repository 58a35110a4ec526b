"""What rank 0 tells the other processes of a training to do, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from snnlab.config.schema import Experiment
from snnlab.training.resuming.resumption import Resumption

# Mappings whose keys are no texts, such as classes by number.
_PAIRS = "snnlab/pairs"


@dataclass(frozen=True)
class Job:
    """One training.

    Args:
        folder: Where rank 0 records it.
        resumption: What it goes on from, or None.
        identity: What its checkpoints belong to.
        threads: Of each process.
    """

    experiment: Experiment
    folder: Path
    resumption: Resumption | None
    identity: Mapping[str, Any]
    threads: int
    gpu: bool

    def packed(self) -> bytes:
        """Return it as it travels to another process, which reads the checkpoint itself."""
        experiment = replace(self.experiment, origin=None, threads=self.threads)
        resumption = None if self.resumption is None else replace(self.resumption, node={})
        page = {field.name: getattr(self, field.name) for field in fields(self)}
        page |= {"experiment": asdict(experiment), "resumption": resumption and asdict(resumption)}
        return json.dumps(_plain(page)).encode()


def unpacked(content: bytes) -> Job:
    """Return what `Job.packed` made.

    Raises:
        RecordError: if the checkpoint cannot be read.
    """
    from snnlab.session.last_checkpoint import read_resumption

    page = json.loads(content, object_hook=lambda node: dict(node[_PAIRS]) if _PAIRS in node else node)
    said, folder, resumption = page["experiment"], Path(page["folder"]), page["resumption"]
    of_run = said["of_run"] and Path(said["of_run"])
    page |= {"experiment": Experiment(**{**said, "of_run": of_run}), "folder": folder}
    if resumption is not None:
        found = read_resumption(folder, resumption["changed"], longer=resumption["longer"])
        page["resumption"] = replace(found, at=resumption["at"], command=resumption["command"])
    return Job(**page)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        pairs = [[key, _plain(inner)] for key, inner in value.items()]
        return dict(pairs) if all(isinstance(key, str) for key in value) else {_PAIRS: pairs}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value
