"""What a PyTorch user finds in `snnlab.nn`."""

from __future__ import annotations

import pytest

from snnlab import nn
from snnlab.nn import NEURONS, SURROGATES
from snnlab.registry import Registry


def own(registry: Registry) -> list[type]:
    """Return the classes of this package that are registered; those of surrogates are also made by functions."""
    made = [registry.get(name, "") for name in registry]
    return [one for one in made if isinstance(one, type) and one.__module__.startswith("snnlab.")]


@pytest.mark.parametrize("registry", [NEURONS, SURROGATES], ids=["neurons", "surrogates"])
def test_every_one_that_is_registered_can_be_imported(registry: Registry) -> None:
    there = [one for one in vars(nn).values() if isinstance(one, type)]
    assert [one for one in own(registry) if one not in there] == []
    assert len(own(registry)) > 5


def test_norm_over_time_and_dropout_can_be_imported() -> None:
    assert {"BatchNorm", "PerStepBatchNorm", "Dropout", "Recurrent"} <= set(dir(nn))
