"""The bench of training steps: its output, its errors, and that a wrong network is not timed."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ..refusals import assert_text_has

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_step.py"
TINY = ["--steps", "4", "--batch", "2", "--rounds", "1", "--threads", "1"]


def bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True)


def results(folder: Path) -> Any:
    assert {path.name for path in folder.iterdir()} == {"bench_step.json", "bench_step.png"}
    assert (folder / "bench_step.png").read_bytes().startswith(b"\x89PNG")
    return json.loads((folder / "bench_step.json").read_text())


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Return the bench's package, imported by its name relative to the script."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    yield importlib.import_module("stepbench")
    for name in [name for name in sys.modules if name.partition(".")[0] in ("stepbench", "surroundings")]:
        del sys.modules[name]


@pytest.mark.slow
def test_a_run_writes_all_times_and_a_figure_and_prints_a_table(tmp_path: Path) -> None:
    methods = ["relu", "snnlab_reference"]
    done = bench(*TINY, "--methods", *methods, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = results(tmp_path / "out")
    (case,) = found["cases"]
    assert (case["work"]["steps"], case["work"]["batch"], case["work"]["pool"]) == (4, 2, "avg")
    assert list(case["methods"]) == methods
    for name, method in case["methods"].items():
        assert [len(turn) for turn in method["seconds"]] == [3]
        assert method["median_ms"] == pytest.approx(1e3 * sorted(method["seconds"][0])[1])
        assert method["to_relu"] == pytest.approx(method["median_ms"] / case["methods"]["relu"]["median_ms"])
        assert method["to_fastest_library"] is None
        assert f"| {name} |" in done.stdout
    assert set(case["methods"]["relu"]["tried"]) == {"channels-last", "contiguous"}
    # Compared at a high spike rate, and at the measured one.
    compared = [(line["method"], line["spikes"]) for line in found["equality"]]
    assert compared == [("snnlab_reference", "busy"), ("snnlab_reference", "trained")]
    assert found["versions"]["torch"]
    assert found["machine"]


@pytest.mark.slow
@pytest.mark.peers
def test_a_library_is_timed_after_it_was_found_to_be_equal(tmp_path: Path) -> None:
    pytest.importorskip("spikingjelly")
    done = bench(*TINY, "--pool", "max", "--methods", "spikingjelly", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = results(tmp_path / "out")
    assert {line["variant"] for line in found["equality"]} == {"channels-last", "contiguous"}
    assert max(error for line in found["equality"] for error in line["errors"].values()) < 1e-3
    (case,) = found["cases"]
    assert case["methods"]["spikingjelly"]["to_fastest_library"] == 1.0
    assert case["methods"]["spikingjelly"]["to_relu"] is None


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["--methods", "nengo"], ("bench_step",)),
        (["--methods", "relu", "--rounds", "0"], (1, "got 0")),
    ],
)
def test_invalid_arguments_are_reported_in_one_line(arguments: list[str], facts: tuple, tmp_path: Path) -> None:
    done = bench(*arguments, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert_text_has(done.stderr.splitlines()[-1], *facts)
    assert not (tmp_path / "out").exists()


def test_a_missing_library_is_left_out_unless_it_was_named(parts: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    methods, work = importlib.import_module("stepbench.methods"), importlib.import_module("stepbench.work")
    monkeypatch.setitem(methods.METHODS, "norse", methods.METHODS["norse"]._replace(requires="no-such-library==1.0"))
    names, skipped = methods.choose_methods(None, "cpu")
    assert "norse" not in names
    assert {"relu", "snnlab_reference"} <= set(names)
    assert_text_has(skipped["norse"], "no-such-library==1.0")
    with pytest.raises(work.UsageError, match=r"^norse:"):
        methods.choose_methods(["relu", "norse"], "cpu")


def test_nothing_is_timed_if_one_method_is_another_network(
    parts: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    methods, of_bench, work = (importlib.import_module(f"stepbench.{name}") for name in ("methods", "bench", "work"))
    wrong = methods.snnlab_method(methods.preset("lif", v_threshold=1.05), "reference")
    wrong = wrong._replace(neuron=methods.preset("lif"), backend=None)  # as a library that claims to be our neuron
    monkeypatch.setitem(methods.METHODS, "wrong", wrong)
    monkeypatch.setattr(of_bench, "Worker", lambda *_: pytest.fail("a method was about to be timed"))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "NPROC"):
        monkeypatch.setenv(name, "2")  # so that what the script sets is undone
    monkeypatch.setattr(
        sys, "argv", ["bench_step.py", *TINY, "--methods", "relu", "wrong", "--out", str(tmp_path / "out")]
    )
    spec = importlib.util.spec_from_file_location("bench_step", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    with pytest.raises(SystemExit) as stopped:
        script.main()
    assert stopped.value.code == 1
    assert not (tmp_path / "out").exists()
    with pytest.raises(work.BenchError, match="wrong"):
        of_bench.check("wrong", work.Workload("conv", 4, 2), "cpu")
    of_bench.check("snnlab_reference", work.Workload("conv", 4, 2), "cpu")
