"""The adaptation current: RadLIF and SE-adLIF against loops, physical time, ranges, and Norse's ada_lif_step.

Axes: T steps, B samples, N neurons.
"""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from snnlab.config.folders import config_folder
from snnlab.errors import ConfigError
from snnlab.nn import NEURONS
from snnlab.nn.neurons import AdLIF
from snnlab.nn.surrogate import Atan

from ...refusals import assert_raises
from .agreement import assert_agrees, preset

T, B, N = 30, 3, 8


def drive(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    torch.manual_seed(0)
    return (torch.rand(T, B, *(shape or (N,)), dtype=torch.float64) * 5 - 1).to(dtype)


def values(neuron: AdLIF, *names: str) -> list[Tensor]:
    """Return the learned values of these quantities, as new leaves."""
    return [torch.as_tensor(neuron.value(name)).detach().clone().requires_grad_() for name in names]


def straight(gap: Tensor, slope: Tensor) -> Tensor:
    """Return the strict step of gap, with `slope` as its derivative."""
    return (gap > 0).to(gap.dtype) + slope.detach() * (gap - gap.detach())


def radlif(x: Tensor, weight: Tensor, alpha: Tensor, beta: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    """Bittar and Garner's RadLIF in the order of sparch, which starts from random states; here from zero."""
    u = w = s = torch.zeros_like(x[0])
    spikes, feedback = [], weight * (1 - torch.eye(N, dtype=x.dtype))
    for x_t in x:
        w = beta * w + a * u + b * s
        u = alpha * (u - s) + (1 - alpha) * (x_t + s @ feedback.T - w)
        s = straight(u - 1.0, ((u - 1.0).abs() < 0.5).to(x.dtype))
        spikes.append(s)
    # Its input of w at the next step, and the potential after the reset of the next step.
    return torch.stack(spikes), u - s, beta * w + a * u + b * s


def se_adlif(x: Tensor, weight: Tensor, tau_u: Tensor, tau_w: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    """Baronig et al.'s symplectic Euler update with an early reset."""
    alpha, beta, q = torch.exp(-1 / tau_u), torch.exp(-1 / tau_w), 120.0
    u = w = z = torch.zeros_like(x[0])
    spikes = []
    for x_t in x:
        u = alpha * u + (1 - alpha) * (x_t + z @ weight.T - w)
        z = straight(u - 1.0, 0.4 * 5.0 / 2.0 * torch.exp(-5.0 * (u - 1.0).abs()))
        u = u * (1 - z.detach())
        w = beta * w + (1 - beta) * q * (a * u + b * z)
        spikes.append(z)
    return torch.stack(spikes), u, w


@pytest.mark.parametrize(
    ("name", "oracle", "quantities"),
    [("radlif", radlif, ("beta", "rho", "a", "b")), ("se_adlif", se_adlif, ("tau_mem", "tau_adapt", "a", "b"))],
)
def test_the_presets_are_the_published_equations(name: str, oracle: Any, quantities: tuple[str, ...]) -> None:
    neuron, x = preset(name, torch.float64, (N,)), drive() * 6
    inner = neuron.neuron
    weight, leaves = neuron.feedback.weight.detach().clone().requires_grad_(), values(inner, *quantities)
    s, (_, state) = neuron(x)
    expected = oracle(x, weight, *leaves)
    assert 30 < s.sum() < s.numel() - 30
    for result, other in zip((s, *state), expected, strict=True):
        torch.testing.assert_close(result, other, rtol=1e-10, atol=1e-10)

    weights = [torch.randn_like(result) for result in expected]
    ours, theirs = ([(y * k).sum() for y, k in zip(side, weights, strict=True)] for side in ((s, *state), expected))
    stored = [inner.learned[quantity] for quantity in quantities]
    grads = torch.autograd.grad(ours, [neuron.feedback.weight, *stored])
    others = list(torch.autograd.grad(theirs, [weight, *leaves]))
    for n, quantity in enumerate(quantities, start=1):  # from the value to its logit, the parameter
        low, high = inner.intervals[quantity].low, inner.intervals[quantity].high
        others[n] = others[n] * (leaves[n - 1] - low) * (high - leaves[n - 1]) / (high - low)
    for grad, other in zip(grads, others, strict=True):
        assert other.abs().max() > 1e-3
        torch.testing.assert_close(grad, other, rtol=1e-7, atol=1e-7 * other.abs().max().item())


def test_every_neuron_of_a_preset_starts_anywhere_in_the_published_ranges() -> None:
    ends = {
        "radlif": {
            "beta": (math.exp(-1 / 5), math.exp(-1 / 25)),
            "rho": (math.exp(-1 / 30), math.exp(-1 / 120)),
            "a": (-1.0, 1.0),
            "b": (0.0, 2.0),
        },
        "se_adlif": {"tau_mem": (5.0, 25.0), "tau_adapt": (60.0, 300.0), "a": (0.0, 1.0), "b": (0.0, 2.0)},
    }
    for name, ranges in ends.items():
        neuron = NEURONS.build("adlif", _without_recurrence(name), name, dt=1.0, in_shape=(4000,))
        for quantity, (low, high) in ranges.items():
            place = (torch.as_tensor(neuron.value(quantity)).detach() - low) / (high - low)
            assert place.shape == (4000,)
            assert 0 < place.min() < 0.01
            assert 0.99 < place.max() < 1
            assert place.mean().item() == pytest.approx(0.5, abs=0.02)


def _without_recurrence(name: str) -> dict[str, Any]:
    settings = yaml.safe_load((config_folder() / "neuron" / f"{name}.yaml").read_text(encoding="utf-8"))
    return {key: value for key, value in settings.items() if key not in ("type", "recurrent")}


def test_over_images_a_preset_learns_for_each_channel() -> None:
    neuron = NEURONS.build("adlif", _without_recurrence("radlif"), "n", dt=1.0, in_shape=(3, 5, 5))
    assert {tuple(parameter.shape) for parameter in neuron.parameters()} == {(3, 1, 1)}


WAYS = [["before_reset", "after_reset"], ["subtract", "value", "none"], [False, True]]


@pytest.mark.parametrize(("coupling", "reset", "detach"), [*itertools.product(*WAYS)])
def test_spikes_states_and_gradients_are_those_of_the_equations(coupling: Any, reset: Any, detach: bool) -> None:
    neuron = AdLIF(
        beta=0.75, rho=0.875, a=0.5, b=0.25, q=2.0, a_gain="1-rho", b_gain=0.5, coupling=coupling, reset=reset,
        v_threshold=1.5, v_reset=-0.25, input_gain=0.5, detach_reset=detach, surrogate=Atan(0.4, 0.8),
    )  # fmt: skip

    def equations(x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        v, w, spikes = torch.zeros_like(x[0]), torch.zeros_like(x[0]), []
        for x_t in x:
            u = 0.75 * v + 0.5 * x_t - 0.25 * w
            gap = u - 1.5
            z = (gap >= 0).double() + (0.8 / (1 + (gap / 0.6) ** 2)).detach() * (gap - gap.detach())
            felt = z.detach() if detach else z
            v = {"subtract": u - 1.5 * felt, "value": u + felt * (-0.25 - u), "none": u}[reset]
            w = 0.875 * w + 2.0 * (0.125 * 0.5 * (u if coupling == "before_reset" else v) + 0.5 * 0.25 * z)
            spikes.append(z)
        return torch.stack(spikes), (v, w)

    assert_agrees(neuron, equations, (drive() * 2).requires_grad_())


@pytest.mark.parametrize(
    ("settings", "invariant"),
    [
        ({}, True),
        ({"a_gain": 1.0}, False),
        ({"a_gain": 1.0, "a": 0.0}, True),
        ({"a_gain": 1.0, "a": 0.0, "learn": ["a"]}, False),
        ({"b_gain": "1-rho"}, False),
        ({"b_gain": "1-rho", "b": 0.0}, True),
        ({"input_gain": "1-a"}, False),
        ({"rho": 0.9}, False),
    ],
)
def test_its_info_shows_the_dependence_on_dt(settings: dict[str, Any], invariant: bool) -> None:
    assert AdLIF(1.0, **settings).dt_invariant is invariant


def test_what_is_learned_starts_where_it_was_set_and_stays_within_its_range() -> None:
    ranges = {"tau_mem": [5.0, 25.0], "tau_adapt": [60.0, 300.0]}
    names = ["tau_mem", "tau_adapt", "a", "b"]
    neuron = AdLIF(1.0, a=0.2, b=0.3, learn=dict.fromkeys(names, "neuron"), ranges=ranges, in_shape=(N,))
    starts = {"tau_mem": 20.0, "tau_adapt": 200.0, "a": 0.2, "b": 0.3}
    ends = {"tau_mem": (5, 25), "tau_adapt": (60, 300), "a": (-1, 1), "b": (0, 2)}
    for name in names:
        assert torch.as_tensor(neuron.value(name))[0].item() == pytest.approx(starts[name], rel=1e-6)
        for n, far in enumerate((-9.0, 9.0)):
            with torch.no_grad():
                neuron.learned[name].fill_(far)
            assert torch.as_tensor(neuron.value(name))[0].item() == pytest.approx(ends[name][n], abs=0.1)


def test_the_potential_is_measured_from_rest_so_that_there_is_no_leak_to_learn() -> None:
    with assert_raises(ConfigError, "learn", "v_leak"):
        AdLIF(1.0, learn=["v_leak"])


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"a": math.inf}, ("a",)),
        ({"q": math.nan}, ("q",)),
        ({"b_gain": math.nan}, ("b_gain",)),
        ({"a_gain": "1-a"}, ("a_gain", "1-a")),
        ({"coupling": "late"}, ("coupling", "before_reset", "after_reset", "late")),
        ({"init": "normal"}, ("init", "normal")),
        ({"ranges": {"v_threshold": [1, 2]}}, ("ranges", "v_threshold", "tau_mem", "tau_adapt")),
        ({"ranges": {"beta": [0.1, 0.2]}}, ("ranges", "beta", "tau_mem", "tau_adapt")),
        ({"ranges": {"a": [1, 0]}}, ("ranges.a", "ranges", "[low, high]", "[1, 0]")),
        ({"ranges": {"a": [1]}}, ("ranges.a", "ranges", "[low, high]", "[1]")),
        ({"ranges": {"a": 1}}, ("ranges.a", "ranges", "[low, high]", "1")),
        ({"ranges": {"tau_mem": [-5, 25]}}, ("ranges.tau_mem", "> 0", "-5")),
        ({"beta": 0.5, "ranges": {"beta": [0.1, 1.5]}}, ("ranges.beta", "1.5")),
        ({"a": 1.5, "learn": ["a"]}, ("a", "1.5", "-1", "[low, high]")),
    ],
)
def test_refused_settings_say_why(settings: dict[str, Any], facts: tuple) -> None:
    with assert_raises((ValueError, ConfigError), *facts):
        AdLIF(1.0, **settings)


