"""What a PyTorch user finds in `snnlab.nn`."""

from __future__ import annotations

from types import ModuleType

import pytest

from snnlab import nn


@pytest.mark.parametrize(("module", "kind"), [(nn.neurons, nn.Neuron), (nn.surrogate, nn.Surrogate)])
def test_every_neuron_and_every_surrogate_can_be_imported(module: ModuleType, kind: type) -> None:
    of_kind = [one for one in vars(module).values() if isinstance(one, type) and issubclass(one, kind)]
    there = [one for one in vars(nn).values() if isinstance(one, type)]
    assert len(of_kind) > 8
    missing = {one.__name__ for one in of_kind if one not in there and one.__module__.startswith("snnlab.")}
    assert missing <= {"LibrarySurrogate", "AlphaSurrogate", "SlopeSurrogate"}  # what the others are made from


def test_norm_over_time_and_dropout_can_be_imported() -> None:
    assert {"BatchNorm", "PerStepBatchNorm", "Dropout", "Recurrent"} <= set(dir(nn))
