"""Recordings given to an opened run from Python: files, arrays or events, made into frames or answered.

Axes: T steps, B recordings.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from snnlab.commands.answering import Rows, batch_of, require_sensor
from snnlab.commands.left_out import left_out_pixels
from snnlab.commands.loading import Run
from snnlab.commands.predict import answers, as_trained, reading_of
from snnlab.data.formats import Reading, read_array, read_file
from snnlab.data.settings import DataSettings
from snnlab.events import Events
from snnlab.events.framing import Framing


class RunInput:
    """What makes recordings into frames as a run has them.

    Args:
        options: `time_unit`, `time_origin`, `columns`, where they are not those of the run's own dataset.
    """

    def __init__(self, run: Run, options: Mapping[str, Any]) -> None:
        self.run = run
        self.settings: DataSettings = run.session.settings
        self.framing: Framing = as_trained(run, self.settings.framing(left_out_pixels(run, self.settings)))
        said = {f"--{name.replace('_', '-')}": _word(value) for name, value in options.items() if value is not None}
        self.reading: Reading = reading_of(run.experiment.data, said)

    def frames(self, given: Any) -> Tensor:
        """Return the frames of the first window of each recording, `[T, B, ...]`."""
        recordings = []
        for name, events in self._recordings(given):
            require_sensor(events, self.settings, name)
            camera = self.settings.camera
            recordings.append(events if camera is None else camera.still(events, self.settings.size))
        return self.framing(batch_of(recordings)).x

    def answers(self, given: Any) -> list[dict[str, Any]]:
        """Return what the network answers to each window of each recording, as `snnlab predict` writes it."""
        names = self.run.recorded.class_names(self.settings.num_classes)
        rows = Rows(self.run.session.loss, self.settings, names)
        return [
            row
            for name, events in self._recordings(given)
            for row in answers(self.run, rows, self.framing, events, name)
        ]

    def _recordings(self, given: Any) -> list[tuple[str, Events]]:
        """Return one or several recordings, with what they are called."""
        several = isinstance(given, list | tuple) and not isinstance(given, Events)
        if not several:
            return [self._recording(given, "events")]
        return [self._recording(one, f"events[{place}]") for place, one in enumerate(given)]

    def _recording(self, given: Any, name: str) -> tuple[str, Events]:
        if isinstance(given, Events):
            return name, given
        if isinstance(given, str | Path):
            path = Path(given).expanduser()
            return str(path), read_file(path, self.reading, self.settings.size)
        if isinstance(given, np.ndarray | Mapping):
            return name, read_array(given, self.reading, self.settings.size, name)
        raise TypeError(
            f"{name}: expected a file, an array [N, 4] or with fields t, x, y, p, or snnlab.events.Events, got a"
            f" {type(given).__name__}"
        )


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ",".join(value)
