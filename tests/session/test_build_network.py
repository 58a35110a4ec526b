"""The network of an experiment is built for its data."""

from __future__ import annotations

import pytest

from snnlab.errors import ConfigError
from snnlab.session import Session

from ..refusals import assert_raises

WRONG: list[tuple[list[str], list[object]]] = [
    (["model.layers.out.out_features=7"], ["model.layers.readout", 7, 10, "model.layers.out.out_features=10"]),
    (["model=plif_conv2", "data.num_classes=4"], ["model.layers.vote", 10, 4, "model.layers.fc2.out_features=40"]),
    (["model=linear_counts", "~model.layers.flatten"], ["model.layers.out", 10, "flatten"]),
    (["model=linear_counts", "~model.layers.out"], ["model.layers.flatten", 34 * 34 * 2, 10]),
]


@pytest.mark.parametrize(("words", "facts"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_another_number_of_outputs_than_classes_is_refused_with_the_setting_that_has_it(
    words: list[str], facts: list[object]
) -> None:
    session = Session.composed(*words)
    with assert_raises(ConfigError, *facts):
        _ = session.built
