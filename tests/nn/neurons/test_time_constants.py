from __future__ import annotations

import math

import pytest

from snnlab.nn import LIF
from snnlab.nn.neurons.time_constants import Constant, Decay, DecayRule


def time_constant(tau: float | str | None, factor: float | None, dt: float | None, decay: DecayRule) -> Constant:
    return Decay("tau_mem", "beta", tau, factor, dt, decay).constant()


def test_a_constant_in_ms_is_shown_in_steps_and_as_factor() -> None:
    assert time_constant(20.0, None, 10.0, "exact") == Constant("tau_mem", "ms", 20.0, 2.0, math.exp(-0.5), "exact")
    assert time_constant(20.0, None, 5.0, "euler")[2:5] == (20.0, 4.0, 0.75)


def test_a_constant_in_steps_has_its_ms_where_steps_have_a_length() -> None:
    assert time_constant("2 steps", None, 10.0, "exact")[1:4] == ("steps", 20.0, 2.0)
    assert time_constant("2 steps", None, None, "exact")[1:4] == ("steps", None, 2.0)


@pytest.mark.parametrize("decay", ["exact", "euler"])
def test_a_factor_and_the_length_shown_for_it_are_the_same_neuron(decay: str) -> None:
    constant = LIF(10.0, beta=0.9, decay=decay).constants()[0]  # pyright: ignore[reportArgumentType]
    assert constant.unit == "factor"
    again = LIF(10.0, tau_mem=constant.ms, decay=decay).constants()[0]  # pyright: ignore[reportArgumentType]
    assert again.factor == pytest.approx(0.9, rel=1e-12)


def test_a_factor_of_zero_is_no_time_at_all() -> None:
    assert time_constant(None, 0.0, 10.0, "exact")[2:5] == (0.0, 0.0, 0.0)
    assert time_constant(None, 0.0, 10.0, "euler")[2:5] == (10.0, 1.0, 0.0)
