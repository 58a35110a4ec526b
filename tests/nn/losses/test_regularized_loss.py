from __future__ import annotations

from typing import Any

import pytest
import torch

from snnlab.errors import ConfigError, UnknownSettingError
from snnlab.nn.losses import CrossEntropy, RegularizedLoss, build_loss

from ...refusals import assert_raises
from .conftest import LENGTHS, LossInputs, bound, built_loss

BAND = {"type": "rate_band", "lower": 120.0, "upper": 210.0}


def test_terms_are_weighted_and_named(inputs: LossInputs) -> None:
    loss = built_loss(
        type="cross_entropy", regularizers={"rate": {**BAND, "weight": 0.1}, "count": {"type": "mse_count"}}
    )
    assert loss.names == ("cross_entropy", "rate", "count")
    value, parts = loss(inputs.y, inputs.targets["class"], LENGTHS, inputs.counts)
    alone = [
        weight * bound(name, **settings)(inputs.y, inputs.targets["class"], LENGTHS, inputs.counts)[0]
        for name, weight, settings in (
            ("cross_entropy", 1.0, {}),
            ("rate_band", 0.1, {"lower": 120.0, "upper": 210.0, "of": "layer"}),
            ("mse_count", 1.0, {"correct_rate": 1.0, "incorrect_rate": 0.0}),
        )
    ]
    torch.testing.assert_close(value, sum(alone))
    assert list(parts) == list(loss.names)
    torch.testing.assert_close(list(parts.values()), alone)


def test_readout_and_answers_are_those_of_the_loss(inputs: LossInputs) -> None:
    loss, alone = built_loss(type="cross_entropy", readout="max", regularizers={"rate": BAND}), CrossEntropy("max")
    assert torch.equal(loss.readout(inputs.y, LENGTHS), alone.readout(inputs.y, LENGTHS))
    assert torch.equal(loss.answers(inputs.y), alone.answers(inputs.y))


def test_every_term_gets_the_class_counts(inputs: LossInputs) -> None:
    balanced = {"class_weight": "balanced"}
    loss = built_loss(
        type="cross_entropy", **balanced, regularizers={"rate": BAND, "rates": {"type": "mse_rate", **balanced}}
    )
    loss.set_class_counts(torch.tensor([1, 2, 3]))
    assert torch.isfinite(loss(inputs.y, inputs.targets["class"], LENGTHS, inputs.counts)[0])


def test_regularizers_support_any_targets(inputs: LossInputs) -> None:
    for kind, targets in (("mse", "value"), ("cross_entropy_steps", "steps")):
        loss = built_loss(type=kind, regularizers={"rate": BAND, "small": {"type": "weights", "weight": 1e-4}})
        assert isinstance(loss, RegularizedLoss)
        loss.check_terms(targets)  # type: ignore[arg-type]
        assert torch.isfinite(loss(inputs.y, inputs.targets[targets], LENGTHS, inputs.counts)[0])


@pytest.mark.parametrize(
    ("node", "fragments"),
    [
        ({"type": "rate_band", "upper": 5.0}, ("loss", "rate_band")),
        ({"type": "cross_entropy", "regularizers": [BAND]}, ("loss.regularizers", "mapping")),
        ({"type": "cross_entropy", "regularizers": {"rate": 3}}, ("loss.regularizers.rate", "mapping")),
        ({"type": "cross_entropy", "regularizers": {"rate": {"weight": 3}}}, ("loss.regularizers.rate", "type")),
        (
            {"type": "cross_entropy", "regularizers": {"rate": {"type": "rate_bnd"}}},
            ("loss.regularizers.rate.type", "rate_bnd", "rate_band"),
        ),
        (
            {"type": "cross_entropy", "regularizers": {"rate": {**BAND, "weight": "much"}}},
            ("loss.regularizers.rate.weight", "much"),
        ),
        (
            {"type": "cross_entropy", "regularizers": {"rate": {**BAND, "weight": -1}}},
            ("loss.regularizers.rate.weight", ">= 0"),
        ),
        (
            {"type": "cross_entropy", "regularizers": {"rate": {**BAND, "uper": 1.0}}},
            ("loss.regularizers.rate.uper", "upper"),
        ),
        (
            {"type": "cross_entropy", "regularizers": {"cross_entropy": BAND}},
            ("loss.regularizers.cross_entropy", "itself"),
        ),
        (
            {"type": "cross_entropy", "regularizers": {"rate": {**BAND, "layers": ["lif3"]}}},
            ("regularizers.rate.layers", "lif3", "lif"),
        ),
    ],
)
def test_an_error_names_its_place(node: dict[str, Any], fragments: tuple) -> None:
    with assert_raises((ConfigError, UnknownSettingError), *fragments):
        built_loss(**node)


def test_a_term_for_other_targets_is_rejected() -> None:
    loss = build_loss({"type": "cross_entropy", "regularizers": {"more": {"type": "mse"}}})
    assert isinstance(loss, RegularizedLoss)
    with assert_raises(ConfigError, "loss.regularizers.more", "mse"):
        loss.check_terms("class")