def test_a_mistake_in_the_yaml_has_its_place() -> None:
    with assert_raises(ConfigError, "lif1.ranges", [1]):
        NEURONS.build("adlif", {"ranges": [1]}, "lif1", dt=1.0)


@pytest.mark.peers
def test_it_is_norses_ada_lif_step_after_a_synapse() -> None:
    pytest.importorskip("norse")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit.script, at its import
        from norse.torch.functional.lsnn import LSNNParameters, LSNNState, ada_lif_step

    steps, batch, neurons = 200, 10, 50
    x = torch.randn(steps, batch, neurons, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 + 1
    defaults = LSNNParameters(tau_adapt_inv=torch.tensor(20.0))
    p = defaults._replace(**{n: part.double() for n, part in defaults._asdict().items() if isinstance(part, Tensor)})
    zero = torch.zeros(batch, neurons, dtype=torch.float64)
    state, outputs, membranes, currents = LSNNState(zero, zero, zero, zero), [], [], []
    for x_t in x:
        currents.append(state.i)
        z, state = ada_lif_step(x_t, state, torch.eye(neurons).double(), torch.zeros(neurons, neurons).double(), p)
        outputs.append(z)
        membranes.append(state.v)
    settings = yaml.safe_load((config_folder() / "neuron" / "adlif.yaml").read_text(encoding="utf-8"))
    changes = {"tau_mem": "10 steps", "tau_adapt": "50 steps", "a": 0.0, "b": 1.8, "decay": "euler"}
    changes |= {"input_gain": "1-a", "threshold": "strict", "detach_reset": False}
    del settings["type"]
    neuron = NEURONS.build("adlif", settings | changes, "n")
    s, (v, w) = neuron(torch.stack(currents))
    assert s.sum() > 1000
    assert torch.equal(s, torch.stack(outputs))
    for given, expected in ((v, membranes[-1]), (w, state.b)):
        torch.testing.assert_close(given, expected, rtol=1e-5, atol=1e-5)
