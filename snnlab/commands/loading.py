"""`snnlab.load`: a recorded run, opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from torch import Tensor

    from snnlab.config.schema import Experiment
    from snnlab.data.module import EventDataModule
    from snnlab.events.frames import Batch
    from snnlab.nn import BuiltNetwork, Network
    from snnlab.nn.record import Recording
    from snnlab.record.run_reading import Recorded
    from snnlab.session import Session
    from snnlab.session.weights import Checkpoint

Places = int | Sequence[int] | range | slice
PARTS = ("train", "val", "test")


def load(
    run: str | Path, checkpoint: Checkpoint = "best", plugins: Sequence[str] = (), overrides: Sequence[str] = ()
) -> Run:
    """Open a run of `snnlab train`: its network with the chosen epoch's weights, its configuration, what it recorded.

    Args:
        run: The run's folder.
        checkpoint: Whose weights: those of the chosen epoch, `best`, or of the `last` one.
        plugins: The plugins that it needs, which are code: of a run that somebody else has recorded, or that was moved
            or edited, none is imported that is not named here.
        overrides: What is different from the run, such as `["data.root=/elsewhere"]`; of such a run, where its
            recordings are is named here.

    Raises:
        RecordError: if the folder is no run's.
    """
    from snnlab.record.run_reading import read_run

    folder = Path(run).expanduser()
    return Run(folder, read_run(folder), checkpoint, tuple(plugins), tuple(overrides))


@dataclass(frozen=True, repr=False)
class Run:
    """A recorded run.

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
        from snnlab.config.of_run import compose_run

        return compose_run(self.folder, self.naming)

    @property
    def naming(self) -> list[str]:
        """The overrides: what names the plugins, and what is different."""
        return [*([f"plugins=[{','.join(self.plugins)}]"] if self.plugins else []), *self.overrides]

    @property
    def config(self) -> dict[str, Any]:
        """What `config.yaml` says, references to its own values followed."""
        from snnlab.record.run_config import read_plain

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
        from snnlab.session import Session

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
        from snnlab.record.run_folder import summary_line

        recorded = self.recorded
        line = summary_line(self.folder, recorded.name, recorded.status, recorded.seed, recorded.metrics)
        return f"Run({line})"

    @cached_property
    def data(self) -> EventDataModule:
        """The data module: the packed recordings, `data.store`, which of them are for what, `data.split`, its loaders.

        The recordings have to be here, and are packed if they are not.
        """
        from snnlab.config.of_run import compose_run
        from snnlab.session import Session

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
        import numpy as np

        from snnlab.errors import ConfigError, did_you_mean

        if part not in PARTS:
            raise ConfigError("", f"there is no part {part}", did_you_mean(part, PARTS), PARTS)
        there = self.data.places_of(getattr(self.data.split, part))
        try:
            return np.atleast_1d(there[places if isinstance(places, slice) else np.asarray(places, np.int64)])
        except IndexError as error:
            raise IndexError(f"{part} has {len(there):,} recordings, 0 to {len(there) - 1}") from error

    def frames(
        self, events: Any, *, time_unit: str | None = None, time_origin: str | None = None, columns: Any = None
    ) -> Tensor:
        """Return the frames that the network sees of recordings: of each its first window.

        Args:
            events: A file, an array `[N, 4]` or with fields t, x, y, p, a mapping of columns, or
                `snnlab.events.Events`; or a list of such.
            time_unit: s, ms, us or ns; None: that of the run's own dataset.
            time_origin: `first` or `zero`, see `snnlab predict`; None: that of the run's own dataset.
            columns: Names of the columns of an array that has none, such as `["x", "y", "t", "p"]`.

        Shape:
            returns `[T, B, ...]`.

        Raises:
            DataError: if they are no recordings of the run's sensor.
        """
        from snnlab.commands.run_events import RunInput

        return RunInput(self, {"time_unit": time_unit, "time_origin": time_origin, "columns": columns}).frames(events)

    def predict(
        self, events: Any, *, time_unit: str | None = None, time_origin: str | None = None, columns: Any = None
    ) -> list[dict[str, Any]]:
        """Return what the network answers to recordings, a row a window, as `snnlab predict` does.

        Args:
            events: See `frames`.
            time_unit: See `frames`.
            time_origin: See `frames`.
            columns: See `frames`.

        Raises:
            DataError: if they are no recordings of the run's sensor.
        """
        from snnlab.commands.run_events import RunInput

        return RunInput(self, {"time_unit": time_unit, "time_origin": time_origin, "columns": columns}).answers(events)

    def evaluate(self, part: str = "test", *overrides: str, out: str | Path | None = None) -> dict[str, Any]:
        """Let the network answer to recordings again, as `snnlab evaluate` does, and return what it records.

        Args:
            part: `train`, `val` or `test`.
            overrides: What is different, such as `"data.num_bins=64"`.
            out: The folder that is written; None: one in the run's own.

        Returns:
            `metrics`, `confusion`, ... as in the folder's `result.json`, and the `folder`.
        """
        from snnlab.commands.evaluate import evaluate_run

        values, folder = evaluate_run(self.folder, [*self.naming, *overrides], None, part, self.checkpoint, out)
        return {**values, "folder": folder}

    def figure(self, name: str, part: str = "test", recording: int = 0) -> Figure:
        """Draw a picture: `confusion`, `loss`, `rate_hz`, of one recording `events`, `raster/lif1`, ...; see `figures`.

        `figure.savefig("confusion.pdf")` writes it.

        Args:
            name: What it shows.
            part: Of which recordings: `train`, `val` or `test`.
            recording: Which of them, for a picture of one.

        Raises:
            ConfigError: if there is no such picture.
        """
        from snnlab.commands.run_figures import figure

        return figure(self, name, part, recording)

    @property
    def figures(self) -> list[str]:
        """Names of the pictures."""
        from snnlab.commands.run_figures import figure_names

        return figure_names(self)

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
        from snnlab.errors import ConfigError, did_you_mean
        from snnlab.nn.record import record

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
