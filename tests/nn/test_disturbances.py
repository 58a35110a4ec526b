"""Disturbances against loops of their equations; a disturbed copy leaves its network as it was.

Axes: T steps, B samples, C neurons.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor

from snnlab.nn import Network, build_network
from snnlab.nn.disturbances import DISTURBANCES, connection_weights
from snnlab.nn.neurons.base import Neuron, set_backend

BRF_LAYERS: dict[str, dict[str, Any]] = {
    "fc1": {"type": "linear", "out_features": 12, "bias": False},
    "brf1": {"type": "brf", "omega": [15.0, 50.0], "damping": [0.1, 1.0], "recurrent": True},
    "out": {"type": "linear", "out_features": 3, "bias": False},
    "readout": {"type": "li", "tau_mem": "20 steps", "input_gain": "1-a", "learn": {"tau_mem": "channel"}},
}
LIF_LAYERS: dict[str, dict[str, Any]] = {
    "fc1": {"type": "linear", "out_features": 12},
    "lif1": {"type": "lif", "tau_mem": 20.0},
    "out": {"type": "linear", "out_features": 3},
}


def built(layers: dict[str, dict[str, Any]], scale: float = 1.0) -> Network:
    """Return a network of 4 inputs in double precision, with connections of a scale."""
    network = build_network(layers, in_shape=(4,), dt=10.0, num_steps=60).network.double().eval()
    with torch.no_grad():
        for weight in connection_weights(network):
            weight.mul_(scale)
    return network


def disturbed(network: Network, name: str, level: float, seed: int = 0) -> Network:
    """Return a disturbed copy."""
    copy, rng = deepcopy(network), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        kind: Any = DISTURBANCES.get(name, "")
        assert kind(level).disturb(copy, torch.zeros(1, 1, 4, dtype=torch.float64), rng)
    return copy


def neurons(network: Network) -> Neuron:
    found = network.get_submodule("lif1")
    assert isinstance(found, Neuron)
    return found


def answers(network: Network, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    counts: dict[str, Tensor] = {}
    with torch.no_grad():
        return network(x, counts=counts)[0], counts


def frames(steps: int = 60, batch: int = 5) -> Tensor:
    return torch.rand(steps, batch, 4, dtype=torch.float64)


def brf_loop(network: Network, x: Tensor, lost: float = 0.0, bits: int | None = None) -> tuple[Tensor, Tensor]:
    """Run the network of BRF_LAYERS by the authors' update; return the output and the spikes per neuron, `[B, C]`.

    Args:
        lost: Probability that a spike is lost, with the random numbers of seed 0.
        bits: Fractional bits of parameters, of the readout's factor and of the input.
    """

    def q(value: Tensor) -> Tensor:
        return value if bits is None else torch.round(value * 2.0**bits) / 2.0**bits

    own = {name: value.detach() for name, value in network.named_parameters()}
    omega, damping = q(own["brf1.neuron.omega"]).abs(), q(own["brf1.neuron.damping"]).abs()
    alpha = q(torch.exp(-1 / q(own["readout.learned.tau_mem"].exp())))
    rng, dt = torch.Generator().manual_seed(0), 0.01
    border = (torch.sqrt(1 - (dt * omega) ** 2) - 1) / dt
    z = u = v = r = torch.zeros(x.shape[1], 12, dtype=torch.float64)
    out, total, outputs = torch.zeros(x.shape[1], 3, dtype=torch.float64), torch.zeros_like(z), []
    for x_t in q(x):
        drive = x_t @ q(own["fc1.weight"]).T + z @ q(own["brf1.feedback.weight"]).T
        b = border - damping - r
        u, v = u + dt * (b * u - omega * v + drive), v + dt * (omega * u + b * v)
        z = (u - 1 - r > 0).double()
        r = 0.9 * r + z
        if lost:
            z = z * (torch.rand(z.shape, generator=rng) >= lost)
        total += z
        out = alpha * out + (1 - alpha) * (z @ q(own["out.weight"]).T)
        outputs.append(out)
    return torch.stack(outputs), total


def test_a_deleted_spike_reaches_neither_the_feedback_nor_the_next_layer_of_a_recurrent_network():
    network, x = built(BRF_LAYERS, 60.0), 3.0 * frames()
    for name, lost in (("spikes_deleted", 0.3), (None, 0.0)):
        y, counts = answers(network if name is None else disturbed(network, name, lost), x)
        expected, total = brf_loop(network, x, lost)
        assert torch.equal(counts["brf1"], total)
        assert total.sum() > 80
        torch.testing.assert_close(y, expected)


def test_spikes_of_other_layers_are_deleted_after_the_neuron_has_been_reset():
    network, x = built(LIF_LAYERS, 2.0), 4.0 * frames(200)
    lossy = disturbed(network, "spikes_deleted", 0.25)
    with torch.no_grad():
        drive = network.get_submodule("fc1")(x)
        spikes, _ = network.get_submodule("lif1")(drive)
    kept = spikes * (torch.rand(spikes.shape, generator=torch.Generator().manual_seed(0)) >= 0.25)
    y, counts = answers(lossy, x)
    assert torch.equal(counts["lif1"], kept.sum(0))
    torch.testing.assert_close(y, network.get_submodule("out")(kept))
    assert 0.7 < kept.sum() / spikes.sum() < 0.8


@pytest.mark.parametrize("bits", [3, 6, 10])
def test_parameters_factors_and_frames_are_rounded_to_fractional_bits(bits: int):
    network, x = built(BRF_LAYERS, 60.0), 3.0 * frames()
    kind: Any = DISTURBANCES.get("precision", "")
    rounded = disturbed(network, "precision", bits)
    y, counts = answers(rounded, kind(bits).frames(x, torch.Generator()))
    expected, total = brf_loop(network, x, bits=bits)
    assert torch.equal(counts["brf1"], total)
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_states_are_rounded_at_the_end_of_each_step_in_both_loops(backend: Any):
    layers = {**LIF_LAYERS, "lif1": {"type": "cuba_lif", "tau_mem": 20.0, "tau_syn": 5.0}}
    network, x = built(layers, 2.0), 4.0 * frames(80)
    rounded = disturbed(network, "state_precision", 3)
    set_backend(rounded, backend)
    with torch.no_grad():
        drive, lif = network.get_submodule("fc1")(x), neurons(network)
        state, k, total = lif.initial_state(drive[0]), lif.coefficients(), torch.zeros(5, 12, dtype=torch.float64)
        for x_t in drive:
            s, state = lif.step(x_t, state, k)
            state = type(state)(*(torch.floor(part * 8 + 0.5) / 8 for part in state))
            total += s
    assert torch.equal(answers(rounded, x)[1]["lif1"], total)
    assert not torch.equal(answers(network, x)[1]["lif1"], total)


def test_noise_of_weights_is_relative_and_leaves_biases_and_neurons():
    network = built({**BRF_LAYERS, "fc1": {"type": "linear", "out_features": 12, "bias": True}})
    noisy = dict(disturbed(network, "weight_noise", 0.2).named_parameters())
    for name, value in network.named_parameters():
        if name in ("fc1.weight", "brf1.feedback.weight", "out.weight"):
            ratio = noisy[name] / value - 1
            assert 0.1 < ratio.std() < 0.3
        else:
            assert torch.equal(noisy[name], value), name
    again = dict(disturbed(network, "weight_noise", 0.2).named_parameters())
    other = dict(disturbed(network, "weight_noise", 0.2, seed=1).named_parameters())
    assert torch.equal(again["out.weight"], noisy["out.weight"])
    assert not torch.equal(other["out.weight"], noisy["out.weight"])


@pytest.mark.parametrize(
    "settings",
    [
        {"tau_mem": 20.0},
        {"beta": 0.6},
        {"tau_mem": "2 steps"},
        {"tau_mem": 40.0, "decay": "euler"},
        {"tau_mem": 20.0, "learn": {"tau_mem": "layer"}},
        {"tau_mem": 20.0, "learn": {"tau_mem": "neuron"}},
    ],
    ids=str,
)
def test_each_neuron_has_a_time_constant_of_its_own(settings: dict[str, Any]):
    settings = {"type": "lif", **settings}
    network = built({**LIF_LAYERS, "lif1": settings}, 2.0)
    other = disturbed(network, "time_constant_mismatch", 0.2)
    (before,), (after,) = (neurons(n).constants() for n in (network, other))
    rng = torch.Generator().manual_seed(0)
    steps = before.steps * torch.exp(0.2 * torch.randn(12, generator=rng, dtype=torch.float64))
    assert after.min_max == pytest.approx((10 * steps.min().item(), 10 * steps.max().item()))
    x = 4.0 * frames(60)
    counts = answers(other, x)[1]["lif1"]
    for neuron in (0, 7):
        plain = {key: value for key, value in settings.items() if key in ("type", "decay")}
        own = built({**LIF_LAYERS, "lif1": {**plain, "tau_mem": f"{steps[neuron].item()!r} steps"}})
        own.load_state_dict({key: value for key, value in network.state_dict().items() if "lif1" not in key})
        assert torch.equal(answers(own, x)[1]["lif1"][:, neuron], counts[:, neuron])


def test_brf_neurons_differ_in_frequency_and_damping():
    network = built(BRF_LAYERS)
    before, after = (dict(n.named_parameters()) for n in (network, disturbed(network, "time_constant_mismatch", 0.1)))
    for name in ("brf1.neuron.omega", "brf1.neuron.damping"):
        assert 0.03 < (before[name] / after[name]).log().std() < 0.2


def test_noise_of_frames_has_the_standard_deviation_of_its_level():
    kind: Any = DISTURBANCES.get("input_noise", "")
    x = torch.ones(200, 50, 4)
    noise = kind(0.3).frames(x, torch.Generator().manual_seed(0)) - x
    assert noise.std().item() == pytest.approx(0.3, rel=0.02)
    assert noise.mean().item() == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("name", ["spikes_deleted", "time_constant_mismatch", "state_precision"])
def test_a_network_without_neurons_is_not_changed(name: str):
    network = built({"out": {"type": "linear", "out_features": 3}})
    kind: Any = DISTURBANCES.get(name, "")
    assert not kind(0.5).disturb(network, torch.zeros(1, 1, 4, dtype=torch.float64), torch.Generator())


@pytest.mark.parametrize("name", list(DISTURBANCES))
def test_the_network_of_a_disturbed_copy_stays_as_it_was(name: str):
    network, x = built(BRF_LAYERS, 60.0), 3.0 * frames()
    before, state = answers(network, x)[0], deepcopy(network.state_dict())
    if name != "input_noise":
        disturbed(network, name, 1.0)
    assert torch.equal(answers(network, x)[0], before)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
