"""Methods are compared on the recorded tests of their runs."""

from __future__ import annotations

import json
import re
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ...refusals import assert_error_has, assert_text_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]
N = 400


def recorded(
    folder: Path,
    seed: int,
    right: np.ndarray,
    lr: float = 0.1,
    data: str = "abc",
    *,
    windows: int = 1,
    by: str = "recording",
) -> None:
    """Write a run's folder with this many correct predictions, of windows of recordings or recordings of groups."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"seed: {seed}\nmodel: {{layers: {{}}}}\ndata: {{}}\noptimizer: {{lr: {lr}}}\n")
    page = {"status": "completed", "seed": seed, "metrics": {"test/accuracy": 0.5}}
    (folder / "result.json").write_text(json.dumps({**page, "provenance": {"data_fingerprint": data}}))
    target = np.arange(len(right)) % 3
    readout = np.eye(3)[np.where(right, target, (target + 1) % 3)]
    order = np.random.default_rng(seed).permutation(len(right))  # runs need not list them in the same order
    of = np.arange(len(right)) // windows
    arrays = {"recording": np.arange(len(right)) + 7, "target": target, "readout": readout}
    if by == "group":
        arrays["group"] = of
    elif windows > 1:
        arrays |= {"recording": of + 7, "start_us": np.arange(len(right)) % windows * 1000}
    np.savez(folder / "predictions.npz", **{f"test_{name}": value[order] for name, value in arrays.items()})


@pytest.fixture
def methods(tmp_path: Path) -> Path:
    """Return a folder with methods a, b and c of five seeds: b is worse, c equals a."""
    rng = np.random.default_rng(0)
    difficulty = rng.beta(9, 1, N)
    for name, less in (("a", 0.0), ("b", 0.15), ("c", 0.0)):
        for seed in range(5):
            recorded(tmp_path / name / f"2026_{seed}", seed, rng.random(N) < difficulty - less)
    return tmp_path


def test_an_undecided_comparison_names_the_detectable_difference(snnlab: Snnlab, methods: Path):
    done = snnlab("bench", "compare", *(str(methods / name) for name in "acb"))
    assert done.status == 0, done.err
    assert_text_has(done.out, "a against c")
    smallest, needed = re.findall(r"detect ([0-9.]+) points in 80 % of cases; 3 points need ([0-9,]+) seeds", done.out)[
        0
    ]
    assert 1 < float(smallest) < 15
    assert int(needed) > 5
    assert_text_has(done.out, "c is better", "b: ")


def test_two_or_three_seeds_give_no_verdict(snnlab: Snnlab, tmp_path: Path):
    for name, right in (("a", 0.95), ("b", 0.5)):
        for seed in range(3):
            recorded(tmp_path / name / str(seed), seed, np.arange(N) < right * N + seed)
    done = snnlab("bench", "compare", str(tmp_path / "a"), str(tmp_path / "b"))
    assert done.status == 0
    assert_text_has(done.out, "verdict")
    assert "better" not in done.out


@pytest.mark.parametrize("by", ["recording", "group"])
def test_windows_and_persons_count_as_what_they_are_of(snnlab: Snnlab, tmp_path: Path, by: str):
    rng = np.random.default_rng(0)
    said = []
    for windows in (1, 10):
        for name, p in (("a", 0.85), ("b", 0.75)):
            for seed in range(5):
                right = np.repeat(rng.random(60) < p, windows)
                recorded(tmp_path / f"{windows}" / name / str(seed), seed, right, windows=windows, by=by)
        done = snnlab("bench", "compare", *(str(tmp_path / f"{windows}" / name) for name in "ab"))
        said.append([float(end) for end in re.findall(r"95 % interval ([-+.0-9]+) to ([-+.0-9]+)", done.out)[0]])
        rng = np.random.default_rng(0)
    assert said[0] == said[1]
    assert ("600 windows of 60 recordings" if by == "recording" else "600 recordings of 60 groups") in done.out


def test_a_comparison_of_many_seeds_and_recordings_needs_little_memory(snnlab: Snnlab, tmp_path: Path):
    rng = np.random.default_rng(0)
    for name in "ab":
        for seed in range(10):
            recorded(tmp_path / name / str(seed), seed, rng.random(20_000) < 0.8)
    tracemalloc.start()
    try:
        assert snnlab("bench", "compare", str(tmp_path / "a"), str(tmp_path / "b")).status == 0
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100e6


def test_a_run_that_was_reproduced_counts_once(snnlab: Snnlab, methods: Path):
    shutil.copytree(methods / "b" / "2026_0", methods / "b" / "2027_0_repeated")
    assert snnlab("bench", "compare", str(methods / "a"), str(methods / "b")).status == 0


def harmed(methods: Path, harm: str) -> None:
    first = methods / "b" / "2026_0"
    if harm == "no folder":
        shutil.rmtree(methods / "b")
        return
    if harm == "no run":
        shutil.rmtree(methods / "b")
        (methods / "b").mkdir()
        return
    if harm == "the same seed twice":
        shutil.copytree(first, methods / "b" / "2026_again")
        return
    shutil.rmtree(first)
    right = np.ones(N - 1 if harm == "other recordings" else N, bool)
    recorded(first, 0, right, 0.2 if harm == "another setting" else 0.1, "xyz" if harm == "other data" else "abc")
    if harm != "another setting":
        for seed in range(1, 5):
            shutil.rmtree(methods / "b" / f"2026_{seed}")


@pytest.mark.parametrize(
    ("harm", "facts"),
    [
        ("no folder", ("", "b")),
        ("no run", ("b", "tested")),
        ("the same seed twice", ("b", "seed", 0)),
        ("another setting", ("b", "seed", "optimizer.lr")),
        ("other recordings", ("", 399, 400)),
        ("other data", ("", "recordings")),
    ],
)
def test_what_cannot_be_compared_is_refused(snnlab: Snnlab, methods: Path, harm: str, facts: tuple):
    harmed(methods, harm)
    done = snnlab("bench", "compare", str(methods / "a"), str(methods / "b"))
    assert (done.status, done.out) == (2, "")
    assert_error_has(done.error, *facts)
