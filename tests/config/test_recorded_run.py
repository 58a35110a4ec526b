"""The configuration of a recorded run: those that are published open, and one of another form is refused in a line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from snnlab.config.recorded_run import compose_run
from snnlab.errors import UnknownSettingError, VersionError

from ..marks import mostly_long
from ..published import RESULTS, unpacked
from ..refusals import assert_raises

ROOT = Path(__file__).parents[2]
PACKAGED_RUNS = sorted(path.parent for path in (ROOT / "snnlab" / "pretrained").rglob("config.yaml"))
PACKAGED = ROOT / "snnlab" / "pretrained" / "saccade_digits"


@pytest.mark.long
@pytest.mark.parametrize("suite", sorted(path.name for path in RESULTS.iterdir()))
def test_the_runs_of_a_published_suite_open(suite: str, tmp_path: Path) -> None:
    rows = sorted(unpacked(suite, tmp_path).glob("runs/*/*"))
    assert rows
    for row in rows:
        assert compose_run(min(row.iterdir()), use="record").model["layers"]


@pytest.mark.parametrize("folder", mostly_long(PACKAGED_RUNS, 1, 40), ids=lambda folder: folder.name)
def test_a_packaged_run_opens(folder: Path) -> None:
    experiment = compose_run(folder, use="record")
    assert experiment.model["layers"]
    assert experiment.of_run == folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for name in ("config.yaml", "result.json"):
        shutil.copy(PACKAGED / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("version", [0, 2, None, "1"])
def test_a_record_of_another_form_is_refused_in_a_line(run: Path, version: object) -> None:
    path = run / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": version}))
    with assert_raises(VersionError, path, version, 1) as caught:
        compose_run(run, use="record")
    assert len(str(caught.value).splitlines()) == 1


def test_a_record_without_a_version_is_of_the_first_form(run: Path) -> None:
    path = run / "result.json"
    content = json.loads(path.read_text())
    del content["schema_version"]
    path.write_text(json.dumps(content))
    assert compose_run(run, use="record").model["layers"]


def test_a_damaged_result_does_not_hide_the_configuration(run: Path) -> None:
    (run / "result.json").write_text("{")
    assert compose_run(run, use="record").model["layers"]


def test_a_setting_that_is_not_known_is_named(run: Path) -> None:
    path = run / "config.yaml"
    path.write_text(f"{path.read_text()}first_layer: events\n")
    with assert_raises(UnknownSettingError, "first_layer"):
        compose_run(run, use="record")
