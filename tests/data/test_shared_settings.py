"""The settings of every dataset are described once."""

from __future__ import annotations

import pytest

from snnlab.data.data_settings import SHARED, DataSettings
from snnlab.data.dataset import DATASETS
from snnlab.experiment_fields import DataFields
from snnlab.spec.signatures import fields_of


def test_the_settings_are_those_that_composing_checks():
    assert fields_of(DataSettings) == fields_of(DataFields)


@pytest.mark.parametrize("name", list(DATASETS))
def test_no_dataset_describes_a_shared_setting_in_another_way(name: str):
    assert not fields_of(DATASETS.get(name, "data"), SHARED).keys() & fields_of(DataFields).keys()
