"""`snnlab.load`: a recorded run, opened from Python.

What brings Lightning or matplotlib is imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from snnlab.config.recorded_run import compose_run
from snnlab.runs.recorded import read_run
from snnlab.session.opened_run import OpenedRun
from snnlab.session.prediction import RunInput
from snnlab.session.weights import Checkpoint

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    folder = Path(run).expanduser()
    return Run(folder, read_run(folder), checkpoint, tuple(plugins), tuple(overrides))


def _with_lightning():
    from snnlab.session import evaluation, reports

    return evaluation, reports


class Run(OpenedRun):
    """A recorded run: what it recorded, its network and data, and what both make of recordings."""

    def frames(
        self, events: Any, *, time_unit: str | None = None, time_origin: str | None = None, columns: Any = None
    ) -> Tensor:
        """Return the frames that the network sees of recordings: of each its first window.

        Args:
            events: A file, an array `[N, 4]` or with fields t, x, y, p, a mapping of columns, or
                `snnlab.data.events.Events`; or a list of such.
            time_unit: s, ms, us or ns; None: that of the run's own dataset.
            time_origin: `first` or `zero`, see `snnlab predict`; None: that of the run's own dataset.
            columns: Names of the columns of an array that has none, such as `["x", "y", "t", "p"]`.

        Shape:
            returns `[T, B, ...]`.

        Raises:
            DataError: if they are no recordings of the run's sensor.
        """
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
        evaluation, _ = _with_lightning()
        typed = [*self.naming, *overrides]
        experiment = compose_run(self.folder, typed, None, "data")
        with experiment.located_errors():
            values, folder = evaluation.evaluate(self.folder, experiment, part, self.checkpoint, out, typed)
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
        _, reports = _with_lightning()
        return reports.figure(self, name, part, recording)

    @property
    def figures(self) -> list[str]:
        """Names of the pictures."""
        _, reports = _with_lightning()
        return reports.figure_names(self)
