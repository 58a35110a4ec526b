from __future__ import annotations

from typing import Any

import pytest
import torch

from snnlab.errors import ConfigError, UnknownSettingError
from snnlab.nn.losses import CrossEntropy, WeightedParts, build_loss

from ...refusals import assert_raises
from .conftest import LENGTHS, Given, bound, built_loss

BAND = {"type": "rate_band", "lower": 120.0, "upper": 210.0}


def test_parts_are_added_by_weight_and_named(given: Given) -> None:
    loss = built_loss(type="cross_entropy", parts={"rate": {**BAND, "weight": 0.1}, "count": {"type": "mse_count"}})
    assert loss.names == ("cross_entropy", "rate", "count")
    value, parts = loss(given.y, given.targets["class"], LENGTHS, given.counts)
    alone = [
        weight * bound(name, **settings)(given.y, given.targets["class"], LENGTHS, given.counts)[0]
        for name, weight, settings in (
            ("cross_entropy", 1.0, {}),
            ("rate_band", 0.1, {"lower": 120.0, "upper": 210.0, "of": "layer"}),
            ("mse_count", 1.0, {"correct_rate": 1.0, "incorrect_rate": 0.0}),
        )
    ]
    torch.testing.assert_close(value, sum(alone))
    assert list(parts) == list(loss.names)
    torch.testing.assert_close(list(parts.values()), alone)


def test_the_loss_itself_gives_readout_and_answers(given: Given) -> None:
    loss, alone = built_loss(type="cross_entropy", over_time="max", parts={"rate": BAND}), CrossEntropy("max")
    assert torch.equal(loss.readout(given.y, LENGTHS), alone.readout(given.y, LENGTHS))
    assert torch.equal(loss.answers(given.y), alone.answers(given.y))


def test_without_parts_the_loss_stays_what_it_is() -> None:
    for parts in (None, {}, {"rate": None}):
        loss = build_loss({"type": "cross_entropy", "parts": parts})
        assert type(loss) is CrossEntropy
        assert loss.names == ()


def test_classes_are_counted_by_every_part(given: Given) -> None:
    balanced = {"class_weight": "balanced"}
    loss = built_loss(type="cross_entropy", **balanced, parts={"rate": BAND, "rates": {"type": "mse_rate", **balanced}})
    loss.count_classes(torch.tensor([1, 2, 3]))
    assert torch.isfinite(loss(given.y, given.targets["class"], LENGTHS, given.counts)[0])


def test_regularisers_go_beside_losses_of_any_targets(given: Given) -> None:
    for kind, targets in (("mse", "value"), ("cross_entropy_steps", "steps")):
        loss = built_loss(type=kind, parts={"rate": BAND, "small": {"type": "weights", "weight": 1e-4}})
        assert isinstance(loss, WeightedParts)
        loss.check_parts(targets)  # type: ignore[arg-type]
        assert torch.isfinite(loss(given.y, given.targets[targets], LENGTHS, given.counts)[0])


@pytest.mark.parametrize(
    ("node", "told"),
    [
        ({"type": "rate_band", "upper": 5.0}, ("loss", "rate_band")),
        ({"type": "cross_entropy", "parts": [BAND]}, ("loss.parts", "mapping")),
        ({"type": "cross_entropy", "parts": {"rate": 3}}, ("loss.parts.rate", "mapping")),
        ({"type": "cross_entropy", "parts": {"rate": {"weight": 3}}}, ("loss.parts.rate", "type")),
        (
            {"type": "cross_entropy", "parts": {"rate": {"type": "rate_bnd"}}},
            ("loss.parts.rate.type", "rate_bnd", "rate_band"),
        ),
        (
            {"type": "cross_entropy", "parts": {"rate": {**BAND, "weight": "much"}}},
            ("loss.parts.rate.weight", "much"),
        ),
        (
            {"type": "cross_entropy", "parts": {"rate": {**BAND, "weight": -1}}},
            ("loss.parts.rate.weight", ">= 0"),
        ),
        (
            {"type": "cross_entropy", "parts": {"rate": {**BAND, "uper": 1.0}}},
            ("loss.parts.rate.uper", "upper"),
        ),
        (
            {"type": "cross_entropy", "parts": {"cross_entropy": BAND}},
            ("loss.parts.cross_entropy", "itself"),
        ),
        (
            {"type": "cross_entropy", "parts": {"rate": {**BAND, "layers": ["lif3"]}}},
            ("parts.rate.layers", "lif3", "lif"),
        ),
    ],
)
def test_a_mistake_names_its_place(node: dict[str, Any], told: tuple) -> None:
    with assert_raises((ConfigError, UnknownSettingError), *told):
        built_loss(**node)


def test_a_part_for_other_targets_is_refused() -> None:
    loss = build_loss({"type": "cross_entropy", "parts": {"more": {"type": "mse"}}})
    assert isinstance(loss, WeightedParts)
    with assert_raises(ConfigError, "loss.parts.more", "mse"):
        loss.check_parts("class")
