"""A folder continues the suite that it was started with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from snnlab.errors import ConfigError, RunFolderError
from snnlab.experiments.suite_plan import SuitePlan
from snnlab.experiments.suite_reading import read_suite_yaml
from snnlab.experiments.suite_settings import SuiteSelection, parse_settings
from snnlab.experiments.suite_state import (
    is_begun,
    make_suite_folder,
    require_same_settings,
    unite_suite,
    write_suite_yaml,
)

from ..refusals import assert_raises
from .conftest import SUITE, write_run


def plan(
    folder: Path, typed: list[str] | None = None, choice: SuiteSelection | None = None, **values: Any
) -> SuitePlan:
    suite = unite_suite(parse_settings({**SUITE, **values}), choice or SuiteSelection(), read_suite_yaml(folder))
    return SuitePlan(folder, "s", suite, typed or [], None, ".", "snnlab bench suite=s")


def begun(folder: Path, *arguments: Any, **values: Any) -> SuitePlan:
    make_suite_folder(folder)
    made = plan(folder, *arguments, **values)
    write_suite_yaml(made)
    return made


def test_methods_datasets_and_seeds_are_added_to_the_suite(tmp_path: Path):
    begun(tmp_path, choice=SuiteSelection(["b"], ["digits"]))
    more = begun(tmp_path, choice=SuiteSelection(["a"]), seeds=[5])
    assert list(more.suite.methods) == ["a", "b"]
    assert list(more.suite.datasets) == ["digits", "patterns"]
    assert more.suite.seeds == [0, 1, 5]


def test_a_method_that_is_no_longer_in_the_file_stays(tmp_path: Path):
    begun(tmp_path)
    later = plan(tmp_path, methods={"a": ["neuron=lif"], "c": ["neuron=iaf"]})
    assert list(later.suite.methods) == ["a", "c", "b"]
    assert later.suite.methods["b"].overrides == ["neuron=cuba_lif"]


@pytest.mark.parametrize(
    ("typed", "values", "facts"),
    [
        (["trainer.max_epochs=3"], {}, "common: trainer.max_epochs=3"),
        ([], {"methods": {"a": ["neuron=iaf"]}}, "methods.a: neuron=lif"),
        ([], {"datasets": {"digits": ["data=nmnist"]}}, "datasets.digits: data=saccade_digits"),
        ([], {"tune": {"trials": 2, "space": {"optimizer.lr": [0.1, 0.2]}}}, "tune: None"),
    ],
)
def test_other_settings_are_refused_in_the_same_folder(
    tmp_path: Path, typed: list[str], values: dict[str, Any], facts: str
):
    begun(tmp_path)
    with assert_raises(ConfigError, tmp_path, facts):
        require_same_settings(plan(tmp_path, typed, **values), read_suite_yaml(tmp_path) or {}, ["data.root"])


def test_where_recordings_are_may_change(tmp_path: Path):
    begun(tmp_path, ["data.root=here"])
    there, page = plan(tmp_path, ["data.root=there"]), read_suite_yaml(tmp_path) or {}
    require_same_settings(there, page, ["data.root"])
    with assert_raises(ConfigError, tmp_path, "data.root=here"):
        require_same_settings(there, page, [])


def test_a_page_of_another_version_is_refused(tmp_path: Path):
    (tmp_path / "suite.yaml").write_text("schema: 99\n")
    with assert_raises(RunFolderError, "suite.yaml", "written"):
        read_suite_yaml(tmp_path)


def test_a_folder_that_cannot_be_made_is_named_with_its_setting(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with assert_raises(RunFolderError, "folder", "folder=FOLDER"):
        make_suite_folder(tmp_path / "file" / "s")


def test_before_anything_was_trained_settings_may_change(tmp_path: Path):
    made = begun(tmp_path)
    assert not is_begun(tmp_path)
    write_run(tmp_path / made.run_specs()[0].folder)
    assert is_begun(tmp_path)
