"""Shared parts of datasets with one file per recording: rules for testing, and sorted lists of recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from snnlab.data.dataset import DATASETS
from snnlab.data.sources.recordings import NMNIST, TestRule as SelectionRule, choose_test, list_files
from snnlab.errors import ConfigError, DataError

from ...refusals import assert_raises

OF_THREE = np.repeat([0, 1, 2], [10, 20, 3])


@pytest.mark.parametrize("rule", ["last", "random"])
def test_each_class_gives_its_share_for_testing(rule: SelectionRule) -> None:
    chosen = choose_test(OF_THREE, rule, 0.1)
    assert np.bincount(OF_THREE[chosen == 1]).tolist() == [1, 2, 1]
    assert chosen.dtype == np.uint8
    assert not choose_test(OF_THREE, rule, 0.0).any()


def test_the_last_of_each_class_are_for_testing_by_that_rule() -> None:
    assert np.flatnonzero(choose_test(OF_THREE, "last", 0.1)).tolist() == [9, 28, 29, 32]


def test_random_test_recordings_are_the_same_for_everyone() -> None:
    # Published results depend on it: it must never change.
    assert np.flatnonzero(choose_test(np.repeat(np.arange(4), 100), "random", 0.02)).tolist() == [
        34,
        47,
        109,
        179,
        254,
        280,
        382,
        390,
    ]


def test_hidden_and_other_files_are_no_recordings(tmp_path: Path) -> None:
    for name in ("b.bin", "a.bin", "._a.bin", "a.txt"):
        (tmp_path / name).write_text("x")
    assert [path.name for path, _ in list_files(tmp_path, ".bin")] == ["a.bin", "b.bin"]
    assert list_files(tmp_path / "missing", ".bin") == []


def test_missing_archives_and_disabled_downloads_give_different_errors(tmp_path: Path) -> None:
    with assert_raises(DataError, "data.root", "data.download=true"):
        NMNIST(str(tmp_path), download=False)
    with assert_raises(DataError, "data.root", "data.download=true", "data.archives"):
        NMNIST(str(tmp_path))


def test_a_mistake_among_the_archives_is_named_by_its_place_in_the_yaml(tmp_path: Path) -> None:
    with assert_raises(ConfigError, "data.archives[0]"):
        DATASETS.build("nmnist", {"archives": [{"name": "a.zip"}]}, "data", root=str(tmp_path), download=True)


@pytest.mark.parametrize("name", ["ncaltech101", "cifar10dvs", "asldvs"])
@pytest.mark.parametrize("setting", [{"test_rule": "first"}, {"test_fraction": 1.0}])
def test_an_invalid_rule_is_refused(name: str, setting: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="test_"):
        DATASETS.build(name, setting, "data", root=str(tmp_path), download=False)
