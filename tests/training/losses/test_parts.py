from __future__ import annotations

from typing import Any

import pytest
import torch

from snnlab.errors import ConfigError
from snnlab.training.losses import CrossEntropy, WeightedParts, build_loss

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
    ("node", "words"),
    [
        ({"type": "rate_band", "upper": 5.0}, r"^loss: rate_band is a regulariser, which answers nothing; write it"),
        ({"type": "cross_entropy", "parts": [BAND]}, r"^loss\.parts: expected a mapping or null, got "),
        ({"type": "cross_entropy", "parts": {"rate": 3}}, r"^loss\.parts\.rate: expected a mapping such as"),
        ({"type": "cross_entropy", "parts": {"rate": {"weight": 3}}}, r"^loss\.parts\.rate: needs a type"),
        (
            {"type": "cross_entropy", "parts": {"rate": {"type": "rate_bnd"}}},
            r"^loss\.parts\.rate\.type: there is no loss 'rate_bnd'\. Did you mean 'rate_band'\?",
        ),
        (
            {"type": "cross_entropy", "parts": {"rate": {**BAND, "weight": "much"}}},
            r"^loss\.parts\.rate\.weight: expected a number, got 'much'",
        ),
        (
            {"type": "cross_entropy", "parts": {"rate": {**BAND, "weight": -1}}},
            r"^loss\.parts\.rate\.weight: must be >= 0",
        ),
        (
            {"type": "cross_entropy", "parts": {"rate": {**BAND, "uper": 1.0}}},
            r"^loss\.parts\.rate: unknown setting 'uper'; .* Did you mean 'upper'\?",
        ),
        (
            {"type": "cross_entropy", "parts": {"cross_entropy": BAND}},
            r"^loss\.parts\.cross_entropy: is the name of the loss itself; give the part another one",
        ),
        (
            {"type": "cross_entropy", "parts": {"rate": {**BAND, "layers": ["lif3"]}}},
            r"^parts\.rate\.layers: there is no spiking layer 'lif3'\. Did you mean 'lif'\?",
        ),
    ],
)
def test_a_mistake_names_its_place(node: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        built_loss(**node)


def test_a_part_for_other_targets_is_refused() -> None:
    loss = build_loss({"type": "cross_entropy", "parts": {"more": {"type": "mse"}}})
    assert isinstance(loss, WeightedParts)
    with pytest.raises(
        ConfigError, match=r"^loss\.parts\.more: mse is for values, .* needs loss\.parts\.more\.type=cross_"
    ):
        loss.check_parts("class")
