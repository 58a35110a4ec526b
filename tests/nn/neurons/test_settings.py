"""Time constants in all formats, and invalid settings of neurons."""

from __future__ import annotations

import math
from typing import Any

import pytest

from snnlab.errors import ConfigError, UnknownSettingError
from snnlab.nn import LI, LIF, NEURONS, CubaLIF
from snnlab.nn.neurons.adex import AdEx
from snnlab.nn.neurons.lif_ex import LIFEx

from ...refusals import assert_raises


def test_milliseconds_steps_and_factor_agree() -> None:
    by_ms = LIF(2.0, tau_mem=20.0).coefficients()
    assert by_ms == LIF(2.0, tau_mem="10 steps").coefficients()
    assert by_ms == LIF(None, tau_mem="1e1 step").coefficients()
    assert by_ms == LIF(None, beta=math.exp(-0.1)).coefficients()
    assert by_ms.a == math.exp(-0.1)


def test_steps_and_factors_do_not_depend_on_dt() -> None:
    assert LIF(1.0, tau_mem="2.5 steps").coefficients() == LIF(7.0, tau_mem="2.5 steps").coefficients()
    assert LIF(1.0, beta=0.9).coefficients().a == 0.9


def test_euler_decay_is_its_first_order() -> None:
    assert LIF(2.0, tau_mem=20.0, decay="euler").coefficients().a == 0.9
    assert CubaLIF(2.0, tau_syn=8.0, decay="euler").coefficients().b == 0.75


def test_gain_and_leak_follow_from_the_factor() -> None:
    k = LI(beta=0.75, input_gain="1-a", v_leak=2.0).coefficients()
    assert (k.a, k.g, k.c) == (0.75, 0.25, 0.5)
    assert LI(beta=0.75, input_gain=3).coefficients().g == 3.0


@pytest.mark.parametrize("kind", [LI, LIF, CubaLIF])
def test_the_membrane_has_20_ms_by_default(kind: Any) -> None:
    assert kind(1.0).tau_mem == 20.0
    assert kind(1.0, beta=0.5).tau_mem is None


def test_the_synapse_has_10_ms_by_default_and_averages_its_input_over_the_step() -> None:
    k = CubaLIF(1.0).coefficients()
    assert k.b == math.exp(-0.1)
    assert k.g == pytest.approx((1 - k.a) * (1 - k.b) * 10, rel=1e-12)
    assert CubaLIF(1.0, input_gain="1-a").coefficients().g == 1 - k.a
    assert CubaLIF(1.0, alpha=0.25).coefficients().b == 0.25


def test_defaults_are_those_of_the_design() -> None:
    neuron = LIF(1.0)
    assert (neuron.reset, neuron.detach_reset, neuron.reset_delay) == ("subtract", True, False)
    assert (neuron.threshold, neuron.decay, neuron.input_gain) == ("inclusive", "exact", 1.0)


NAN, INF = math.nan, math.inf
STEPS = "'N steps'"


@pytest.mark.parametrize(
    ("kind", "settings", "facts"),
    [
        (LI, {"tau_mem": "0 steps"}, ("tau_mem", "> 0", "0 steps")),
        (LI, {"tau_mem": "-1 steps"}, ("tau_mem", "> 0", "-1 steps")),
        (LI, {"tau_mem": "1e400 steps"}, ("tau_mem", "> 0", "1e400 steps")),
        (LI, {"tau_mem": "20 ms"}, ("tau_mem", STEPS, "'20 ms'")),
        (LI, {"tau_mem": "e steps"}, ("tau_mem", STEPS, "'e steps'")),
        (LI, {"tau_mem": "1.2.3 steps"}, ("tau_mem", STEPS, "'1.2.3 steps'")),
        (LI, {"dt": None, "tau_mem": 20.0}, ("tau_mem", "ms", "dt", STEPS)),
        (LI, {"dt": 2.0, "tau_mem": 2.0, "decay": "euler"}, ("tau_mem", "2.0 ms", "decay: exact")),
        (LI, {"dt": None, "tau_mem": "1 steps", "decay": "euler"}, ("tau_mem", "1 step", "decay: exact")),
        (LI, {"v_leak": INF}, ("v_leak", "finite", INF)),
        (LI, {"input_gain": NAN}, ("input_gain", "finite", NAN)),
        (LI, {"input_gain": "2"}, ("input_gain", "1-a", "average", "'2'")),
        (LI, {"decay": "Euler"}, ("decay", "exact", "euler", "'Euler'")),
        (LIF, {"v_leak": 1.5, "reset_delay": True}, ("v_threshold", "v_leak", 1.5, 1.0)),
        (LIFEx, {"v_leak": 1.5}, ("v_threshold", "v_leak", 1.5, 1.0)),
        (AdEx, {"v_leak": 1.0}, ("v_threshold", "v_leak", 1.0, 1.0)),
        (LIF, {"v_reset": INF}, ("v_reset", "finite", INF)),
        (LIF, {"reset": "value", "v_reset": 1.0}, ("v_reset", "v_threshold", 1.0)),
        (LIF, {"reset": "none", "reset_delay": True}, ("reset_delay", "subtract", "value", "reset_delay: false")),
        (LIF, {"reset": "zero"}, ("reset", "subtract", "value", "none", "'zero'")),
        (LIF, {"threshold": ">"}, ("threshold", "inclusive", "strict", "'>'")),
        (LIF, {"surrogate": "atan"}, ("surrogate", "{type: atan, width: 0.3}", "'atan'")),
        (CubaLIF, {"tau_syn": 0.5, "decay": "euler"}, ("tau_syn", 0.5, "1.0 ms", "decay: exact")),
        (CubaLIF, {"synapse": "late"}, ("synapse", "jump_first", "decay_first", "'late'")),
    ],
)
def test_refused_settings_say_why(kind: Any, settings: dict[str, Any], facts: tuple) -> None:
    with assert_raises((ConfigError, ValueError), *facts):
        kind(**{"dt": 1.0, **settings})


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"tau": 3.0}, ("lif1.tau", "tau_mem")),
        ({"tau_mem": [1]}, ("lif1.tau_mem", [1])),
        ({"reset": "zero"}, ("lif1.reset", "zero")),
        ({"surrogate": {"type": "atn"}}, ("lif1.surrogate.type", "atn", "atan")),
        ({"surrogate": {"width": "x"}}, ("lif1.surrogate.width", "x")),
        ({"beta": 2.0}, ("lif1.beta", 2.0)),
    ],
)
def test_mistakes_in_the_yaml_have_their_place(settings: dict[str, Any], facts: tuple) -> None:
    with assert_raises((ConfigError, UnknownSettingError), *facts):
        NEURONS.build("lif", settings, "lif1", dt=1.0)


@pytest.mark.parametrize(
    ("kind", "tau", "factor"),
    [(LI, "tau_mem", "beta"), (LIF, "tau_mem", "beta"), (CubaLIF, "tau_mem", "beta"), (CubaLIF, "tau_syn", "alpha")],
)
def test_a_time_constant_and_its_factor_exclude_each_other(kind: Any, tau: str, factor: str) -> None:
    with assert_raises(ConfigError, "", "either", tau, factor):
        kind(1.0, **{tau: 10.0, factor: 0.5})
