"""Answers before a recording's end: when they make sense, and what comes out of them."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from snnlab.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import lightning as L
    import numpy as np

    from snnlab.config.schema import Experiment
    from snnlab.data.module import EventDataModule
    from snnlab.data.settings import DataSettings
    from snnlab.record.anytime import Clock, Row
    from snnlab.training.module import SpikingModule


class Anytime(NamedTuple):
    """What comes out of early answers.

    Attributes:
        rows: At each threshold, and at last without one.
        clock: What a step is.
        arrays: What was found for each recording, beside its prediction.
        asked: The accuracy for which a threshold was chosen on validation recordings; None: none was.
        on_val: What that gave there; None where no threshold reaches the accuracy.
        chosen: What it gives on the test recordings.
    """

    rows: list[Row]
    clock: Clock
    arrays: Mapping[str, np.ndarray]
    asked: float | None = None
    on_val: Row | None = None
    chosen: Row | None = None

    def as_record(self) -> dict[str, Any]:
        """Return the same as `result.json` holds it."""
        of_rows = {"unit": self.clock.unit, "thresholds": [asdict(row) for row in self.rows]}
        if self.asked is None:
            return of_rows
        val, test = (None if row is None else asdict(row) for row in (self.on_val, self.chosen))
        return {**of_rows, "asked": self.asked, "on_val": val, "on_test": test}


class Early(NamedTuple):
    """That recordings are to be answered before their end.

    Attributes:
        accuracy: For which a threshold is chosen on validation recordings; None: for none.
    """

    accuracy: float | None = None

    def check(self, experiment: Experiment, settings: DataSettings, data: EventDataModule) -> None:
        """Raise a ConfigError where there are no early answers, or nothing to choose a threshold with."""
        if why := no_early_answers(experiment, settings):
            raise ConfigError(f"evaluate: --anytime: {why}")
        if self.accuracy is not None and not data.split.val.size:
            raise ConfigError("evaluate: --accuracy chooses on validation recordings, and there are none")

    def find(
        self, arrays: Mapping[str, np.ndarray], trainer: L.Trainer, module: SpikingModule, data: EventDataModule
    ) -> Anytime:
        """Return what comes out, from the arrays of a test; each further figure needs a pass of its own.

        Args:
            arrays: What the network answered to the test recordings.
            trainer: What tests.
            module: What is tested.
            data: On what; its test recordings are the validation ones afterwards, where a threshold is chosen.
        """
        from snnlab.record.anytime import answered, anytime, at_threshold, chosen_threshold
        from snnlab.record.predictions import Predictions
        from snnlab.record.spikes_so_far import SpikesSoFar

        # Not in the test itself, where what the network does is counted.
        _tested(trainer, module, data, spikes := SpikesSoFar())
        clock, seen = clock_of(data.settings), answered({**arrays, **spikes.arrays()}, "test")
        assert seen is not None
        found = Anytime(anytime(seen, clock), clock, spikes.arrays())
        if self.accuracy is None:
            return found
        data.split = replace(data.split, test=data.split.val)
        _tested(trainer, module, data, predictions := Predictions("test"))
        of_val = answered(predictions.arrays(), "test")
        assert of_val is not None
        on_val = chosen_threshold(of_val, self.accuracy, clock)
        chosen = on_val and at_threshold(seen, on_val.threshold, clock)
        return found._replace(asked=self.accuracy, on_val=on_val, chosen=chosen)


def _tested(trainer: L.Trainer, module: SpikingModule, data: EventDataModule, watcher: L.Callback) -> None:
    trainer.callbacks = [watcher]  # type: ignore[attr-defined]
    trainer.test(module, datamodule=data, verbose=False)


def asked_early(accuracy: str | None, part: str) -> Early:
    """Return what the options ask for.

    Raises:
        ConfigError: if it cannot be done.
    """
    if accuracy is None:
        return Early()
    value = part_of_1(accuracy, "evaluate: --accuracy is a part of the recordings")
    if part != "test":
        raise ConfigError(
            f"evaluate: --accuracy chooses on validation recordings and applies to test ones, not to --split {part}"
        )
    return Early(value)


def part_of_1(text: str, what: str) -> float:
    """Return a number above 0 and at most 1.

    Args:
        text: As typed.
        what: What it is, for a message.

    Raises:
        ConfigError: if it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise ConfigError(f"{what}, above 0 and at most 1, got {text}")
    return value


def no_early_answers(experiment: Experiment, settings: DataSettings) -> str | None:
    """Return why an experiment's network has no answer before a recording's end, or None where it has."""
    if settings.targets != "class":
        return f"is for one class a recording, and data.targets is {settings.targets}"
    if settings.bin_by == "count" and settings.events_per_bin is None:
        return "steps of data.bin_by: count divide all events of a recording: before its end there is none"
    if experiment.control == "counts_only":
        return "control: counts_only spreads all events over the steps: the first one knows what comes last"
    return None


def clock_of(settings: DataSettings) -> Clock:
    """Return what a step is in time, and how much later than at its end its frame is whole."""
    from snnlab.record.anytime import Clock

    dt = settings.step_ms
    kind = settings.frames if isinstance(settings.frames, str) else settings.frames.get("type")
    # A voxel grid shares an event between the two steps that are nearest, so a frame waits for half of the next step.
    shared = dt / 2 if dt is not None and kind == "voxel_grid" else 0.0
    return Clock(dt, settings.overlap_ms + shared)


def told_early(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what came out, in words."""
    from snnlab.record.tables import Table

    spikes = [] if found["thresholds"][0]["spikes"] is None else ["mean spikes"]
    head = ["sure", "accuracy", f"mean {found['unit']}", "before its end", *spikes]
    yield "answered as soon as the network is so sure:"
    yield Table(head, list(map(_cells, found["thresholds"])), words=()).text()
    if "asked" not in found:
        return
    wanted = f"{found['asked']:.1%} of the validation recordings"
    if found["on_val"] is None:
        yield f"no threshold answers {wanted} right; a lower --accuracy may be reached"
        return
    yield f"the threshold that answers {wanted} right soonest, on those and on the test recordings:"
    both = [["validation", *_cells(found["on_val"])], ["test", *_cells(found["on_test"])]]
    yield Table(["recordings", *head[: len(both[0]) - 1]], both).text()


def _cells(row: Mapping[str, Any]) -> list[str]:
    threshold = "the end" if row["threshold"] is None else f"{row['threshold']:.4g}"
    spikes = [] if row["spikes"] is None else [f"{row['spikes']:,.0f}"]
    return [threshold, f"{row['accuracy']:.1%}", f"{row['latency']:.1f}", f"{row['early']:.1%}", *spikes]
