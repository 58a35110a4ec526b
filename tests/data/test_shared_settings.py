"""The settings of every dataset are described once."""

from __future__ import annotations

from typing import Any

import pytest

from snnlab.data.data_settings import SHARED, DataSettings, build_dataset
from snnlab.data.dataset import DATASETS
from snnlab.experiment_fields import DataFields
from snnlab.spec.signatures import fields_of


def test_the_settings_are_those_that_composing_checks():
    assert fields_of(DataSettings) == fields_of(DataFields)


@pytest.mark.parametrize("name", list(DATASETS))
def test_no_dataset_describes_a_shared_setting_in_another_way(name: str):
    assert not fields_of(DATASETS.get(name, "data"), SHARED).keys() & fields_of(DataFields).keys()


@pytest.mark.parametrize(("given", "root"), [({}, "here"), ({"root": None}, "here"), ({"root": "there"}, "there")])
def test_a_default_folder_of_a_dataset_is_kept(
    given: dict[str, Any], root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    class Rooted:
        num_classes, sensor_size = 2, (4, 4, 2)

        def __init__(self, root: str = "here") -> None:
            seen.append(root)

    monkeypatch.setitem(DATASETS._entries, "rooted", Rooted)
    build_dataset(
        {"type": "rooted", "sensor_size": [4, 4, 2], "num_classes": 2, "duration_ms": 10, "num_bins": 2} | given
    )
    assert seen == [root]
