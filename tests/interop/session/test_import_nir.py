"""Imported networks are folders that every command takes as a run's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnlab.cli.main import main
from snnlab.config.recorded_run import compose_run
from snnlab.errors import ConfigError, RunFolderError
from snnlab.interop.nir_files import write_graph
from snnlab.interop.nir_options import NIRReadOptions
from snnlab.interop.session.import_run import import_nir
from snnlab.session.session import Session

from ...refusals import assert_raises, assert_text_has

nir: Any = pytest.importorskip("nir")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file of two populations; one has values that differ between its neurons."""
    rng = np.random.default_rng(0)
    one, each = np.ones(6), rng.uniform(0.01, 0.02, 6)
    weights = [rng.normal(0, 1, shape).astype(np.float32) for shape in ((6, 8), (3, 6))]
    graph = nir.NIRGraph.from_list(
        nir.Affine(weights[0], np.zeros(6, np.float32)),
        nir.LIF(each, one, 0 * one, one),
        nir.Linear(weights[1]),
        nir.LI(0.01 * np.ones(3), np.ones(3), np.zeros(3)),
    )
    write_graph(tmp_path / "two.nir", graph)
    return tmp_path / "two.nir"


def test_the_result_says_where_it_comes_from_and_what_was_assumed(path: Path, tmp_path: Path) -> None:
    read = import_nir(path, tmp_path / "run", NIRReadOptions(), [])
    page = json.loads((tmp_path / "run" / "result.json").read_text())["provenance"]["imported"]
    assert len(page["sha256"]) == 64
    assert page["assumptions"] == read.assumptions
    assert page["options"]["time_unit"] == "s"
    assert page["layer_of_node"]["lif"] == "lif"


def test_the_command_prints_each_assumption_and_the_folder(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    monkeypatch.setattr(
        "sys.argv", ["snnlab", "import", str(path), "--out", str(out), "--time-unit", "ms", "--dt", "0.001"]
    )
    assert main() == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == str(out)
    assert_text_has(lines[0], "time_unit", "ms")


@pytest.mark.parametrize(
    ("options", "fact"),
    [(["--time-unit", "hours"], "hours"), (["--dt", "-1"], "-1"), (["--dt", "x"], "x"), (["--cycle-delay", "0"], "0"),
     (["--spikes-per-step", "several", "--reset", "zero"], "several"), (["data=saccade_digits"], "[8]")],
)  # fmt: skip
def test_a_mistake_exits_with_2_and_writes_nothing(
    options: list[str],
    fact: str,
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["snnlab", "import", str(path), "--out", str(tmp_path / "run"), *options])
    assert main() == 2
    assert fact in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_folder_with_content_is_not_overwritten(path: Path, tmp_path: Path) -> None:
    with assert_raises(RunFolderError, "import", str(tmp_path)):
        import_nir(path, tmp_path, NIRReadOptions(), [])
    assert [each.name for each in tmp_path.iterdir()] == ["two.nir"]


def test_recordings_of_another_step_are_refused_where_time_constants_depend_on_it(path: Path, tmp_path: Path) -> None:
    overrides = ["data=shd", "data.sensor_size=[8,1,1]", "data.num_classes=3", "data.num_bins=null", "data.dt=10"]
    with assert_raises(ConfigError, "data.dt", "10 ms", "--dt 1"):
        import_nir(path, tmp_path / "run", NIRReadOptions(), overrides)


def test_steps_of_another_length_than_those_of_the_import_are_named(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import_nir(path, tmp_path / "run", NIRReadOptions(), [])
    Session(compose_run(tmp_path / "run", [], use="data"), run=tmp_path / "run").build("built")
    assert not caplog.records
    Session(compose_run(tmp_path / "run", ["data.dt=2"], use="data"), run=tmp_path / "run").build("network")
    assert_text_has(next(record.getMessage() for record in caplog.records), "1 ms", "2 ms")


@pytest.mark.parametrize(
    ("text", "line"), [("seed: one\n", 2), ("data:\n  fold: 3\n", 3), ("loss:\n  label_smoothing: 2\n", 3)]
)
def test_a_mistake_in_a_file_of_the_user_has_its_line(text: str, line: int, path: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine" / "experiment" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text(f"# @package _global_\n{text}")
    with pytest.raises(ConfigError) as caught:
        import_nir(path, tmp_path / "run", NIRReadOptions(), ["experiment=mine"], tmp_path / "mine")
    assert caught.value.origin == (mine, line)
