"""Damped oscillators: against scipy's solver, closed forms and the energy; the dataset's input, targets and errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from snnlab.config.compose import compose_experiment
from snnlab.data.data_settings import build_dataset, read_settings
from snnlab.data.events import check_events, open_or_build
from snnlab.data.events.frames import EventBatch
from snnlab.data.sources.oscillators import DampedOscillators, Oscillators
from snnlab.errors import ConfigError, DataError
from snnlab.session import Session

from ...refusals import assert_raises


def source(**changes: Any) -> DampedOscillators:
    sizes = {"sensor_size": (32001, 1, 4), "num_classes": 4, "duration_ms": 500.0}
    return DampedOscillators(**{**sizes, "num_train": 6, "num_val": 2, "num_test": 2, **changes})


def test_the_displacements_are_those_of_a_solver_of_newtons_equation() -> None:
    rng = np.random.default_rng(0)
    system = Oscillators(np.array([1.0, 2.0, 3.0]), rng.uniform(500, 9000, 4), rng.uniform(0, 40, 4))
    initial, dt, steps = rng.standard_normal((1, 6)), 1 / 402, 201

    def force(_: float, state: np.ndarray) -> np.ndarray:
        x, v = (np.array([0.0, *part, 0.0]) for part in np.split(state, 2))  # the walls stand still
        tension = system.springs * np.diff(x) + system.dampers * np.diff(v)
        return np.concatenate([v[1:-1], np.diff(tension) / system.masses])

    times = np.arange(steps) * dt
    solved = solve_ivp(force, (0, times[-1]), initial[0], "DOP853", times, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(system.displacements(initial, steps, dt)[0], solved.y[:3].T, atol=1e-8)


def test_one_mass_is_the_textbooks_oscillator_also_where_the_matrix_is_defective() -> None:
    times, damped = np.arange(100) * 0.01, math.sqrt(900 - 36)
    expected = {
        0.0: np.cos(30 * times),
        12.0: np.exp(-6 * times) * (np.cos(damped * times) + 6 / damped * np.sin(damped * times)),
        60.0: np.exp(-30 * times) * (1 + 30 * times),  # critical
    }
    for damping, closed in expected.items():
        system = Oscillators(np.ones(1), np.array([400.0, 500.0]), np.array([damping, 0.0]))
        found = system.displacements(np.array([[1.0, 0.0]]), 100, 0.01)[0, :, 0]
        np.testing.assert_allclose(found, closed, atol=1e-10)


def test_springs_alone_keep_the_energy() -> None:
    system = source().system
    dt, x = 1 / 402, source().displacements
    assert np.all(system.dampers == 0)
    # The velocity at t from the displacements before and after it is exact for each mode but for its frequency.
    frequencies = np.sqrt(np.linalg.eigvalsh(-system.matrix[4:, :4]))
    modes = np.linalg.eigh(-system.matrix[4:, :4])[1]
    q = x @ modes
    v = (q[:, 2:] - q[:, :-2]) / (2 * np.sin(frequencies * dt) / frequencies)
    energy = (v**2 + (frequencies * q[:, 1:-1]) ** 2).sum(-1) / 2
    np.testing.assert_allclose(energy, np.broadcast_to(energy[:, :1], energy.shape), rtol=1e-8)


def test_the_yaml_has_the_published_numbers() -> None:
    node = compose_experiment(["data=damped_oscillators"], None)[0].data
    dataset, settings = build_dataset(node), read_settings(node)[0]
    assert isinstance(dataset, DampedOscillators)
    assert np.bincount(dataset.split).tolist() == [3277, 409, 410]  # of 4,096: train, test, validation
    assert (settings.steps, settings.step_ms) == (201, pytest.approx(1000 / 402))
    assert dataset.system.masses.tolist() == [1, 1, 1, 1]
    assert dataset.system.springs.shape == (5,)
    assert 500 <= dataset.system.springs.min() < dataset.system.springs.max() <= 10_000
    assert dataset.displacements[:, 0].std() == pytest.approx(1, abs=0.02)
    other = build_dataset({**node, "system_seed": 1})
    assert isinstance(other, DampedOscillators)
    assert other.system.springs.tolist() != dataset.system.springs.tolist()


def test_a_frame_is_the_rounded_displacement_of_its_step_and_its_target_the_next_one(store_dir: Any) -> None:
    node = {
        **compose_experiment(["data=damped_oscillators"], None)[0].data,
        "num_train": 6,
        "num_val": 2,
        "num_test": 2,
    }
    settings, dataset = read_settings(node)[0], build_dataset(node)
    assert isinstance(dataset, DampedOscillators)
    for index in range(2):
        check_events(dataset.read(index), dataset.sensor_size, dataset.name(index))
    store = open_or_build(dataset, store_dir)
    batch = settings.frame_builder()(EventBatch.from_packed(store.gather(np.arange(10))))
    frames, x = batch.x[..., 0].transpose(0, 1).double().numpy(), dataset.displacements
    assert batch.targets.shape == (201, 10, 4)
    np.testing.assert_allclose(frames[:, :101], x[:, :101], atol=0.000251)
    assert not frames[:, 101:].any()
    assert torch.equal(batch.targets.transpose(0, 1), torch.from_numpy(x[:, 1:]).float())
    with assert_raises(DataError, "data.num_bins", 100, 201):
        settings.__class__(**{**vars(settings), "num_bins": 100}).frame_builder()(
            EventBatch.from_packed(store.gather(np.arange(2)))
        )


@pytest.mark.parametrize(
    ("changes", "error", "facts"),
    [
        ({"spring_range": [5, 1]}, ConfigError, ("spring_range", "[5, 1]")),
        ({"targets": "class"}, ConfigError, ("targets", "series", "class")),
        ({"mass_range": [0, 1]}, ConfigError, ("mass_range", 1)),
        ({"known_steps": 300}, ConfigError, ("known_steps", 201, 300)),
        ({"sensor_size": (9, 2, 4)}, ConfigError, ("sensor_size", "[9, 2, 4]")),
        ({"displacement_range": (-1.0, 1.0)}, DataError, ("data.displacement_range", "-1 to 1")),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any], error: type, facts: tuple[Any, ...]) -> None:
    with assert_raises(error, *facts):
        source(**changes).read(0)


@pytest.mark.parametrize(
    ("override", "facts"),
    [
        ("loss=mse", ("loss", "mse", "mse_series")),
        ("data.mix=mixup", ("data.mix", "mixup", "series")),
        ("data.stride_ms=50", ("data.stride_ms", "series")),
        ("data.length_from=recording", ("data.length_from", "series")),
        ("selection=best_val_accuracy", ("selection",)),
    ],
)
def test_what_is_not_for_values_at_each_step_is_refused(override: str, facts: tuple[str, ...], tmp_path: Any) -> None:
    with assert_raises(ConfigError, *facts):
        experiment = compose_experiment(["data=damped_oscillators", "loss=mse_series", override], None)[0]
        with experiment.located_errors():
            Session(experiment, tmp_path).build("loss")
