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
from snnlab.nn import NEURONS
from snnlab.nn.neurons import ALIF, LIF, ALIFState
from snnlab.nn.neurons.info import AfterSpike, Firing
from snnlab.nn.surrogate import Atan

from ...refusals import assert_raises
from ..conftest import python_and_compiled

pytestmark = pytest.mark.usefixtures("loops_in_python")
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


def oracle(
    x: Tensor, v: Tensor, w: Tensor, reset: str, adapted: bool, detach: bool, strict: bool
) -> tuple[Tensor, ...]:
    """Bellec et al. 2020, equations of ALIF, with the reset at once: a^t = rho a^(t-1) + z^t, A = theta + jump a."""
    spikes = []
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
    return torch.stack(spikes), v, w


CASES = [
    case
    for case in itertools.product(["subtract", "value", "none"], [False, True], [False, True], [False, True])
    if case[0] == "subtract" or not case[1]
]


@pytest.mark.parametrize(("reset", "adapted", "detach", "strict"), python_and_compiled(CASES))
def test_spikes_states_and_gradients_are_those_of_the_equations(
    reset: Any, adapted: bool, detach: bool, strict: bool
) -> None:
    leaves = drive(), torch.rand(B, N).double(), torch.rand(B, N).double()
    x, v, w = ours = [leaf.clone().requires_grad_() for leaf in leaves]
    x2, v2, w2 = theirs = [leaf.clone().requires_grad_() for leaf in leaves]
    neuron = ALIF(
        **SETTINGS,
        reset=reset,
        adapted_reset=adapted,
        detach_reset=detach,
        threshold="strict" if strict else "inclusive",
    )
    s, state = neuron(x, ALIFState(v, w))
    expected = oracle(x2, v2, w2, reset, adapted, detach, strict)
    assert 30 < s.sum() < s.numel() - 30
    results = (s, state.v, state.w)
    for result, other in zip(results, expected, strict=True):
        torch.testing.assert_close(result, other, rtol=0, atol=1e-12)
    weights = [torch.randn_like(result) for result in results]
    grads = [
        torch.autograd.grad([(y * k).sum() for y, k in zip(side, weights, strict=True)], inputs)
        for side, inputs in ((results, ours), (expected, theirs))
    ]
    for grad, other in zip(*grads, strict=True):
        assert grad.any()
        torch.testing.assert_close(grad, other, rtol=1e-9, atol=1e-9)


def test_inclusive_and_strict_differ_on_a_membrane_that_just_reaches_the_risen_threshold() -> None:
    x, state = torch.ones(1, 1, 1), ALIFState(torch.full((1, 1), 0.5), torch.ones(1, 1))  # u = 1.25 = 1 + 0.25
    spikes = [
        ALIF(beta=0.5, rho=0.5, adaptation=0.25, threshold=rule)(x, state)[0].item() for rule in ("inclusive", "strict")
    ]
    assert spikes == [1.0, 0.0]


def test_the_threshold_rises_with_a_spike_and_relaxes_exponentially() -> None:
    neuron = ALIF(10.0, tau_mem=20.0, tau_adapt=200.0, adaptation=0.5)
    x = torch.zeros(6, 1, 1, dtype=torch.float64)
    x[0] = 1.2
    adaptations, state = [], None
    for x_t in x.split(1):
        _, state = neuron(x_t, state)
        adaptations.append(state.w.item())
    assert adaptations == pytest.approx([math.exp(-t * 10.0 / 200.0) for t in range(6)], rel=1e-12)


def test_a_reset_subtracts_the_threshold_or_the_adapted_threshold() -> None:
    x, state = torch.full((1, 1, 1), 2.0), ALIFState(torch.zeros(1, 1), torch.full((1, 1), 2.0))
    left = [ALIF(beta=0.5, rho=0.5, adaptation=0.25, adapted_reset=a)(x, state)[1].v.item() for a in (False, True)]
    assert left == [1.0, 0.5]


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


def test_without_adaptation_it_is_lif_bit_for_bit() -> None:
    x = drive(dtype=torch.float32)
    dialects: list[dict[str, Any]] = [{}, {"reset": "value", "v_leak": 0.2}, {"input_gain": "average"}]
    for settings in dialects:
        s, state = ALIF(2.0, adaptation=0.0, **settings)(x)
        expected, membrane = LIF(2.0, **settings)(x)
        assert torch.equal(s, expected)
        assert torch.equal(state.v, membrane.v)


def test_its_rate_falls_under_a_constant_drive() -> None:
    x = torch.full((300, 1, 1), 0.2)
    tired, fresh = ALIF(1.0, adaptation=0.3)(x)[0], LIF(1.0)(x)[0]
    assert fresh[:50].sum() <= fresh[-50:].sum()
    assert tired[:50].sum() > 1.5 * tired[-50:].sum() > 0


# The weight of an event, so that the neuron fires at about 50 to 85 Hz: neither dead nor saturated.
@pytest.mark.parametrize(("rate_per_ms", "weight"), [(1.0, 0.1), (1.0, 0.15), (0.3, 0.4)])
def test_its_rate_for_the_same_poisson_events_hardly_depends_on_the_bins(rate_per_ms: float, weight: float) -> None:
    events = torch.poisson(torch.full((300, 1, 2000), rate_per_ms), torch.Generator().manual_seed(0))  # 300 ms
    rates = []
    for bins in (30, 60, 100, 300):
        neuron = ALIF(300.0 / bins)
        assert neuron.dt_invariant
        rates.append(neuron(weight * events.unflatten(0, (bins, -1)).sum(1))[0].sum(0).mean().item() / 0.3)
    assert min(rates) > 40.0
    assert max(rates) / min(rates) < 1.15, rates


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


