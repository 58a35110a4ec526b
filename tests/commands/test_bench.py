"""Ways to train are compared on what their runs recorded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from .conftest import Outcome

Snnlab = Callable[..., Outcome]
N = 400


def recorded(folder: Path, seed: int, right: np.ndarray, lr: float = 0.1, data: str = "abc") -> None:
    """Write a run's folder with so many right answers."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"seed: {seed}\nmodel: {{layers: {{}}}}\ndata: {{}}\noptimizer: {{lr: {lr}}}\n")
    page = {"status": "completed", "seed": seed, "metrics": {"test/accuracy": 0.5}}
    (folder / "result.json").write_text(json.dumps({**page, "provenance": {"data_fingerprint": data}}))
    target = np.arange(len(right)) % 3
    readout = np.eye(3)[np.where(right, target, (target + 1) % 3)]
    order = np.random.default_rng(seed).permutation(len(right))  # runs need not list them in the same order
    arrays = {"recording": np.arange(len(right)) + 7, "target": target, "readout": readout}
    np.savez(folder / "predictions.npz", **{f"test_{name}": value[order] for name, value in arrays.items()})


@pytest.fixture
def arms(tmp_path: Path) -> Path:
    """Return a folder with arms a, b and c of three seeds: b is worse, c is as a."""
    rng = np.random.default_rng(0)
    difficulty = rng.beta(9, 1, N)
    for name, less in (("a", 0.0), ("b", 0.15), ("c", 0.0)):
        for seed in range(3):
            recorded(tmp_path / name / f"2026_{seed}", seed, rng.random(N) < difficulty - less)
    return tmp_path


def test_a_better_arm_is_told_from_a_worse_one(snnlab: Snnlab, arms: Path):
    done = snnlab("bench", "compare", str(arms / "b"), str(arms / "a"))
    assert done.status == 0, done.err
    assert "a is better than b: -1" in done.out
    assert "McNemar's p for each seed: " in done.out


def test_where_nobody_can_tell_it_says_so_and_what_could(snnlab: Snnlab, arms: Path):
    done = snnlab("bench", "compare", *(str(arms / name) for name in "acb"))
    assert done.status == 0, done.err
    assert "a against c: cannot tell (" in done.out
    assert "would need more" in done.out or "is told by some" in done.out
    assert "c is better than b" in done.out


def test_one_seed_is_said_to_be_one(snnlab: Snnlab, arms: Path):
    done = snnlab("bench", "compare", str(arms / "a" / "2026_0"), str(arms / "b" / "2026_0"))
    assert "One seed each says which of these networks is better, not which way to train." in done.out
    assert "a/2026_0" in done.out


def test_a_run_that_was_reproduced_counts_once(snnlab: Snnlab, arms: Path):
    shutil.copytree(arms / "b" / "2026_0", arms / "b" / "2027_0_repeated")
    assert snnlab("bench", "compare", str(arms / "a"), str(arms / "b")).status == 0


def harmed(arms: Path, harm: str) -> None:
    first = arms / "b" / "2026_0"
    if harm == "no folder":
        shutil.rmtree(arms / "b")
        return
    if harm == "no run":
        shutil.rmtree(arms / "b")
        (arms / "b").mkdir()
        return
    if harm == "the same seed twice":
        shutil.copytree(first, arms / "b" / "2026_again")
        return
    shutil.rmtree(first)
    right = np.ones(N - 1 if harm == "other recordings" else N, bool)
    recorded(first, 0, right, 0.2 if harm == "another setting" else 0.1, "xyz" if harm == "other data" else "abc")
    if harm != "another setting":
        for seed in (1, 2):
            shutil.rmtree(arms / "b" / f"2026_{seed}")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ("no folder", "snnlab: there is no folder "),
        ("no run", "there is no run in it that was completed and tested"),
        ("the same seed twice", "there are several runs with seed 0"),
        ("another setting", "its runs differ in more than their seed: optimizer.lr"),
        ("other recordings", "have other test recordings, 399 and 400 with 399 in common; nothing can be compared"),
        ("other data", "were tested on other recordings; nothing can be compared"),
    ],
)
def test_what_cannot_be_compared_is_refused(snnlab: Snnlab, arms: Path, harm: str, words: str):
    harmed(arms, harm)
    done = snnlab("bench", "compare", str(arms / "a"), str(arms / "b"))
    assert (done.status, done.out) == (2, "")
    assert words in done.err
