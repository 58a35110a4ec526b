"""The cochlea: equal to lauscher's, spike for spike; its cells also against numbers that lauscher 1.0.1 computed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from scipy import signal

from snnlab.data.cochlea import Cochlea, count_fibres, fire, release, resample, spikes
from snnlab.data.wav_files import Sound
from snnlab.errors import ConfigError, DataError, MissingPackageError

from ..fixtures.sounds import stand_in_package, word
from ..refusals import assert_raises

RATE = 24_000
HAIR_CELL = SimpleNamespace(y=5.05, g=2000.0, l=2500.0, r=6580.0, x=66.3, a=5.0, b=300.0, h=50000.0, m=1.0)
BUSHY_CELL = SimpleNamespace(tau_mem=1e-3, tau_syn=5e-4, tau_refrac=1e-3, weight=13e3 / 40)


@pytest.fixture
def stand_in_lauscher() -> Iterator[None]:
    with stand_in_package():
        yield


def _velocity() -> np.ndarray:
    t = np.arange(600) / RATE
    return np.stack([300 * np.sin(2 * np.pi * 400 * t) * (t > 0.005), 60 * np.sin(2 * np.pi * 900 * t)])


def test_hair_cells_release_what_those_of_lauscher_do() -> None:
    theirs = np.array(
        [
            *(0.0026986549946257754, 0.0026986549946257754, 0.009955574644971757, 7.399765574865286e-07),
            *(0.000284157578523611, 3.373809172591142e-09, 0.0026986549946257754, 0.005388392465301948),
            *(0.001445123870412798, 0.015350769281816903, 0.013795689825939048, 0.007682780755800564),
        ]
    )
    ours = release(_velocity(), RATE, HAIR_CELL)[:, [0, 1, 150, 170, 300, 599]]
    assert ours.ravel() == pytest.approx(theirs, rel=1e-12)


def test_bushy_cells_spike_when_those_of_lauscher_do() -> None:
    random, inputs = np.random.RandomState(3), np.zeros((2, 600))
    for number, probability in enumerate(release(_velocity(), RATE, HAIR_CELL)):
        count_fibres(random.random_sample((600, 40)), probability, 24.0, inputs[number])
    channel, step = np.nonzero(fire(inputs, RATE, BUSHY_CELL))
    assert sorted(zip(step.tolist(), channel.tolist(), strict=True)) == [
        *((13, 1), (61, 1), (131, 0), (146, 1), (195, 0)),
        *((264, 0), (307, 1), (437, 1), (499, 0), (562, 0)),
    ]


@pytest.mark.long
@pytest.mark.peers
def test_the_whole_chain_is_that_of_lauscher_spike_for_spike() -> None:
    pytest.importorskip("lauscher", reason="lauscher is not installed (the extra audio)")
    from lauscher.audiowaves import MonoAudioWave  # pyright: ignore[reportMissingImports]
    from lauscher.helpers import CommandLineArguments  # pyright: ignore[reportMissingImports]
    from lauscher.transformations.wave2spike import Wave2Spike  # pyright: ignore[reportMissingImports]

    arguments: Any = CommandLineArguments()
    arguments.num_concurrent_jobs = 1
    sound = word(0, 1, 2 * RATE, 0.1)
    np.random.seed(5)
    theirs = Wave2Spike(24)(MonoAudioWave(cast("Any", sound.copy()), 2 * RATE))
    step, channel = spikes(sound, 2 * RATE, 24, np.random.RandomState(5).random_sample)
    assert len(step) > 10
    assert (step / RATE).tolist() == theirs.spike_times.tolist()
    assert channel.tolist() == theirs.spike_labels.tolist()


def test_a_recording_always_has_the_same_spikes_and_another_seed_others(stand_in_lauscher: None) -> None:
    sound = Sound(word(0, 0), 8000)
    first, again, other = (Cochlea(seed=seed).columns(sound, 20, "a") for seed in (0, 0, 1))
    assert first["t"].size > 50
    assert {name: column.tolist() for name, column in first.items()} == {
        name: column.tolist() for name, column in again.items()
    }
    assert first["t"].tolist() != other["t"].tolist()
    assert (np.diff(first["t"]) >= 0).all()


def test_loudness_does_not_matter(stand_in_lauscher: None) -> None:
    loud = word(1, 3)
    counts = [Cochlea().columns(Sound(factor * loud, 8000), 20, "a")["t"].size for factor in (1.0, 0.01, 50.0)]
    assert max(counts) - min(counts) < 0.15 * max(counts)


@pytest.mark.parametrize("number", [10, 11, 40, 41, 20])
@pytest.mark.parametrize("size", [20, 21])
def test_samples_of_another_rate_are_those_of_scipy(size: int, number: int) -> None:
    samples = np.random.default_rng(0).standard_normal(size)
    assert resample(samples, number) == pytest.approx(signal.resample(samples, number), abs=1e-12)


def test_another_rate_is_resampled(stand_in_lauscher: None) -> None:
    tones = (
        Sound(np.sin(2 * np.pi * 1000 * np.arange(rate // 5) / rate), rate) for rate in (8000, 11025, 44100, 96000)
    )
    counts = [np.bincount(Cochlea().columns(tone, 20, "a")["x"], minlength=20) for tone in tones]
    assert np.corrcoef(counts).min() > 0.85
    assert max(count.sum() for count in counts) < 1.25 * min(count.sum() for count in counts)


def test_a_long_recording_in_parts_has_the_same_spikes(
    stand_in_lauscher: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = Sound(word(0, 0), 8000)
    whole = Cochlea().columns(sound, 20, "a")
    monkeypatch.setattr("snnlab.data.cochlea._AT_ONCE", 10_000)
    parts = Cochlea().columns(sound, 20, "a")
    assert (whole["t"].tolist(), whole["x"].tolist()) == (parts["t"].tolist(), parts["x"].tolist())


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.zeros(800), ("silence",)),
        (np.full(800, 1e-300), ("silence",)),
        (np.full(800, 1e300), ("large",)),
        (np.ones(3), (10,)),
        (np.ones(300_000), ("37,500", "30,000")),
    ],
    ids=["silent", "too quiet", "too loud", "short", "long"],
)
def test_what_has_no_loudness_is_refused(
    samples: np.ndarray, words: tuple[object, ...], stand_in_lauscher: None
) -> None:
    with assert_raises(DataError, "a.wav", *words):
        Cochlea().columns(Sound(samples, 8000), 20, "a.wav")


def test_without_lauscher_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lauscher", None)
    with assert_raises(MissingPackageError, "data.cochlea", "snnlab-train[audio]"):
        Cochlea().columns(Sound(word(0, 0), 8000), 20, "a")


def test_a_rate_at_which_the_model_is_unstable_is_refused() -> None:
    with assert_raises(ConfigError, "sample_rate", "20,000", 8000):
        Cochlea(sample_rate=8000)
