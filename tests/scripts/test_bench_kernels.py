"""The bench of kernels: two codes on the same case, compared before they are timed, and the other commit's checkout."""

from __future__ import annotations

import importlib
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ..refusals import assert_text_has

BENCH_MODULES = ("kernelbench", "stepbench", "bench_kernels", "bench_step")
SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Return the bench's module, imported by its name relative to the script."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield importlib.import_module("kernelbench.bench")
    for name in [name for name in sys.modules if name.partition(".")[0] in BENCH_MODULES]:
        del sys.modules[name]


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(
        ["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository of two commits, whose file has the commit's name."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet")
    for text in ("first", "second"):
        (folder / "file").write_text(text)
        git(folder, "add", "file")
        git(folder, "commit", "--quiet", "-m", text)
    return folder


@pytest.mark.slow
def test_a_case_is_compared_timed_and_written(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def this_code(*_: object) -> Iterator[Path]:
        yield bench.ROOT

    monkeypatch.setattr(bench, "checkout_of", this_code)
    settings = Namespace(against="HEAD", checkout=None, cases=["inplace"], shapes=["32x11x11"])
    settings.steps, settings.batch, settings.pairs, settings.rounds = 2, 1, 1, 2
    settings.out = tmp_path / "new" / "table.md"
    bench.run(settings)
    printed = capsys.readouterr().out
    assert settings.out.read_text() == printed
    *_, head, line, row = printed.splitlines()
    assert "32x11x11 forward" in head
    assert set(line) <= set("| -:")
    _, title, forward, backward, ratio, _ = row.split("|")
    assert_text_has(title.strip(), "atan", "x's memory")
    for cell in (forward, backward):
        least, middle = zip(*(map(float, side.split("/")) for side in cell.split("->")), strict=True)
        assert all(0 < one <= other for one, other in zip(least, middle, strict=True))
    assert all(0.1 < float(text) < 10 for text in ratio.split("/"))


def test_all_cases_of_the_report_are_there_in_both_sizes_and_those_that_were_plain(bench: ModuleType) -> None:
    cases = importlib.import_module("kernelbench.cases")
    assert len({case.title for case in cases.CASES.values()}) == len(cases.CASES)
    assert [cases.SHAPES[shape] for shape in cases.IMAGES] == [(12, 30, 30), (32, 11, 11)]
    assert sum(case.shapes == cases.IMAGES for case in cases.CASES.values()) == 19
    plain = {name: case for name, case in cases.CASES.items() if case.shapes != cases.IMAGES}
    assert set(plain) == {"adlif", "lsnn", "alpha"}
    assert {(cases.SHAPES[shape], case.steps) for case in plain.values() for shape in case.shapes} == {((512,), 100)}


def test_nothing_is_timed_if_a_spike_differs_and_gradients_can_differ_by_rounding(
    bench: ModuleType, tmp_path: Path
) -> None:
    one, other = tmp_path / "one.npz", tmp_path / "other.npz"
    results = {"output y": np.array([0.0, 1.0]), "gradient of x": np.array([1.0, 2.0])}
    np.savez(one, allow_pickle=False, **results)
    np.savez(other, allow_pickle=False, **{**results, "gradient of x": np.array([1.0, 2.00001])})
    bench.require_equal("case", one, other)
    for name, wrong in (("output y", np.array([0.0, 0.9999999])), ("gradient of x", np.array([1.0, 2.1]))):
        np.savez(other, allow_pickle=False, **{**results, name: wrong})
        with pytest.raises(bench.BenchError, match=name):
            bench.require_equal("case", one, other)
    np.savez(other, allow_pickle=False, **{"output y": results["output y"]})
    with pytest.raises(bench.BenchError, match="gradient"):
        bench.require_equal("case", one, other)


def test_a_case_that_a_commit_lacks_leaves_a_gap(bench: ModuleType) -> None:
    lacking = bench.Measured({}, {}, lacks="HEAD: ValueError: no such neuron")
    timed = bench.Measured({"forward": [2.0], "backward": [2.0]}, {"forward": [1.0], "backward": [2.0]})
    settings = Namespace(steps=2, batch=1, pairs=1, rounds=1, against="HEAD")
    text = bench.table({("lif", "12x30x30"): timed, ("alif", "12x30x30"): lacking}, settings)
    assert "0.75 / 0.75" in text
    assert_text_has(text.splitlines()[-1], "no such", "neuron")
    assert_text_has(text, "1 cases", "above 1")


def test_the_other_commit_is_checked_out_and_leaves_nothing(bench: ModuleType, repository: Path) -> None:
    with bench.checkout_of("HEAD~1", None, repository) as folder:
        assert (folder / "file").read_text() == "first"
        assert (repository / "file").read_text() == "second"
    assert not folder.exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_a_named_checkout_is_kept_and_used_again(bench: ModuleType, repository: Path, tmp_path: Path) -> None:
    named = tmp_path / "named"
    for _ in range(2):
        with bench.checkout_of("HEAD~1", named, repository) as folder:
            assert folder == named
            assert (folder / "file").read_text() == "first"
    with pytest.raises(bench.UsageError, match="HEAD"), bench.checkout_of("HEAD", named, repository):
        pass


def test_a_missing_commit_is_reported_in_one_line(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = importlib.import_module("bench_kernels")
    for name in script.THREADS:
        monkeypatch.setenv(name, "1")  # so that what the script sets is undone
    monkeypatch.setattr(sys, "argv", ["bench_kernels.py", "--against", "nothing"])
    with pytest.raises(SystemExit) as stopped:
        script.main()
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "nothing" in line
