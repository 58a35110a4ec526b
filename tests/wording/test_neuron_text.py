"""The texts of a neuron's fields and of dt warnings."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch

from snnlab.nn import ALIF, LI, LIF, AdLIF, CubaLIF, Loihi2LIF, SnntorchAlpha
from snnlab.nn.neurons import NEURONS
from snnlab.nn.neurons.info import AfterSpike, Cause, DtWarning, NeuronInfo
from snnlab.runs.console_tables import fix_text, neuron_properties, warning_text


@pytest.mark.parametrize(
    ("neuron", "words"),
    [
        (LI(1.0, input_gain=1.0), {"gain": "1"}),
        (
            CubaLIF(10.0),
            {"gain": "average = 0.2487", "threshold": "u ≥ 1", "reset": "subtract 1", "synapse": "jump first"},
        ),
        (
            LIF(1.0, reset="value", v_reset=-0.5, reset_delay=True, threshold="strict", v_threshold=2.0),
            {"gain": "1", "threshold": "u > 2", "reset": "to -0.5, a step later"},
        ),
        (LIF(1.0, reset="none"), {"gain": "1", "threshold": "u ≥ 1", "reset": "none"}),
        (
            LIF(1.0, learn={"tau_mem": "channel"}, in_shape=(2,)),
            {"gain": "1", "learns": "tau_mem per channel", "threshold": "u ≥ 1", "reset": "subtract 1"},
        ),
        (
            ALIF(1.0, adapted_reset=True, adaptive=3, in_shape=(5,)),
            {"gain": "1", "threshold": "u ≥ 1, + 0.1 a spike (the last 3)", "reset": "subtract the adapted threshold"},
        ),
        (
            AdLIF(1.0, b=0.5),
            {"gain": "1", "threshold": "u ≥ 1", "reset": "subtract 1", "adaptation": "w, by 0.1 v + 0.5 s"},
        ),
        (
            LIF(1.0, spikes="several", floor=-1.0),
            {"gain": "1", "threshold": "trunc(u / 1)", "reset": "subtract 1 a spike", "bound": "v ≥ -1"},
        ),
        (Loihi2LIF(), {"gain": "4096", "threshold": "u > 4096", "reset": "to 0", "integers": "24 bits"}),
        (
            SnntorchAlpha(alpha=0.9, beta=0.8, reset="subtract"),
            {"gain": "1.895", "threshold": "v > 1", "reset": "subtract 1 of i_exc, a step later"},
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_neuron_is_described(neuron: Any, words: dict[str, str]) -> None:
    assert neuron_properties(neuron.info()) == words


@pytest.mark.parametrize(
    ("recurrent", "text"), [(True, "dense"), ({"type": "conv", "autapses": False}, "3x3 convolution, no autapses")]
)
def test_feedback_is_described(recurrent: Any, text: str) -> None:
    in_shape = (4,) if recurrent is True else (2, 5, 5)
    neuron = NEURONS.build("lif", {"recurrent": recurrent}, "lif", dt=1.0, in_shape=in_shape)
    assert neuron_properties(neuron.info())["feedback"] == text


def test_a_rest_is_described_and_different_values_are_a_range() -> None:
    rest = AfterSpike("value", rest_steps=3.0)
    assert neuron_properties(NeuronInfo(reset=rest)) == {"reset": "to 0, then 3 steps of rest"}
    per_neuron = AfterSpike("subtract", torch.tensor([0.5, 2.0]))
    assert neuron_properties(NeuronInfo(reset=per_neuron)) == {"reset": "subtract 0.5 to 2"}


@pytest.mark.parametrize(
    ("warning", "text", "hint"),
    [
        (
            DtWarning("gain", fix=(("input_gain", 1.0),), about="1-a", power=-1),
            "an input_gain of 1-a does not suit impulses (spikes or events): twice the bins, half the drive",
            "input_gain: 1",
        ),
        (
            DtWarning("gain", about="1", source="li", power=1),
            "an input_gain of 1 does not suit the level of li, which comes once a step: twice the bins,"
            " twice the drive",
            "keep dt",
        ),
        (
            DtWarning("bias", fix=(("bias", False),), power=2),
            "a bias acts once a step: twice the bins, four times the drive",
            "bias: false",
        ),
        (
            DtWarning("constant_as_factor", fix=(("tau_mem", 94.9122),), about="tau_mem", number=0.9),
            "tau_mem is given as a factor, 0.9 a step: twice the bins, half the time constant",
            "tau_mem: 94.91",
        ),
        (
            DtWarning("shorter_than_a_step", advice="more bins", about="tau_mem", number=0.5),
            "tau_mem is 0.5 steps long, so that what happens within a step is lost",
            "more bins",
        ),
    ],
)
def test_a_dt_warning_has_a_text_and_a_fix(warning: DtWarning, text: str, hint: str) -> None:
    assert (warning_text(warning), fix_text(warning)) == (text, hint)


@pytest.mark.parametrize("cause", get_args(Cause))
def test_every_cause_has_a_text(cause: Cause) -> None:
    assert warning_text(DtWarning(cause, about="tau_mem", number=1.0, power=1))
