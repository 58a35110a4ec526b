"""The files of a run are read back, and invalid ones are refused with the file and a fix."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnlab.errors import DamagedError, RunFolderError, VersionError
from snnlab.runs.recorded import RecordedRun, RunFiles, find_runs, is_readable_run, is_run, read_run

from ..refusals import assert_raises
from .making import make_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = make_run(tmp_path / "digits" / "1_0")
    (folder / "metrics.csv").write_text("epoch,step,val/loss\n0,10,0.5\n1,20,0.4\n")
    return folder


def result(run: Path, **changes: Any) -> None:
    """Change the values of `result.json`, by dotted keys with two underscores; `...` removes one."""
    path = run / "result.json"
    page = json.loads(path.read_text())
    for key, value in changes.items():
        *parts, last = key.split("__")
        node = page
        for part in parts:
            node = node[part]
        node.pop(last, None) if value is ... else node.update({last: value})
    path.write_text(json.dumps(page))


def test_a_written_run_is_read_back(run: Path) -> None:
    found = read_run(run)
    assert (found.status, found.seed, found.name) == ("completed", 0, "digits")
    assert found.metrics["test/accuracy"] == 0.8
    assert found.epochs()["val/loss"].tolist() == [0.5, 0.4]
    assert found.predictions()["test_target"].shape == (200,)
    assert found.class_names(4) is None
    found.check_files()


def test_a_metric_that_was_not_finite_is_left_out(run: Path) -> None:
    result(run, metrics={"val/loss": None, "test/accuracy": 0.5})
    assert read_run(run).metrics == {"test/accuracy": 0.5}


@pytest.mark.parametrize(
    "changes",
    [
        *({key: ...} for key in ("seed", "status", "provenance", "metrics")),
        {"metrics": [0.5]},
        {"metrics": {"test/accuracy": "0.5"}},
    ],
    ids=str,
)
def test_a_result_that_lacks_what_each_has_is_damaged(run: Path, changes: dict[str, Any]) -> None:
    result(run, **changes)
    with assert_raises(DamagedError, "digits/1_0/result.json", "snnlab") as caught:
        read_run(run)
    assert caught.value.path == run / "result.json"


def test_a_result_of_another_version_is_not_called_damaged(run: Path) -> None:
    result(run, schema_version=7)
    with assert_raises(VersionError, "digits/1_0/result.json", 7):
        read_run(run)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\0\1", "[" * 100_000])
@pytest.mark.parametrize("name", ["result.json", "split.json"])
def test_other_json_is_damaged(run: Path, name: str, text: str) -> None:
    (run / name).write_text(text)
    with assert_raises(DamagedError, f"1_0/{name}"):
        read_run(run).split()


def test_a_split_without_a_part_is_damaged(run: Path) -> None:
    (run / "split.json").write_text('{"train": [], "val": []}')
    with assert_raises(DamagedError, "digits/1_0/split.json"):
        read_run(run).split()


def test_names_of_other_classes_are_refused(run: Path) -> None:
    (run / "split.json").write_text(json.dumps({"train": [], "val": [], "test": [], "classes": ["a", "b"]}))
    assert read_run(run).class_names(2) == ["a", "b"]
    with assert_raises(DamagedError, "digits/1_0/split.json", 2, 4):
        read_run(run).class_names(4)


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    place = len(content) // 3
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


@pytest.mark.parametrize("harm", [cut, flipped, lambda _: b"", lambda _: b"no archive", lambda _: b"PK\3\4" * 9])
@pytest.mark.parametrize("compressed", [True, False])
def test_damaged_predictions_are_named(run: Path, harm: Callable[[bytes], bytes], compressed: bool) -> None:
    path = run / "predictions.npz"
    (np.savez_compressed if compressed else np.savez)(path, **read_run(run).predictions())  # type: ignore[arg-type]
    path.write_bytes(harm(path.read_bytes()))
    with assert_raises(DamagedError, "digits/1_0/predictions.npz", "resume"):
        read_run(run).predictions()


def test_predictions_with_any_changed_byte_are_read_or_reported(run: Path) -> None:
    whole, expected = (run / "predictions.npz").read_bytes(), read_run(run).predictions()
    rng, read = np.random.default_rng(0), 0
    for place in rng.choice(len(whole), 300, replace=False).tolist():
        (run / "predictions.npz").write_bytes(whole[:place] + bytes([rng.integers(256)]) + whole[place + 1 :])
        try:
            found = read_run(run).predictions()
        except DamagedError:
            continue
        read += 1
        assert all(np.array_equal(found[name], values) for name, values in expected.items())
    assert 0 < read < 300


@pytest.mark.parametrize(
    "changes",
    [
        {"test_target": None},
        {"test_recording": np.arange(3)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_arrays_of_another_form_are_damaged(run: Path, changes: dict[str, Any]) -> None:
    arrays = {name: values for name, values in {**read_run(run).predictions(), **changes}.items() if values is not None}
    np.savez(run / "predictions.npz", **arrays)
    with assert_raises(DamagedError, "digits/1_0/predictions.npz"):
        read_run(run).predictions()


@pytest.mark.parametrize("text", ["", "epoch,val/loss\n0,soon\n", "a,b\n1,2\n", "epoch,a\n0,1,2\n", "epoch\n0\0\n"])
def test_a_table_of_epochs_of_another_form_is_damaged(run: Path, text: str) -> None:
    (run / "metrics.csv").write_text(text)
    with assert_raises(DamagedError, "digits/1_0/metrics.csv"):
        read_run(run).epochs()


def test_a_configuration_is_read_without_resolving(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    with (run / "config.yaml").open("a") as file:
        file.write("name: ${oc.env:SECRET}\n")
    assert RunFiles(run).config["name"] == "${oc.env:SECRET}"


def test_a_configuration_is_nested_and_its_settings_are_flat_and_resolved(run: Path) -> None:
    with (run / "config.yaml").open("a") as file:
        file.write("one: {rate: 1e-3, day: 2026-11-30}\nother: ${one.rate}\n")
    files = RunFiles(run)
    assert (files.config["one"], files.config["other"]) == ({"rate": 0.001, "day": "2026-11-30"}, "${one.rate}")
    assert (files.settings["one.rate"], files.settings["other"]) == (0.001, 0.001)


def test_a_setting_that_stands_twice_is_refused(run: Path) -> None:
    with (run / "config.yaml").open("a") as file:
        file.write("twice: 1\ntwice: 2\n")
    with assert_raises(DamagedError, "digits/1_0/config.yaml", "twice"):
        _ = RunFiles(run).config


def test_without_a_result_a_run_has_not_ended(run: Path) -> None:
    (run / "result.json").unlink()
    with assert_raises(RunFolderError, "digits/1_0", "ended"):
        read_run(run)
    assert list(find_runs(run.parents[1])) == [run]


def test_a_folder_with_a_configuration_of_another_tool_is_no_run(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "config.yaml").write_text("title: my pages\n")
    assert not is_run(site)
    assert list(find_runs(tmp_path)) == []
    (site / "checkpoints").mkdir()  # of another tool
    assert is_run(site)
    assert not is_readable_run(site)


@pytest.mark.parametrize(
    "damaged", [[], ["result.json"], ["config.yaml", "split.json"], ["result.json", "config.yaml"]]
)
def test_one_valid_file_is_enough_to_recognize_a_run(run: Path, damaged: list[str]) -> None:
    for name in damaged:
        (run / name).write_text("{")
    assert is_readable_run(run)


def test_the_repr_of_a_run_is_without_its_content(run: Path) -> None:
    assert repr(RecordedRun(run, read_run(run).content)) == f"{RecordedRun.__name__}(folder={run!r})"
