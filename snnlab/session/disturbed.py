"""Measures how many answers of a run's network are right under disturbances, which change a copy of it, or its input.

Axes: T steps, B recordings of a batch, L levels, R repetitions, N recordings.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.image import imsave
from torch import Tensor

from snnlab.config.schema import Experiment
from snnlab.console import quiet_lightning, say
from snnlab.data.event_disturbances import EVENT_DISTURBANCES, EventDisturbance
from snnlab.data.events.representation import Level
from snnlab.errors import ConfigError, did_you_mean
from snnlab.files import unwritable, write_json, write_npz, write_text
from snnlab.nn.disturbances import DISTURBANCES, Disturbance
from snnlab.nn.layer import Counts
from snnlab.nn.network import Network
from snnlab.runs.plots.robustness_plot import draw_robustness
from snnlab.runs.plots.style import default_style, render
from snnlab.runs.robustness import ANSWERS, RECORD, RobustnessCurve, area_table, robustness_csv, robustness_table
from snnlab.runs.run_folder import CheckpointName
from snnlab.runs.tables import Table, format_duration
from snnlab.seeds import Stream, derived_seed
from snnlab.session.evaluation import evaluation_folder
from snnlab.session.session import Session
from snnlab.session.weights import require_not_trained_on
from snnlab.target_kinds import IGNORED

_log = logging.getLogger(__name__)

MOST_HOURS = 12.0
PLACE = "robust: --disturb"


class RobustnessRequest(NamedTuple):
    """What is measured.

    Attributes:
        levels: The levels of each disturbance by its name, None: its own; None in place of the mapping: all that apply.
        repetitions: Repetitions of each level of a random disturbance.
        recordings: At most this number, the first ones of the part; None: all.
        seed: Seed of all random numbers.
        named: Whether a named disturbance that would change nothing is a mistake; else it is left out.
    """

    levels: Mapping[str, Sequence[float] | None] | None = None
    repetitions: int = 5
    recordings: int | None = None
    seed: int = 0
    named: bool = True

    def check(self, place: str) -> None:
        """Raise a ConfigError for an unknown disturbance."""
        known = [*DISTURBANCES, *EVENT_DISTURBANCES]
        for name in self.levels or ():
            if name not in known:
                near = did_you_mean(name, known)
                raise ConfigError(place, f"there is no {name}", near, () if near else known)


class MeasuredRobustness(NamedTuple):
    """The curves of a run, and the folder that has them."""

    curves: list[RobustnessCurve]
    folder: Path

    @property
    def tables(self) -> list[Table]:
        """The levels of all curves, and their areas."""
        return [robustness_table(self.curves), area_table(self.curves)]


def measure_robustness(
    run: Path | None,
    experiment: Experiment,
    part: str,
    checkpoint: CheckpointName,
    out: str | Path | None,
    request: RobustnessRequest,
) -> MeasuredRobustness:
    """Measure the curves of a run, write them, and return them with their folder.

    Args:
        run: The run's folder, which stays as it is but for the new folder; None: the network is that of the
            experiment's initial weights.
        part: The recordings: `test`, `val` or `train`.
        out: The output folder; None: a new one among the evaluations of the run.
    """
    request.check(PLACE)
    assert run is not None or out is not None
    folder = evaluation_folder(run, part, checkpoint) if run and out is None else Path(str(out)).expanduser()
    session = Session(experiment, folder, run=run, checkpoint=checkpoint)
    measurement, curves = measured_curves(session, part, request)
    _write(folder, curves, measurement, request)
    return MeasuredRobustness(curves, folder)


def measured_curves(
    session: Session, part: str, request: RobustnessRequest
) -> tuple[Measurement, list[RobustnessCurve]]:
    """Return the curves of a session's network, and what they were measured on."""
    session.use_threads()
    session.build("loss", "network")
    if session.settings.targets not in ("class", "steps"):
        raise ConfigError("robust", f"counts right classes, and data.targets is {session.settings.targets}")
    if part != "train" and session.run is not None:
        require_not_trained_on(session.run, session.data, part)
    with quiet_lightning():
        session.set_computation()
    measurement = Measurement(session, part, request)
    return measurement, measurement.curves()


class _Answers(NamedTuple):
    """Whether each recording is answered correctly, or the part of its labelled steps, `[N]`; the mean of spikes."""

    right: np.ndarray
    spikes: float


