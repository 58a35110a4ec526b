"""A run whose neurons need all steps of a recording: what works, and what is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from snnlab import load, train

from ..refusals import assert_error_has
from .conftest import FAST, Outcome

Snnlab = Callable[..., Outcome]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, digits_store: str) -> Path:
    folder = tmp_path_factory.mktemp("psn")
    return train(*FAST, digits_store, "neuron=psn", f"output_dir={folder}").folder


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> str:
    events = np.zeros(200, [(name, np.int64) for name in "txyp"])
    events["t"] = np.arange(200) * 1000
    events["x"], events["y"] = np.arange(200) % 34, np.arange(200) % 30
    path = tmp_path_factory.mktemp("recordings") / "one.npy"
    np.save(path, events)
    return str(path)


def test_its_spikes_are_recorded(run: Path) -> None:
    opened = load(run)
    found = opened.record(opened.batch("test", [0]).x)
    assert found.spikes["lif1"].shape[0] == 4


def test_it_answers_whole_recordings(run: Path, recording: str, snnlab: Snnlab) -> None:
    assert len(snnlab("predict", str(run), recording).out.splitlines()) == 2


@pytest.mark.parametrize(
    ("typed", "facts"),
    [
        (["evaluate", "RUN", "--anytime"], ("evaluate", "--anytime", "lif1")),
        (["predict", "RUN", "FILE", "--until", "0.9"], ("predict", "--until", "lif1")),
        (["predict", "RUN", "FILE", "--pieces", "80"], ("predict", "--pieces", "lif1")),
        (["stream", "RUN", "FILE"], ("model.layers.lif1", "PSN")),
        (["export", "RUN", "--nir", "x.nir"], ("export", "NIR")),
        (["evaluate", "RUN", "data.num_bins=8"], (None, "lif1", 4, 8)),
    ],
)
def test_pieces_and_another_number_of_steps_are_refused(
    typed: list[str], facts: tuple, run: Path, recording: str, snnlab: Snnlab, workplace: Path
) -> None:
    done = snnlab(*({"RUN": str(run), "FILE": recording}.get(word, word) for word in typed))
    assert done.status == 2
    place, *parts = facts
    assert_error_has(done.error, str(run) if place is None else place, *parts)
