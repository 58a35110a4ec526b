"""Warnings about dt: a setting depends on dt if and only if it has a warning."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from snnlab.nn import LI, LIF, CubaLIF, Network, build_network
from snnlab.nn.dt_checks import dt_warnings
from snnlab.nn.neurons import Neuron
from snnlab.nn.neurons.info import DtWarning
from snnlab.runs.console_tables import fix_text

FC = {"type": "linear", "out_features": 3, "bias": False}
BIASED = {"type": "linear", "out_features": 3}


def warned(dt: float | None = 10.0, **layers: dict[str, Any]) -> list[tuple[str, DtWarning]]:
    network = build_network(layers, in_shape=(4,), dt=dt, num_steps=8).network
    return [(", ".join(w.layers), w.warning) for w in dt_warnings(network)]


def test_the_defaults_without_bias_do_not_depend_on_dt() -> None:
    assert warned(fc=FC, lif={"type": "lif"}, out=FC, readout={"type": "li"}) == []
    assert warned(fc=FC, lif={"type": "cuba_lif"}) == []


def test_layers_with_a_bias_share_one_line() -> None:
    found = warned(fc=BIASED, lif={"type": "lif"}, out=BIASED, readout={"type": "li"})
    assert found == [("fc, out", DtWarning("bias", fix=(("bias", False),), power=1))]


def test_no_warning_for_a_bias_without_a_neuron_or_before_a_norm() -> None:
    assert warned(fc=FC, lif={"type": "lif"}, out=BIASED) == []
    ((layers, warning),) = warned(fc=BIASED, norm={"type": "batch_norm"}, lif={"type": "lif"})
    assert (layers, warning.cause) == ("norm", "norm_over_time")


@pytest.mark.parametrize("norm", [{"type": "batch_norm", "per_step": True}, {"type": "layer_norm"}])
def test_the_warning_distinguishes_norms_of_a_step_and_over_time(norm: dict[str, Any]) -> None:
    ((layers, warning),) = warned(fc=FC, norm=norm, lif={"type": "lif"})
    assert (layers, warning.cause) == ("norm", "norm_of_a_step")


def test_a_gain_for_the_other_kind_of_input_gives_a_warning() -> None:
    found = warned(fc=FC, lif={"type": "lif", "input_gain": "1-a"})
    assert found == [("lif", DtWarning("gain", fix=(("input_gain", 1.0),), about="1-a", power=-1))]
    after_levels = {"fc": FC, "li": {"type": "li"}, "fc2": FC}
    found = warned(**after_levels, lif={"type": "lif"})
    assert found == [("lif", DtWarning("gain", fix=(("input_gain", "1-a"),), about="1", source="li", power=1))]
    assert warned(**after_levels, lif={"type": "lif", "input_gain": "1-a"}) == []
    ((_, warning),) = warned(**after_levels, lif={"type": "cuba_lif"})
    assert (warning.fix, warning.advice) == ((), "keep dt")


@pytest.mark.parametrize(
    ("settings", "cause", "hint"),
    [
        ({"tau_mem": "2 steps"}, "constant_in_steps", "tau_mem: 20"),
        ({"beta": 0.9}, "constant_as_factor", "tau_mem: 94.91"),
        ({"tau_mem": 15.0, "decay": "euler"}, "too_short_for_euler", "decay: exact"),
        ({"tau_mem": 5.0}, "shorter_than_a_step", "more bins"),
        ({"reset": "none"}, "no_reset", "reset: subtract"),
        ({"reset_delay": True}, "late_reset", "reset_delay: false"),
        ({"reset": "value"}, "reset_to_a_value", "reset: subtract"),
        (
            {"type": "cuba_lif", "synapse": "decay_first", "input_gain": "1-a"},
            "jump_decays_first",
            "synapse: jump_first with input_gain: average",
        ),
        ({"type": "cuba_lif", "input_gain": "1-a"}, "jump_for_a_whole_step", "input_gain: average"),
        ({"type": "cuba_lif", "input_gain": 0.5}, "gain", "input_gain: average"),
        ({"type": "cuba_lif", "alpha": 0.5}, "constant_as_factor", "tau_syn: 14.43"),
    ],
)
def test_each_setting_that_depends_on_dt_gives_a_warning_with_its_fix(
    settings: dict[str, Any], cause: str, hint: str
) -> None:
    ((layer, warning),) = warned(fc=FC, lif={"type": "lif", **settings})
    assert (layer, warning.cause, fix_text(warning)) == ("lif", cause, hint)


@pytest.mark.parametrize("settings", [{"tau_mem": 20.0, "decay": "euler"}, {"tau_mem": 10.0}])
def test_no_warning_for_long_time_constants(settings: dict[str, Any]) -> None:
    assert warned(fc=FC, lif={"type": "lif", **settings}) == []


def test_no_warning_without_dt() -> None:
    assert warned(None, fc=BIASED, lif={"type": "lif", "tau_mem": "2 steps"}) == []


def test_no_warning_for_a_neuron_without_a_drive_power() -> None:
    class Silent(Neuron):
        dt = 1.0

        def coefficients(self) -> None:
            return None

        def initial_state(self, x: Any) -> tuple[()]:
            return ()

        def step(self, x: Any, state: Any, coefficients: Any) -> tuple[Any, Any]:
            return x, state

    assert dt_warnings(Network({"fc": nn.Linear(2, 2), "silent": Silent()})) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda dt: LIF(dt, tau_mem=40.0, v_threshold=1e9),
        lambda dt: LIF(dt, tau_mem=40.0, v_threshold=1e9, input_gain="1-a"),
        lambda dt: LI(dt, tau_mem=40.0),
        lambda dt: LIF(dt, tau_mem=40.0, v_threshold=1e9, input_gain="average"),
        lambda dt: CubaLIF(dt, tau_mem=40.0, tau_syn=20.0, v_threshold=1e9),
        lambda dt: CubaLIF(dt, tau_mem=40.0, tau_syn=20.0, v_threshold=1e9, input_gain="1-a"),
        lambda dt: CubaLIF(dt, tau_mem=40.0, tau_syn=20.0, v_threshold=1e9, input_gain=0.5),
    ],
)
def test_twice_the_bins_drive_the_membrane_as_the_power_says(make: Any) -> None:
    """The membrane after half a second of impulses, or of a bias, in a neuron that cannot fire."""

    def membrane(dt: float, a_ms: float, a_step: float) -> float:
        x = torch.full((round(500 / dt), 1, 1), a_ms * dt + a_step, dtype=torch.float64)
        return make(dt)(x)[1].v.item()

    power = make(0.25).info().drive_power
    assert power is not None
    assert membrane(0.25, 1.0, 0.0) / membrane(0.5, 1.0, 0.0) == pytest.approx(2.0**power, rel=0.03)
    assert membrane(0.25, 0.0, 1.0) / membrane(0.5, 0.0, 1.0) == pytest.approx(2.0 ** (power + 1), rel=0.03)
