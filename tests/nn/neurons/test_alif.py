"""The adaptive threshold: an independent loop, values by hand, physical time, learning, and Sinabs' ALIF.

Axes: T steps, B samples, N neurons.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn.neurons import ALIF, LIF, ALIFState
from snnlab.nn.surrogate import Atan

from ...refusals import assert_raises
from .agreement import assert_agrees

T, B, N = 25, 3, 8
BETA, GAIN, LEAK, THETA, RESET, RHO, JUMP = 0.75, 0.5, 0.25, 1.5, -0.25, 0.875, 0.5
WIDTH, HEIGHT = 0.4, 0.8
SETTINGS: dict[str, Any] = {
    **{"beta": BETA, "input_gain": GAIN, "v_leak": LEAK, "v_threshold": THETA, "v_reset": RESET},
    **{"rho": RHO, "adaptation": JUMP, "surrogate": Atan(WIDTH, HEIGHT)},
}


def drive(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    torch.manual_seed(0)
    return (torch.rand(T, B, *(shape or (N,)), dtype=torch.float64) * 6 - 1).to(dtype)


def oracle(x: Tensor, reset: str, adapted: bool, detach: bool, strict: bool) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Bellec et al. 2020, equations of ALIF, with the reset at once: a^t = rho a^(t-1) + z^t, A = theta + jump a."""
    v, w, spikes = torch.full_like(x[0], LEAK), torch.zeros_like(x[0]), []
    for x_t in x:
        v = BETA * v + GAIN * x_t + (1 - BETA) * LEAK
        line = THETA + JUMP * w
        gap = v - line
        hard = (gap > 0 if strict else gap >= 0).to(v.dtype)
        z = hard + HEIGHT / (1 + (gap.detach() / (WIDTH * THETA)) ** 2) * (gap - gap.detach())
        felt = z.detach() if detach else z
        if reset == "value":
            v = v + felt * (RESET - v)
        elif reset == "subtract":
            v = v - felt * (line if adapted else THETA)
        w = RHO * w + z
        spikes.append(z)
    return torch.stack(spikes), (v, w)


CASES = [
    case
    for case in itertools.product(["subtract", "value", "none"], [False, True], [False, True], [False, True])
    if case[0] == "subtract" or not case[1]
]


@pytest.mark.parametrize(("reset", "adapted", "detach", "strict"), CASES)
def test_spikes_states_and_gradients_are_those_of_the_equations(
    reset: Any, adapted: bool, detach: bool, strict: bool
) -> None:
    kinds: dict[str, Any] = {"reset": reset, "adapted_reset": adapted, "detach_reset": detach}
    neuron = ALIF(**SETTINGS, **kinds, threshold="strict" if strict else "inclusive")
    assert_agrees(neuron, lambda x: oracle(x, reset, adapted, detach, strict), drive().requires_grad_())


