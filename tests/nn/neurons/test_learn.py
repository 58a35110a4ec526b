"""Learned time constants, potentials and thresholds: initial values, legal values, gradients."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn import LI, LIF, NEURONS, CubaLIF, Network, build_network
from snnlab.nn.neurons import IAF, CubaLI
from snnlab.nn.neurons.info import Firing
from snnlab.nn.summary import learned, learned_metrics
from snnlab.nn.surrogate import Atan

from ...refusals import assert_raises

T, B, SHAPE = 9, 2, (3, 4, 5)
WIDTH, HEIGHT = 0.4, 0.8


def drive() -> Tensor:
    torch.manual_seed(0)
    return torch.rand(T, B, *SHAPE, dtype=torch.float64) * 2.5 - 0.5


def stored_for(neuron: Any, name: str, value: Tensor) -> Tensor:
    return torch.tensor([neuron._ranges[name].stored(v) for v in value.flatten().tolist()]).view_as(value)


@pytest.mark.parametrize(
    ("neuron", "coefficient", "expected"),
    [
        (LI(2.0, learn=["tau_mem"]), "a", math.exp(-0.1)),
        (LI(2.0, tau_mem="4 steps", learn=["tau_mem"]), "a", math.exp(-0.25)),
        (LI(2.0, tau_mem=8.0, decay="euler", learn=["tau_mem"]), "a", 0.75),
        (LI(2.0, tau_mem="2 steps", decay="euler", learn=["tau_mem"]), "a", 0.5),
        (LI(beta=0.9, learn=["beta"]), "a", 0.9),
        (LI(beta=0.5, input_gain="1-a", learn=["beta"]), "g", 0.5),
        (LI(beta=0.5, v_leak=-0.5, learn=["v_leak"]), "c", -0.25),
        (CubaLI(2.0, tau_syn=4.0, learn=["tau_syn"]), "b", math.exp(-0.5)),
        (CubaLIF(beta=0.9, alpha=0.7, learn=["alpha"]), "b", 0.7),
        (LIF(1.0, v_threshold=1.5, learn=["v_threshold"]), "v_threshold", 1.5),
        (LIF(1.0, reset="value", v_reset=-0.3, learn=["v_reset"]), "v_reset", -0.3),
        (IAF(v_threshold=0.7, learn=["v_threshold"]), "v_threshold", 0.7),
    ],
)
def test_what_is_learned_starts_where_it_was_set(neuron: Any, coefficient: str, expected: float) -> None:
    value = getattr(neuron.coefficients(), coefficient)
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(expected, rel=3e-7)


@pytest.mark.parametrize("moved", [-8.0, 8.0])
@pytest.mark.parametrize("decay", ["exact", "euler"])
def test_learned_values_stay_legal_for_any_training(decay: Any, moved: float) -> None:
    everything = ["tau_mem", "tau_syn", "v_leak", "v_threshold", "v_reset"]
    neuron = CubaLIF(1.0, decay=decay, reset="value", v_leak=0.2, v_reset=-0.5, learn=everything)
    with torch.no_grad():
        for name in everything:
            neuron.learned[name] += moved
    with torch.no_grad():
        k = neuron.coefficients()
        a, b, v_threshold, v_reset, v_leak = map(float, (k.a, k.b, k.v_threshold, k.v_reset, neuron.value("v_leak")))
    assert 0 < a < 1
    assert 0 < b < 1
    assert v_threshold > max(0.0, v_leak, v_reset)


@pytest.mark.parametrize(("per", "shape"), [("layer", ()), ("channel", (3, 1, 1)), ("neuron", (3, 4, 5))])
def test_quantities_are_learned_per_layer_channel_or_neuron(per: Any, shape: tuple[int, ...]) -> None:
    neuron = LIF(1.0, learn={"tau_mem": per, "v_threshold": "layer"}, in_shape=SHAPE)
    assert neuron.learned["tau_mem"].shape == shape
    assert neuron.learned["v_threshold"].shape == ()
    fixed = LIF(1.0)
    neuron.double()
    assert torch.equal(neuron(drive().float().double())[0], fixed(drive().float().double())[0])


def test_channels_that_learned_other_constants_are_other_neurons() -> None:
    neuron = LIF(1.0, learn={"tau_mem": "channel", "v_threshold": "channel"}, in_shape=SHAPE).double()
    taus, thresholds = torch.tensor([5.0, 20.0, 80.0]), torch.tensor([0.7, 1.0, 1.6])
    with torch.no_grad():
        neuron.learned["tau_mem"].copy_(stored_for(neuron, "tau_mem", taus.view(3, 1, 1)))
        neuron.learned["v_threshold"].copy_(stored_for(neuron, "v_threshold", thresholds.view(3, 1, 1)))
    y, _ = neuron(drive())
    for c in range(3):
        one = LIF(1.0, tau_mem=float(taus[c]), v_threshold=float(thresholds[c]))
        assert torch.equal(y[:, :, c], one(drive()[:, :, c])[0])


def oracle(x: Tensor, k: dict[str, Tensor], reset: str, detach: bool, delay: bool) -> tuple[Tensor, Tensor]:
    """Return spikes and last membrane of a LIF with gain 1-a, written out for leaves in natural units."""

    def fire(u: Tensor) -> Tensor:
        gap = u - k["v_threshold"]
        slope = HEIGHT / (1 + (gap / (WIDTH * k["v_threshold"])) ** 2)
        return (gap >= 0).to(u.dtype) + slope.detach() * (gap - gap.detach())

    def lowered(u: Tensor, s: Tensor) -> Tensor:
        s = s.detach() if detach else s
        return u - s * k["v_threshold"] if reset == "subtract" else u + s * (k["v_reset"] - u)

    a = torch.exp(-1.0 / k["tau_mem"])
    v = k["v_leak"].expand_as(x[0])
    spikes = []
    for x_t in x:
        if delay and reset == "value":
            v = lowered(v, fire(v))
        u = a * v + (1 - a) * x_t + (1 - a) * k["v_leak"]
        if delay:
            v = lowered(u, fire(v)) if reset == "subtract" else u
            spikes.append(fire(v))
        else:
            spikes.append(fire(u))
            v = lowered(u, spikes[-1])
    return torch.stack(spikes), v


WAYS = [["subtract", "value"], [True, False], [True, False], ["layer", "channel", "neuron"]]


@pytest.mark.parametrize(("reset", "detach", "delay", "per"), [*itertools.product(*WAYS)])
def test_gradients_are_those_of_the_written_out_neuron(reset: Any, detach: bool, delay: bool, per: Any) -> None:
    start = {"tau_mem": 3.0, "v_leak": 0.25, "v_threshold": 0.9, "v_reset": -0.25}
    names = [name for name in start if name != "v_reset" or reset == "value"]
    neuron = LIF(
        1.0,
        **start,  # pyright: ignore[reportArgumentType]
        input_gain="1-a",
        reset=reset,
        detach_reset=detach,
        reset_delay=delay,
        surrogate=Atan(WIDTH, HEIGHT),
        learn=dict.fromkeys(names, per),  # pyright: ignore[reportArgumentType]
        in_shape=SHAPE,
    ).double()
    x = drive() * 2
    # The neuron's values, not those of the settings: its parameters are in single precision at first.
    values = {name: torch.as_tensor(neuron.value(name)) for name in names}
    leaves = {name: values[name].detach().clone().requires_grad_() for name in names}
    fixed = {name: torch.tensor(start[name]) for name in start if name not in names}
    y, state = neuron(x)
    expected, v = oracle(x, leaves | fixed, reset, detach, delay)
    assert y.sum() > 50
    assert torch.equal(y, expected.detach())
    weight = torch.randn_like(y)
    ours = torch.autograd.grad((y * weight).sum() + state.v.sum(), [neuron.learned[name] for name in names])
    theirs = torch.autograd.grad((expected * weight).sum() + v.sum(), list(leaves.values()))
    for name, one, natural in zip(names, ours, theirs, strict=True):
        (chain,) = torch.autograd.grad(values[name], neuron.learned[name], natural)
        assert one.abs().sum() > 0
        torch.testing.assert_close(one, chain, rtol=1e-9, atol=1e-9)


def test_they_are_parameters_and_travel_in_the_state_dict() -> None:
    one = LIF(1.0, learn=["tau_mem"])
    assert [name for name, _ in one.named_parameters()] == ["learned.tau_mem"]
    assert list(LIF(1.0).state_dict()) == []
    with torch.no_grad():
        one.learned["tau_mem"] += 1.0
    other = LIF(1.0, learn=["tau_mem"])
    other.load_state_dict(one.state_dict())
    assert torch.equal(torch.as_tensor(other.coefficients().a), torch.as_tensor(one.coefficients().a))


def test_what_is_stored_is_in_ms_and_serves_another_dt() -> None:
    one, other = LIF(1.0, tau_mem=12.0, learn=["tau_mem"]), LIF(4.0, tau_mem=20.0, learn=["tau_mem"])
    other.load_state_dict(one.state_dict())
    assert torch.as_tensor(other.coefficients().a).item() == pytest.approx(math.exp(-4 / 12), rel=1e-6)


def stored(neuron: Any, name: str, *values: float) -> None:
    """Set the learned values of a quantity, in the unit of its setting."""
    into = neuron.learned[name]
    with torch.no_grad():
        numbers = [neuron._ranges[name].stored(value) for value in values]
        into.copy_(torch.tensor(numbers * (into.numel() // len(numbers))).reshape(into.shape))


def test_a_setting_tells_what_it_is_now() -> None:
    neuron = LIF(1.0, tau_mem=20.0, learn=["tau_mem", "v_threshold"])
    assert (neuron.tau_mem, neuron.v_threshold, neuron.v_leak) == (pytest.approx(20.0), pytest.approx(1.0), 0.0)
    stored(neuron, "tau_mem", 7.0)
    stored(neuron, "v_threshold", 0.75)
    assert neuron.tau_mem == pytest.approx(7.0, rel=1e-6)
    assert neuron.v_threshold == pytest.approx(0.75, rel=1e-6)
    assert repr(neuron).split("\n")[1].strip() == "tau_mem=7, dt=1.0"
    assert neuron.constants()[0].ms == pytest.approx(7.0, rel=1e-6)
    assert neuron.info().firing == (pytest.approx(0.75, rel=1e-6), *Firing(0.0)[1:])


def test_of_channels_it_tells_all_and_constants_their_mean_and_ends() -> None:
    neuron = CubaLIF(1.0, tau_mem=20.0, tau_syn=5.0, learn={"tau_syn": "channel"}, in_shape=SHAPE)
    stored(neuron, "tau_syn", *[2.0] * (SHAPE[0] - 1), 8.0)
    assert neuron.tau_syn.shape == (SHAPE[0], *[1] * (len(SHAPE) - 1))
    assert not neuron.tau_syn.requires_grad
    assert neuron.tau_syn.flatten().tolist() == pytest.approx([*[2.0] * (SHAPE[0] - 1), 8.0])
    assert neuron.tau_mem == 20.0
    membrane, synapse = neuron.constants()
    assert membrane.min_max is None
    assert synapse.min_max == pytest.approx((2.0, 8.0), rel=1e-6)
    assert synapse.ms == pytest.approx(2.0 + 6.0 / SHAPE[0], rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "learns", "to", "expected"),
    [
        ({"tau_mem": 20.0}, "tau_mem", 7.0, {"tau_mem_ms": 7.0}),
        ({"tau_mem": "2 steps"}, "tau_mem", 3.0, {"tau_mem_ms": 6.0}),
        ({"beta": 0.9}, "beta", 0.8, {"tau_mem_ms": -2.0 / math.log(0.8), "beta": 0.8}),
        ({"beta": 0.9, "decay": "euler"}, "beta", 0.8, {"tau_mem_ms": 2.0 / 0.2, "beta": 0.8}),
        ({"tau_mem": "2 steps", "dt": None}, "tau_mem", 3.0, {"tau_mem_steps": 3.0}),
        ({"tau_mem": 20.0}, "v_threshold", 0.75, {"v_threshold": 0.75}),
    ],
)
def test_a_learned_quantity_has_a_unit_for_each_setting(
    settings: dict[str, Any], learns: str, to: float, expected: dict[str, float]
) -> None:
    neuron = LIF(**{"dt": 2.0, "learn": [learns], **settings})
    stored(neuron, learns, to)
    found = {each.key: float(each.values) for each in learned(Network({"a": neuron}))}
    assert found == pytest.approx(expected, rel=1e-6)
    assert learned_metrics(Network({"a": neuron})) == pytest.approx(
        {f"learned/{key}/a": value for key, value in expected.items()}, rel=1e-6
    )


@pytest.mark.parametrize(
    ("kind", "settings", "key", "expected"),
    [
        ("brf", {"omega": [7.0, 7.0]}, "omega_rad_per_s", 7.0),
        ("brf", {"damping": [2.0, 2.0]}, "damping_per_s", 2.0),
        ("glif", {"v_threshold": 0.4}, "v_threshold", 0.4),
        ("tc_lif", {"beta1": 1.5}, "beta1", 1.5),
        ("ts_lif", {"soma_decay": 0.25}, "soma_decay", 0.25),
        ("vanilla_rf", {"damping": [2.0, 2.0]}, "damping_per_s", 2.0),
    ],
)
def test_neurons_that_always_learn_have_metrics(kind: str, settings: dict[str, Any], key: str, expected: float) -> None:
    neuron = NEURONS.build(kind, settings, "a", dt=1.0, in_shape=(3,))
    assert learned_metrics(Network({"a": neuron}))[f"learned/{key}/a"] == pytest.approx(expected)
    assert {each.values.dtype for each in learned(Network({"a": neuron}))} == {torch.float64}


def test_a_recurrent_layer_learns_under_its_own_name() -> None:
    layers = {"rec": {"type": "alif", "learn": ["tau_adapt"], "recurrent": True}}
    (found,) = learned(build_network(layers, in_shape=(3,), dt=1.0).network)
    assert (found.layer, found.key, float(found.values)) == ("rec", "tau_adapt_ms", pytest.approx(200.0))


@pytest.mark.parametrize(
    ("kind", "settings", "constant"),
    [
        ("lif", {"learn": ["reset_delay"]}, ("lif1.learn", "reset_delay", "tau_mem", "v_leak", "v_threshold")),
        ("lif", {"learn": ["v_treshold"]}, ("lif1.learn", "v_treshold", "tau_mem", "v_leak", "v_threshold")),
        ("lif", {"learn": ["beta"]}, ("lif1.learn", "beta", "tau_mem", "v_leak", "v_threshold")),
        ("lif", {"learn": ["v_reset"]}, ("lif1.learn", "v_reset", "tau_mem", "v_leak", "v_threshold")),
        ("iaf", {"learn": ["tau_mem"]}, ("lif1.learn", "tau_mem", "v_threshold")),
        ("lif", {"learn": "tau_mem"}, ("lif1.learn", "tau_mem")),
        ("lif", {"learn": 1}, ("lif1.learn", 1)),
        ("lif", {"learn": {"tau_mem": "pixel"}}, ("lif1.learn.tau_mem", "pixel")),
        ("lif", {"beta": 0.0, "learn": ["beta"]}, ("lif1.beta", "0")),
    ],
)
def test_a_quantity_that_cannot_be_learned_is_named(kind: str, settings: dict[str, Any], constant: tuple) -> None:
    with assert_raises(ConfigError, *constant):
        NEURONS.build(kind, settings, "lif1", dt=1.0, in_shape=SHAPE)


def test_channels_need_to_be_known() -> None:
    with assert_raises(ConfigError, "learn.tau_mem", "in_shape"):
        LIF(1.0, learn={"tau_mem": "channel"})


def test_time_constants_start_normal_around_the_setting() -> None:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"learn": {"tau_mem": "channel"}, "tau_mem_std": 5.0, "in_shape": (4000,)}
    started = LI(10.0, tau_mem="20 steps", **settings).learned_value("tau_mem")
    assert started.mean().item() == pytest.approx(20, abs=0.3)
    assert started.std().item() == pytest.approx(5, abs=0.3)
    settings["tau_mem_std"] = 300.0
    assert LI(10.0, tau_mem=200.0, **settings).learned_value("tau_mem").min() > 0
    with assert_raises(ConfigError, "tau_mem_std", "tau_mem"):
        LI(10.0, tau_mem=20.0, tau_mem_std=1.0)
