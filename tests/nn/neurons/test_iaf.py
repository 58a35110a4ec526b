"""Initial state of an integrate-and-fire neuron."""

from __future__ import annotations

import pytest
import torch

from snnlab.errors import ConfigError
from snnlab.nn.neurons import IAF

from ...refusals import assert_raises


@pytest.mark.parametrize(
    ("settings", "begins"),
    [
        ({}, 0.0),
        ({"v_init": -0.25}, -0.25),
        ({"v_init": "v_reset", "reset": "value", "v_reset": -0.5}, -0.5),
        ({"v_init": "v_reset", "reset": "value", "v_reset": -0.5, "learn": ["v_reset"]}, -0.5),
        ({"v_init": "v_reset", "reset": "subtract", "v_reset": -0.5}, 0.0),
    ],
)
def test_it_starts_at_v_init(settings: dict[str, object], begins: float) -> None:
    neuron = IAF(**settings)  # type: ignore[arg-type]
    _, state = neuron(torch.zeros(3, 2, 4))
    torch.testing.assert_close(state.v, torch.full((2, 4), begins))


def test_a_learned_reset_gets_the_gradient_of_the_initial_state() -> None:
    neuron = IAF(v_init="v_reset", reset="value", v_reset=-0.5, learn=["v_reset"])
    _, state = neuron(torch.zeros(3, 2, 4))
    state.v.sum().backward()
    (stored,) = neuron.learned.values()
    assert stored.grad is not None
    assert stored.grad.item() == pytest.approx(-8 * stored.exp().item())  # v_reset = line - exp(stored)


def test_other_texts_and_nan_are_invalid() -> None:
    for wrong in ("rest", float("nan")):
        with assert_raises(ConfigError, "v_init"):
            IAF(v_init=wrong)  # type: ignore[arg-type]
