"""What a worker is given, and what it gives back: plain values, since they go from process to process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from snnlab.errors import SnnlabError

# interrupted: by a signal, to be gone on with; stopped: by trouble that the next trial would have too.
Status = Literal["completed", "failed", "interrupted", "stopped"]
# Settings that a training which goes on is told anew: recordings may lie elsewhere by now, and another GPU be free. Not
# its threads, which sums depend on.
AROUND = ("trainer.devices", "data.root", "data.store_dir", "data.download", "data.num_workers")


@dataclass(frozen=True)
class Watched:
    """Where a trial reports its epochs, for pruning.

    Attributes:
        metric: What is reported.
        prune: Settings of `snnlab.search.settings.Prune`.
    """

    url: str
    study: str
    number: int
    metric: str
    prune: dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One training.

    Attributes:
        folder: Where it is recorded; one that is begun there goes on.
        overrides: Of `snnlab train`; one that goes on is told those of `AROUND` alone.
        config_dir: The user's folder of YAML files.
        watched: See `Watched`; None where nothing is pruned.
    """

    folder: str
    overrides: Sequence[str]
    config_dir: str | None
    place: str
    watched: Watched | None = None


class Outcome(TypedDict):
    """What came of a task."""

    status: Status
    error: str | None
    metrics: dict[str, float]
    fit_s: float
    wall_s: float
    epochs: int
    val_size: int


@dataclass(frozen=True)
class Rehearsal:
    """What a training of one batch shows before the search begins.

    Attributes:
        error: A mistake in the configuration or the data, or None.
        metrics: The names of what a run logs.
        val_size: Number of validation recordings.
        probe: Which of the lists of overrides the error is of.
    """

    error: SnnlabError | None = None
    metrics: list[str] = field(default_factory=list)
    val_size: int = 0
    probe: int = 0