class Measurement:
    """The network and the recordings of a measurement."""

    def __init__(self, session: Session, part: str, request: RobustnessRequest) -> None:
        self.session, self.data, self.request = session, session.data, request
        self.network = session.network.eval()
        self.items = self.data.epoch_items(getattr(self.data.split, part))[: request.recordings]
        if not self.items.size:
            raise ConfigError("robust", f"there are no {part} recordings")
        of_item = self.items if self.data.windows is None else self.data.windows.recording[self.items]
        self.clusters = self.data.groups[of_item] if self.data.store.groups is not None else of_item

    def curves(self) -> list[RobustnessCurve]:
        """Return the curve of each disturbance."""
        kinds = list(self._kinds())
        start = time.perf_counter()
        undisturbed = self._answers(self.network)
        each = time.perf_counter() - start
        work = [(name, kind, self._levels(name, kind), self._repetitions(kind)) for name, kind in kinds]
        evaluations = sum(sum(level != 0 for level in levels) * repetitions for _, _, levels, repetitions in work)
        hours = evaluations * each * torch.get_num_threads() / 3600
        say(
            f"{undisturbed.right.mean():.2%} of {self.items.size:,} recordings right without a disturbance;"
            f" {evaluations} evaluations of {format_duration(each)}, {hours:.2f} core-hours"
        )
        if hours > MOST_HOURS:
            fix = "--recordings, --disturb or --repetitions make it shorter"
            raise ConfigError("robust", f"would take {hours:.0f} core-hours, above {MOST_HOURS:g}", fix)
        return [self._curve(*one, undisturbed) for one in work]

    def _kinds(self) -> Iterator[tuple[str, Any]]:
        """Yield the disturbances that are measured: those that are named, or all that change something."""
        names = list(self.request.levels or [*DISTURBANCES, *EVENT_DISTURBANCES])
        for name in names:
            events = name in EVENT_DISTURBANCES
            kind: Any = (EVENT_DISTURBANCES if events else DISTURBANCES).get(name, PLACE)
            if reason := self._no_effect(kind, events=events):
                if self.request.levels and self.request.named:
                    raise ConfigError(PLACE, f"{name}: {reason}")
                say(f"{name}: not measured, {reason}")
            else:
                yield name, kind

    def _no_effect(self, kind: Any, *, events: bool) -> str | None:
        """Return why a disturbance would change nothing, or None."""
        if events:
            level = isinstance(self.session.settings.frame_builder().representation, Level)
            return "the input is levels, not events" if level else None
        one = kind(kind.levels[-1])
        if type(one).frames is not Disturbance.frames:
            return None
        with torch.no_grad():
            changed = one.disturb(deepcopy(self.network), self._sample, torch.Generator())
        return None if changed else "the network has nothing that it changes"

    def _levels(self, name: str, kind: Any) -> Sequence[float]:
        own = (self.request.levels or {}).get(name)
        return kind.levels if own is None else tuple(map(float, own))

    def _repetitions(self, kind: Any) -> int:
        return self.request.repetitions if getattr(kind, "random", True) else 1

    def _curve(
        self, name: str, kind: Any, levels: Sequence[float], repetitions: int, undisturbed: _Answers
    ) -> RobustnessCurve:
        found = [
            [undisturbed if level == 0 else self._disturbed(name, kind, level, number) for number in range(repetitions)]
            for level in levels
        ]
        right = np.stack([np.stack([one.right for one in of_level]) for of_level in found])
        spikes = np.array([[one.spikes for one in of_level] for of_level in found])
        curve = RobustnessCurve(name, kind.unit, tuple(levels), right, spikes, self.clusters)
        _log.info("%s: mean %.1f %%", name, 100 * curve.area)
        return curve

    def _disturbed(self, name: str, kind: Any, level: float, repetition: int) -> _Answers:
        if issubclass(kind, EventDisturbance):
            settings = self.session.settings
            return self._answers(self.network, kind(level, settings.size, settings.duration_ms), repetition=repetition)
        own = zlib.crc32(f"{name} {level!r}".encode())  # so that a level has its noise in any list of levels
        rng = torch.Generator().manual_seed(derived_seed(self.request.seed, Stream.DISTURBANCE, own, repetition))
        disturbance, network = kind(level), deepcopy(self.network)
        with torch.no_grad():
            disturbance.disturb(network, self._sample, rng)
        return self._answers(network, disturbance, rng, repetition)

    @property
    def _sample(self) -> torch.Tensor:
        return torch.zeros(1, 1, *self.session.settings.frame_shape)

    def _answers(
        self,
        network: Network,
        disturbance: Disturbance | EventDisturbance | None = None,
        rng: torch.Generator | None = None,
        repetition: int = 0,
    ) -> _Answers:
        """Return the answers of a network to all recordings."""
        data, loss, right, spikes = self.data, self.session.loss, [], 0.0
        pipeline = disturbance.pipeline if isinstance(disturbance, EventDisturbance) else None
        for items in np.split(self.items, range(data.settings.batch_size, self.items.size, data.settings.batch_size)):
            events = data.gather_events(items, pipeline, self.request.seed, repetition)
            with torch.no_grad():
                batch, counts = data.frame_builder(events), Counts()
                x = batch.x
                if isinstance(disturbance, Disturbance):
                    assert rng is not None
                    x = disturbance.frames(x, rng)
                y, _ = network(x, lengths=batch.short_lengths, counts=counts)
                answers = loss.readout(y, batch.lengths).argmax(-1)
            right.append(_right(answers, batch.targets))
            spikes += sum(float(number.sum(dtype=torch.float64)) for number in counts.values())
        return _Answers(np.concatenate(right), spikes / self.items.size)


def _right(answers: Tensor, targets: Tensor) -> np.ndarray:
    """Return whether each recording is answered correctly; of labels over time, the part of its labelled steps.

    Shape:
        answers, targets: `[B]`, or `[T, B]` of labels over time; returns `[B]`.
    """
    right = (answers == targets).numpy()
    if targets.dim() == 1:
        return right
    has_label = (targets != IGNORED).numpy()
    return (right & has_label).sum(0) / np.maximum(has_label.sum(0), 1)


def _write(
    folder: Path, curves: Sequence[RobustnessCurve], measurement: Measurement, request: RobustnessRequest
) -> None:
    record = {
        "data_fingerprint": measurement.data.store.fingerprint,
        "recordings": int(measurement.items.size),
        "request": request._asdict(),
        "disturbances": {curve.name: curve.record() for curve in curves},
    }
    arrays = {f"{curve.name}/{what}": value for curve in curves for what, value in curve.arrays().items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / RECORD, record)
        write_text(folder / "robustness.csv", robustness_csv(curves))
        write_npz(folder / ANSWERS, {"item": measurement.items, "cluster": measurement.clusters, **arrays})
        with default_style():
            imsave(folder / "robustness.png", render(draw_robustness({"": curves})))
    except OSError as error:
        raise unwritable(folder, error) from error
