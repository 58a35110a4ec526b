"""A recorded run, opened: what it recorded, its network, its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from snnlab.config.recorded_run import compose_run
from snnlab.config.schema import Experiment
from snnlab.data.events.frames import Batch
from snnlab.errors import ConfigError, did_you_mean
from snnlab.nn import BuiltNetwork, Network
from snnlab.nn.record import Recording, record
from snnlab.runs.recorded import Recorded, read_plain
from snnlab.runs.run_folder import summary_line
from snnlab.session.session import Session
from snnlab.session.weights import Checkpoint

if TYPE_CHECKING:
    from snnlab.data.data_module import EventDataModule  # which brings Lightning

Places = int | Sequence[int] | range | slice
PARTS = ("train", "val", "test")


@dataclass(frozen=True, repr=False)
class OpenedRun:
    """A recorded run, its network and its data.

    Attributes:
        plugins: Plugins that its user has named.
        overrides: What is different from the run.
    """

    folder: Path
    recorded: Recorded
    checkpoint: Checkpoint = "best"
    plugins: Sequence[str] = ()
    overrides: Sequence[str] = ()

    @cached_property
    def experiment(self) -> Experiment:
        """The experiment, as `config.yaml` has it."""
        return compose_run(self.folder, self.naming)

    @property
    def naming(self) -> list[str]:
        """The overrides: what names the plugins, and what is different."""
        return [*([f"plugins=[{','.join(self.plugins)}]"] if self.plugins else []), *self.overrides]

    @property
    def config(self) -> dict[str, Any]:
        """What `config.yaml` says, references to its own values followed."""
        return read_plain(self.folder / "config.yaml")

    @property
    def metrics(self) -> dict[str, float]:
        """`test/accuracy`, `val/loss`, `test/rate_hz/lif1`, ..."""
        return self.recorded.metrics

    @cached_property
    def epochs(self) -> dict[str, np.ndarray]:
        """The columns of `metrics.csv`, a row an epoch."""
        return self.recorded.epochs()

    @cached_property
    def predictions(self) -> dict[str, np.ndarray]:
        """The arrays of `predictions.npz`."""
        return self.recorded.predictions()

    @cached_property
    def session(self) -> Session:
        """The experiment's objects, of which the network has the checkpoint's weights."""
        return Session(self.experiment, self.folder, run=self.folder, checkpoint=self.checkpoint)

    @cached_property
    def built(self) -> BuiltNetwork:
        """The network with the checkpoint's weights, in evaluation, and the shapes of its layers."""
        self.session.network.eval()
        return self.session.built

    @property
    def network(self) -> Network:
        """The network with the checkpoint's weights, in evaluation."""
        return self.built.network

    def __repr__(self) -> str:

        recorded = self.recorded
        line = summary_line(self.folder, recorded.name, recorded.status, recorded.seed, recorded.metrics)
        return f"Run({line})"

    @cached_property
    def data(self) -> EventDataModule:
        """The data module: the packed recordings, `data.store`, which of them are for what, `data.split`, its loaders.

        The recordings have to be here, and are packed if they are not.
        """
        return Session(compose_run(self.folder, self.naming, use="data"), self.folder).data

    def batch(self, part: str = "test", places: Places = slice(None)) -> Batch:
        """Return recordings as a batch of frames, as an evaluation has them, with their targets and lengths.

        Args:
            part: `train`, `val` or `test`.
            places: Which of its recordings, or windows of them: a number, a range, a slice, numbers.

        Shape:
            `batch.x`: `[T, B, ...]`; `batch.targets` and `batch.lengths`: `[B, ...]`.
        """
        return self.data.on_after_batch_transfer(self.data.events_of(self.chosen(part, places)), 0)

    def chosen(self, part: str, places: Places) -> np.ndarray:
        """Return where in the store recordings of a part, or windows of them, are.

        Args:
            part: `train`, `val` or `test`.
            places: Which of them.

        Raises:
            ConfigError: if there is no such part.
            IndexError: if there is no such recording.
        """
        if part not in PARTS:
            raise ConfigError("", f"there is no part {part}", did_you_mean(part, PARTS), PARTS)
        there = self.data.places_of(getattr(self.data.split, part))
        try:
            return np.atleast_1d(there[places if isinstance(places, slice) else np.asarray(places, np.int64)])
        except IndexError as error:
            raise IndexError(f"{part} has {len(there):,} recordings, 0 to {len(there) - 1}") from error

    def record(self, x: Tensor, layers: list[str] | None = None) -> Recording:
        """Run frames through the network and return spikes and states of its layers.

        Args:
            x: Frames.
            layers: Names of the layers; None: all that spike or have a state.

        Shape:
            x: `[T, B, ...]`.

        Raises:
            ConfigError: if a layer is not there, or has neither.
        """
        found = record(self.network, x)
        if layers is None:
            return found
        known = found.spikes.keys() | found.states.keys()
        for name in layers:
            if name not in known:
                near = did_you_mean(name, known)
                raise ConfigError(
                    "record", f"no layer {name} has spikes or a state", near, () if near else sorted(known)
                )
        return found._replace(
            spikes={name: found.spikes[name] for name in layers if name in found.spikes},
            states={name: found.states[name] for name in layers if name in found.states},
        )