def late_oracle(x: Tensor, adapted: bool, detach: bool) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Yin et al. 2021, their code: b[t] = rho b[t-1] + s[t-1], B = theta + jump b[t], and B[t] s[t-1] is subtracted."""
    v, b, s, spikes, risen = torch.full_like(x[0], LEAK), torch.zeros_like(x[0]), torch.zeros_like(x[0]), [], x[0]
    for x_t in x:
        b = RHO * b + s
        risen = THETA + JUMP * b
        felt = s.detach() if detach else s
        v = BETA * v + GAIN * x_t + (1 - BETA) * LEAK - felt * (risen if adapted else THETA)
        gap = v - risen
        s = (gap >= 0).to(v.dtype) + HEIGHT / (1 + (gap.detach() / (WIDTH * THETA)) ** 2) * (gap - gap.detach())
        spikes.append(s)
    return torch.stack(spikes), (v, b)


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("detach", [False, True])
def test_a_late_reset_has_spikes_states_and_gradients_of_the_equations(adapted: bool, detach: bool) -> None:
    neuron = ALIF(**SETTINGS, reset_delay=True, adapted_reset=adapted, detach_reset=detach)
    assert_agrees(neuron, lambda x: late_oracle(x, adapted, detach), drive().requires_grad_())


def test_inclusive_and_strict_differ_on_a_membrane_that_just_reaches_the_risen_threshold() -> None:
    x, state = torch.ones(1, 1, 1), ALIFState(torch.full((1, 1), 0.5), torch.ones(1, 1))  # u = 1.25 = 1 + 0.25
    spikes = [
        ALIF(beta=0.5, rho=0.5, adaptation=0.25, threshold=rule)(x, state)[0].item() for rule in ("inclusive", "strict")
    ]
    assert spikes == [1.0, 0.0]


@pytest.mark.parametrize("learn", [(), {"adaptation": "channel"}])
def test_the_last_channels_adapt_and_the_others_are_lif(learn: Any) -> None:
    x, in_shape = drive(N, 2), (N, 2)
    some = ALIF(**SETTINGS, adaptive=3, learn=learn, in_shape=in_shape)
    every = ALIF(**SETTINGS, learn=learn, in_shape=in_shape)
    plain = {key: value for key, value in SETTINGS.items() if key not in ("rho", "adaptation")}
    spikes, of_every, of_lif = (neuron(x)[0] for neuron in (some, every, LIF(**plain)))
    assert torch.equal(spikes[:, :, N - 3 :], of_every[:, :, N - 3 :])
    assert torch.equal(spikes[:, :, : N - 3], of_lif[:, :, : N - 3])
    assert not torch.equal(of_every, of_lif)
    assert (firing := some.info().firing) is not None
    assert firing.rising == 3


@pytest.mark.parametrize(
    ("adaptive", "in_shape", "facts"),
    [
        (3, None, ("adaptive", "in_shape")),
        (0, (8,), ("adaptive", "1", "8", "0")),
        (9, (8,), ("adaptive", "1", "8", "9")),
    ],
)
def test_an_impossible_number_of_adaptive_neurons_is_named(adaptive: int, in_shape: Any, facts: tuple) -> None:
    with assert_raises(ConfigError, *facts):
        ALIF(adaptive=adaptive, in_shape=in_shape)


@pytest.mark.parametrize(
    "settings",
    [{"tau_adapt": "20 steps"}, {"rho": 0.9}, {"beta": 0.9}, {"input_gain": "1-a"}, {"reset": "none"}],
    ids=str,
)
def test_settings_that_depend_on_dt_are_not_dt_invariant(settings: dict[str, Any]) -> None:
    assert not ALIF(1.0, **settings).dt_invariant


def test_everything_real_is_learned_and_stays_legal() -> None:
    names = ["tau_mem", "tau_adapt", "adaptation", "v_threshold", "v_leak"]
    neuron = ALIF(2.0, learn=dict.fromkeys(names, "channel"), in_shape=(N,)).double()
    before = neuron.coefficients()
    for value, expected in ((before.rho, math.exp(-0.01)), (before.adaptation, 0.1)):
        assert isinstance(value, Tensor)
        torch.testing.assert_close(value.detach(), torch.full((N,), expected).double(), rtol=1e-6, atol=0)
    y, _ = neuron(drive())
    (y * torch.randn_like(y)).sum().backward()
    for name in names:
        grad = neuron.learned[name].grad
        assert grad is not None
        assert grad.all(), name
    with torch.no_grad():
        for parameter in neuron.parameters():
            parameter.sub_(4.0)
    k = neuron.coefficients()
    positive = (k.rho, k.relaxation, k.adaptation, k.membrane.a, k.membrane.v_threshold)
    assert all((torch.as_tensor(value) > 0).all() for value in positive)


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"adaptation": math.nan}, ("adaptation",)),
        ({"adaptation": 0.0, "learn": ["adaptation"]}, ("adaptation", 0, 0.1)),
        ({"adapted_reset": True, "reset": "value"}, ("adapted_reset",)),
        ({"tau_adapt": 100.0, "rho": 0.9}, ("", "tau_adapt")),
    ],
)
def test_refused_settings_say_why(settings: dict[str, Any], facts: tuple) -> None:
    with assert_raises((ValueError, ConfigError), *facts):
        ALIF(1.0, **settings)


@pytest.mark.peers
@pytest.mark.parametrize("norm_input", [True, False])
def test_it_is_sinabs_alif_with_single_spikes(norm_input: bool) -> None:
    sinabs = pytest.importorskip("sinabs.layers")
    scale, rho, gain = 1.8, math.exp(-1 / 50), 2.0 if norm_input else 0.3
    x = torch.randn(200, 2, 100, dtype=torch.float64) * gain + gain / 2
    theirs = sinabs.ALIF(10.0, 50.0, adapt_scale=scale, norm_input=norm_input).double()
    times: dict[str, Any] = {"tau_mem": "10 steps", "tau_adapt": "50 steps", "adaptation": scale * (1 - rho)}
    with torch.no_grad():
        z = theirs(x.transpose(0, 1)).transpose(0, 1)
        s, (v, w) = ALIF(**times, input_gain="1-a" if norm_input else 1.0, adapted_reset=True)(x)
    assert z.sum() > 1000
    assert torch.equal(s, z.to(s))
    for given, expected in ((v, theirs.v_mem), (w * (1 - rho), theirs.b)):
        torch.testing.assert_close(
            given, expected.double(), rtol=1e-5, atol=1e-5
        )  # its constants are in single precision


def test_the_adaptation_of_2018_is_filtered_with_each_neurons_own_time_constant() -> None:
    """Bellec et al. 2018: b^t = rho b^(t-1) + (1 - rho) z^(t-1), A = theta + beta b, v = u - z A."""
    taus = torch.tensor([2.0, 5.0, 20.0], dtype=torch.float64)
    settings: dict[str, Any] = {"adaptation": 1.8, "adaptation_gain": "1-rho", "adapted_reset": True, "tau_mem": 3.0}
    neuron = ALIF(1.0, tau_adapt=20.0, learn={"tau_adapt": "neuron"}, in_shape=(3,), **settings).double()
    neuron.learned["tau_adapt"].data.copy_(taus.log())
    x = drive(3)
    rho, a = torch.exp(-1.0 / taus), math.exp(-1.0 / 3.0)
    v, b, z = (torch.zeros(B, 3, dtype=torch.float64) for _ in range(3))
    spikes = []
    for x_t in x:
        b = rho * b + (1.0 - rho) * z
        threshold = 1.0 + 1.8 * b
        u = a * v + x_t
        z = (u >= threshold).double()
        v = u - z * threshold
        spikes.append(z)
    expected = torch.stack(spikes)
    y, _ = neuron(x)
    assert torch.equal(y, expected)
    assert 10 < y.sum() < y.numel() - 10
    rise = neuron.info().firing.rise  # type: ignore[union-attr]
    torch.testing.assert_close(rise, 1.8 * (1.0 - rho))
