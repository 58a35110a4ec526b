"""Simulated damped oscillators: masses in a row between two walls, coupled by springs and dampers.

Axes: R recordings, T steps, K masses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch

from snnlab.data.dataset import DATASETS
from snnlab.data.events import Events, SensorSize
from snnlab.data.events.recording import polarity_dtype
from snnlab.data.splits import TEST, TRAIN, VAL
from snnlab.errors import ConfigError, DataError
from snnlab.settings import Count, NonNegative, at_least
from snnlab.target_kinds import Targets

Bounds = Annotated[Sequence[int], at_least(0)]
_UNITS = {"masses": "kg", "springs": "N/m", "dampers": "N s/m"}


class Oscillators(NamedTuple):
    """A row of masses; spring and damper k are left of mass k, the last ones between the last mass and the wall.

        m_k x_k'' = c_k (x_(k-1) - x_k) + c_(k+1) (x_(k+1) - x_k) + d_k (x_(k-1)' - x_k') + d_(k+1) (x_(k+1)' - x_k')

    with x = 0 at both walls.

    Shape:
        masses (kg): `[K]`; springs (N/m), dampers (N s/m): `[K + 1]`.
    """

    masses: np.ndarray
    springs: np.ndarray
    dampers: np.ndarray

    @property
    def matrix(self) -> np.ndarray:
        """The matrix A of (x, x')' = A (x, x'), 1/s, `[2K, 2K]`."""
        number = len(self.masses)
        stiffness, damping = (_coupling(between) / self.masses[:, None] for between in (self.springs, self.dampers))
        return np.block([[np.zeros((number, number)), np.eye(number)], [-stiffness, -damping]])

    def displacements(self, initial: np.ndarray, steps: int, dt: float) -> np.ndarray:
        """Return the displacements at 0, dt, 2 dt, ..., exact but for rounding: x(t + dt) = exp(A dt) x(t).

        Args:
            initial: Displacements and velocities at 0.
            steps: Number of steps.
            dt: Length of a step, s.

        Shape:
            initial: `[R, 2K]`; returns `[R, steps, K]`.
        """
        propagator = torch.linalg.matrix_exp(torch.from_numpy(self.matrix * dt)).numpy().T
        states = np.empty((steps, *initial.shape))
        states[0] = initial
        for step in range(1, steps):
            states[step] = states[step - 1] @ propagator
        return states[..., : len(self.masses)].transpose(1, 0, 2)


def _coupling(between: np.ndarray) -> np.ndarray:
    """Return the matrix of the forces per displacement, `[K + 1]` to `[K, K]`."""
    inner = between[1:-1]
    return np.diag(between[:-1] + between[1:]) - np.diag(inner, 1) - np.diag(inner, -1)


def draw_oscillators(number: int, ranges: Mapping[str, Sequence[int]], rng: np.random.Generator) -> Oscillators:
    """Draw a system: whole numbers, uniform within `ranges`, [low, high] of masses, springs and dampers, in this order.

    Args:
        number: Number of masses.
        ranges: The ranges, by the fields of `Oscillators`.
        rng: Source of the numbers.
    """
    drawn = {}
    for name in Oscillators._fields:
        low, high = ranges[name]
        drawn[name] = rng.integers(low, high, number + (name != "masses"), endpoint=True).astype(float)
    return Oscillators(**drawn)


# Keys of the simulation's random streams; the parts of the split follow.
_SYSTEM, _FIRST_PART = range(2)


@DATASETS.register("damped_oscillators")
class DampedOscillators:
    """Displacements of masses between springs: predict the next ones, and from `known_steps` on those after them.

    The input of step t is the displacement x[t] at t dt, for t < known_steps, the target of every step x[t + 1]. All
    recordings are of one system; they begin with other displacements, normal with a standard deviation of 1, at rest.
    A displacement is one event per mass and step, whose column is the displacement, rounded to the W levels of
    `displacement_range`; targets are not rounded.

    Args:
        sensor_size: [W, 1, K]: W levels of displacement, K masses.
        num_classes: Number of masses K.
        duration_ms: Length of a recording, ms.
        targets: `series`, the displacements after each step.
        steps: Steps of a recording.
        known_steps: Number of steps whose displacements are given; later ones have no events.
        num_train: Number of recordings for training.
        num_val: Number of recordings for validation.
        num_test: Number of recordings for testing.
        mass_range: [low, high] of the masses, kg; whole numbers.
        spring_range: [low, high] of the stiffness of the springs, N/m.
        damper_range: [low, high] of the damping, N s/m; [0, 0]: none.
        displacement_range: [low, high] of the displacements that the levels reach.
        system_seed: Seed of masses, springs and dampers.
        simulation_seed: Seed of the displacements at the start.

    Raises:
        ConfigError: if a number is out of its range.
        DataError: if a displacement is out of its range.

    Source: Baronig et al., Nature Communications 16, 2025, figure 4; numbers from their code.
    """

    label = "damped_oscillators"
    groups = None

    def __init__(
        self,
        sensor_size: Sequence[int],
        num_classes: int,
        duration_ms: float,
        targets: Targets = "series",
        steps: Annotated[int, at_least(2)] = 201,
        known_steps: Count = 101,
        num_train: Count = 3277,
        num_val: NonNegative = 410,
        num_test: NonNegative = 409,
        mass_range: Bounds = (1, 1),
        spring_range: Bounds = (500, 10_000),
        damper_range: Bounds = (0, 0),
        displacement_range: Sequence[float] = (-8.0, 8.0),
        system_seed: NonNegative = 0,
        simulation_seed: NonNegative = 0,
    ) -> None:
        width, height, masses = sensor_size
        if targets != "series":
            raise ConfigError("targets", f"must be series, values at each step, got {targets}")
        if height != 1:
            raise ConfigError("sensor_size", f"must be [W, 1, K], levels and masses, got {list(sensor_size)}")
        ranges = {"mass_range": mass_range, "spring_range": spring_range, "damper_range": damper_range}
        for name, bounds in {**ranges, "displacement_range": displacement_range}.items():
            if len(bounds) != 2 or bounds[0] > bounds[1]:
                raise ConfigError(name, f"expected [low, high], got {list(bounds)}")
        if not mass_range[0]:
            raise ConfigError("mass_range", "masses are 1 or more, got 0")
        if known_steps > steps:
            raise ConfigError("known_steps", f"must be at most the {steps} steps, got {known_steps}")
        self.sensor_size: SensorSize = (width, height, masses)
        self.num_classes, self.class_names = masses, [f"x{number + 1}" for number in range(masses)]
        self.steps, self.known_steps, self.step_ms = steps, known_steps, duration_ms / steps
        self.numbers, self.ranges = (num_train, num_val, num_test), ranges
        self.displacement_range = (float(displacement_range[0]), float(displacement_range[1]))
        self.system_seed, self.simulation_seed = system_seed, simulation_seed
        self.split = np.repeat(np.array([TRAIN, VAL, TEST], np.uint8), self.numbers)
        fields = dict(zip(Oscillators._fields, ranges.values(), strict=True))
        self.system = draw_oscillators(masses, fields, self._generator(system_seed, _SYSTEM))
        self.notes = [f"system {system_seed}: " + ", ".join(_text(*item) for item in self.system._asdict().items())]

    @cached_property
    def displacements(self) -> np.ndarray:
        """The displacements at the times 0, dt, ..., steps dt, `[R, steps + 1, K]`."""
        masses = len(self.system.masses)
        initial = np.zeros((len(self), 2 * masses))
        drawn = [
            self._generator(self.simulation_seed, _FIRST_PART + part).standard_normal((number, masses))
            for part, number in enumerate(self.numbers)
        ]
        initial[:, :masses] = np.concatenate(drawn)
        found = self.system.displacements(initial, self.steps + 1, self.step_ms / 1000)
        low, high = self.displacement_range
        if found.min() < low or found.max() > high:
            raise DataError(
                "data.displacement_range",
                f"is {low:g} to {high:g}, but displacements are from {found.min():.3g} to {found.max():.3g}",
                "widen it",
            )
        return found

    @cached_property
    def targets(self) -> np.ndarray:
        """The displacements after each step, `[R, steps, K]`."""
        return self.displacements[:, 1:].astype(np.float32)

    def fingerprint(self) -> dict[str, Any]:
        """Return the seeds, the sizes, the ranges and the times."""
        return {
            "dataset": self.label,
            "seeds": [self.system_seed, self.simulation_seed],
            "numbers": list(self.numbers),
            "ranges": {name: list(bounds) for name, bounds in self.ranges.items()},
            "levels": [*self.sensor_size, *self.displacement_range],
            "steps": [self.steps, self.known_steps, self.step_ms],
        }

    def __len__(self) -> int:
        return sum(self.numbers)

    def name(self, index: int) -> str:
        """Return the index of the recording, as text."""
        return f"simulated displacements {index}"

    def read(self, index: int) -> Events:
        """Return the known displacements of one recording; an event is in the middle of its step."""
        low, high = self.displacement_range
        width, _, masses = self.sensor_size
        part = (self.displacements[index, : self.known_steps] - low) / (high - low)
        t = np.rint(1000 * self.step_ms * (np.arange(self.known_steps) + 0.5)).astype(np.int64)
        p = np.tile(np.arange(masses), self.known_steps).astype(polarity_dtype(masses))
        return Events(np.repeat(t, masses), np.rint(part * (width - 1)).astype(np.int16).reshape(-1), None, p)

    def _generator(self, seed: int, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def _text(name: str, values: np.ndarray) -> str:
    return f"{name} {' '.join(f'{value:g}' for value in values)} {_UNITS[name]}"
