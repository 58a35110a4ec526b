"""`snnlab bench --check`, as docs/benchmarks.md promises: runs are evaluated, and what differs is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from snnlab.experiments.suite_table import table_text
from snnlab.files import load_arrays, write_npz
from snnlab.safe_tensors import read_safe_tensors, write_safe_tensors

from ...acceptance.calling import call
from ...published import RESULTS, unpacked
from ...refusals import assert_error_has, assert_text_has

RUN = Path("runs/yin_yang/linear/3")
CHECK = ("bench", "--check", "yin_yang", "yin_yang/linear")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    return unpacked("yin_yang", tmp_path)


def test_a_published_row_is_evaluated_and_is_as_recorded(suite: Path) -> None:
    done = call(suite.parent, "bench", "--check", ".", "linear")
    assert done.status == 0, done.out
    assert_text_has(done.out, "yin_yang/linear/19: 1,000 answers", "table.md", "21 of 21")


def change_answer(suite: Path) -> None:
    path = suite / RUN / "predictions.npz"
    arrays = load_arrays(path)
    arrays["test_answer"][7] = (arrays["test_answer"][7] + 1) % 3
    write_npz(path, arrays)


def change_weight(suite: Path) -> None:
    path = suite / RUN / "weights.safetensors"
    weights = read_safe_tensors(path)
    weights["out.weight"].view(-1)[0] += 1e-3
    write_safe_tensors(path, weights)


def replace(name: Path | str, old: str, new: str) -> Callable[[Path], None]:
    def change(suite: Path) -> None:
        text = (suite / name).read_text()
        assert old in text
        (suite / name).write_text(text.replace(old, new, 1))

    return change


CHANGES = {
    "answer": (change_answer, ("linear/3", "test/accuracy")),
    "weight": (change_weight, ("linear/3", "weights")),
    "table": (replace("table.md", "| 64.4 ±", "| 64.5 ±"), ("table.md", "64.5", "64.4")),
    "metric": (replace(RUN / "result.json", '"test/loss": 0.', '"test/loss": 0.9'), ("linear/3", "test/loss")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_edited_is_named_with_its_run(suite: Path, change: str) -> None:
    edit, facts = CHANGES[change]
    edit(suite)
    done = call(suite.parent, *CHECK)
    assert done.status == 1, done.out
    (line,) = [line for line in done.out.splitlines() if "DIFFERS" in line and ("table" in line) == (change == "table")]
    assert_text_has(line, *facts)


def test_a_run_without_weights_is_named_and_its_answers_are_compared(suite: Path) -> None:
    (suite / RUN / "weights.safetensors").unlink()
    done = call(suite.parent, *CHECK)
    assert done.status == 0, done.out
    assert_text_has(done.out, "yin_yang/linear/3: it has no weights")
    change_answer(suite)
    assert call(suite.parent, *CHECK).status == 1


def test_a_run_whose_recordings_are_not_here_is_named(tmp_path: Path) -> None:
    suite = unpacked("few_recordings", tmp_path)
    done = call(tmp_path, "bench", "--check", str(suite), "from_scratch", "data.root=nowhere")
    assert done.status == 1, done.out
    assert_text_has(done.out, "from_scratch/0: NOT EVALUATED", "nowhere", "4 not evaluated")


def test_what_cannot_be_checked_is_refused_in_a_line(suite: Path) -> None:
    for words, facts in ((("yin_yang", "lief"), ("yin_yang", "lief")), (("nowhere",), ("nowhere", "suite.yaml"))):
        done = call(suite.parent, "bench", "--check", *words)
        assert done.status == 2
        assert_error_has(done.error, *facts)
    done = call(suite.parent, "bench", "--check", "yin_yang", "data.rot=nowhere")
    assert done.status == 2
    assert_error_has(done.error, "data.rot=nowhere", "data.root")
    (suite / "runs").rename(suite / "other")
    (suite / "runs.tar.xz").write_bytes((suite / "runs.tar.xz").read_bytes()[:5000])
    done = call(suite.parent, *CHECK)
    assert done.status == 2
    assert_error_has(done.error, "runs.tar.xz")
    assert not (suite / "runs").exists()


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(path.name for path in RESULTS.iterdir()))
def test_a_published_table_is_that_of_its_runs(name: str, tmp_path: Path) -> None:
    suite = unpacked(name, tmp_path)
    assert table_text(suite) == (suite / "table.md").read_text()