def test_the_gradient_of_the_adaptation_is_that_of_the_equations() -> None:
    x = drive()
    neuron = ALIF(beta=BETA, rho=RHO, adaptation=JUMP, surrogate=Atan(WIDTH, HEIGHT), learn=["adaptation"]).double()
    y, _ = neuron(x)
    weights = torch.randn_like(y)
    (y * weights).sum().backward()
    jump = torch.tensor(JUMP, dtype=torch.float64, requires_grad=True)
    v, w, total = torch.zeros(B, N).double(), torch.zeros(B, N).double(), torch.zeros(()).double()
    for x_t, weight in zip(x, weights, strict=True):
        v = BETA * v + x_t
        gap = v - (1 + jump * w)
        z = (gap >= 0).double() + HEIGHT / (1 + (gap.detach() / WIDTH) ** 2) * (gap - gap.detach())
        v, w = v - z.detach(), RHO * w + z
        total = total + (z * weight).sum()
    total.backward()
    assert jump.grad is not None
    # The stored logarithm's gradient is the value's times the value.
    assert neuron.learned["adaptation"].grad.item() == pytest.approx(jump.grad.item() * JUMP, rel=1e-6)


def test_recurrence_is_a_setting() -> None:
    neuron = NEURONS.build("alif", {"recurrent": True}, "n", dt=1.0, in_shape=(N,))
    y, state = neuron(drive(dtype=torch.float32))
    assert torch.equal(state.s, y[-1])
    assert isinstance(state.neuron, ALIFState)


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"adaptation": -0.1}, ("adaptation", ">= 0", -0.1)),
        ({"adaptation": math.nan}, ("adaptation",)),
        (
            {"adaptation": 0.0, "learn": ["adaptation"]},
            ("adaptation", 0, 0.1),
        ),
        ({"adapted_reset": True, "reset": "value"}, ("adapted_reset",)),
        (
            {"tau_adapt": 100.0, "rho": 0.9},
            ("", "tau_adapt"),
        ),
        ({"tau_adapt": 0.0}, ("tau_adapt", "> 0", 0.0)),
    ],
)
def test_refused_settings_say_why(settings: dict[str, Any], facts: tuple) -> None:
    with assert_raises((ValueError, ConfigError), *facts):
        ALIF(1.0, **settings)


def test_its_info_describes_it() -> None:
    info = ALIF(1.0, adapted_reset=True).info()
    assert (info.firing, info.reset) == (Firing(1.0, rise=0.1), AfterSpike("subtract", adapted=True))
    assert [(c.name, c.ms) for c in ALIF(1.0).constants()] == [("tau_mem", 20.0), ("tau_adapt", 200.0)]


@pytest.mark.peers
@pytest.mark.parametrize("norm_input", [True, False])
def test_it_is_sinabs_alif_with_single_spikes(norm_input: bool) -> None:
    sinabs = pytest.importorskip("sinabs.layers")
    steps, batch, neurons, scale, rho = 200, 10, 2000, 1.8, math.exp(-1 / 50)
    x = torch.randn(steps, batch, neurons, generator=torch.Generator().manual_seed(0)) * (2 if norm_input else 0.3)
    x = x + (1.0 if norm_input else 0.1)
    theirs = sinabs.ALIF(10.0, 50.0, adapt_scale=scale, norm_input=norm_input, record_states=True)
    gain: Any = "1-a" if norm_input else 1.0
    ours = ALIF(
        tau_mem="10 steps", tau_adapt="50 steps", adaptation=scale * (1 - rho), input_gain=gain, adapted_reset=True
    )
    with torch.no_grad():
        z = theirs(x.transpose(0, 1)).transpose(0, 1)
        y, states, state = [], [], None
        for x_t in x.split(1):
            y_t, state = ours(x_t, state)
            y.append(y_t)
            states.append(state)
        s, v = torch.cat(y), torch.stack([state.v for state in states])
    # Sinabs records the same dictionary object at each step, so only the last state is known.
    differs = (s != z).cumsum(0)
    first = (s != z) & (differs == 1)
    line = torch.stack([1 + ours.adaptation * state.w for state in states])
    line = torch.cat([torch.ones_like(line[:1]), line[:-1]])
    silent = torch.where(s > 0, v + line, v)  # our membrane before its reset
    assert ((silent - line).abs()[first] <= 1e-5 * silent.abs().clamp(min=1)[first]).all()
    equal = differs[-1] == 0
    print(f"\nsinabs ALIF: {int(z.sum()):,} spikes of {equal.numel():,} neurons, {int((~equal).sum())} left out")
    assert z.sum() > 100_000
    assert (~equal).sum() < equal.numel() // 100
    for given, expected in ((v[-1], theirs.v_mem), (states[-1].w * (1 - rho), theirs.b)):
        assert ((given - expected).abs() / expected.abs().clamp(min=1))[equal].max() <= 1e-5
