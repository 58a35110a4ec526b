"""A network in whole numbers equals an interpreter of NumPy's integers, written from the rules of docs/quantize.md.

Axes: T steps, B samples, then C, H, W or features.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn import INTEGER_TARGETS, Network, build_network
from snnlab.nn.integer_targets import IntegerTarget, Loihi2
from snnlab.nn.neurons.base import plain_loops
from snnlab.nn.neurons.whole_membrane import WholeMembrane, watch_overflow
from snnlab.nn.quantization import (
    check_widths,
    clipped_share,
    fit_scales,
    groups_of,
    quantize_network,
    whole_name,
)
from snnlab.nn.record import record

from ..refusals import assert_raises

T, B = 25, 2
Ints = np.ndarray


# -- The interpreter ------------------------------------------------------------------------------------------------


def nearest(value: Any) -> Ints:
    return np.floor(np.asarray(value, np.float64) + 0.5).astype(np.int64)


def towards_zero(product: Ints, bits: int) -> Ints:
    return np.sign(product) * (np.abs(product) >> bits)


class Interpreter:
    """Runs layers in 64-bit integers."""

    def __init__(self, layers: dict[str, dict[str, Any]], network: Network, target: IntegerTarget) -> None:
        self.layers, self.target = layers, target
        self.values = {name: part.double().numpy() for name, part in network.state_dict().items()}
        self.states: dict[str, dict[str, Ints]] = {}
        self.overflows = 0

    def fit(self, value: Ints, overflow: str = "saturate") -> Ints:
        half = 2 ** (self.target.state_bits - 1)
        # Loihi's numbers have the largest in place of the smallest, -half.
        least = 1 - half if isinstance(self.target, Loihi2) else -half
        held = (value - least) % (2 * half) + least if overflow == "wrap" else np.clip(value, least, half - 1)
        self.overflows += int((held != value).sum())
        return held

    def tensor(self, name: str) -> np.ndarray | None:
        return self.values.get(whole_name(name, self.values))

    def neuron_after(self, layer: str) -> str:
        names = list(self.layers)
        kinds = ("lif", "cuba_lif", "iaf", "li", "cuba_li", "integrator")
        return next(name for name in names[names.index(layer) :] if self.layers[name]["type"] in kinds)

    def factors(self, name: str) -> tuple[float, float, float]:
        """Return a, b and the gain of neurons."""
        node: dict[str, Any] = {"tau_mem": 20.0, "tau_syn": 10.0} | self.layers[name]
        kind = node["type"]
        a = 1.0 if kind in ("iaf", "integrator") else np.exp(-1.0 / node["tau_mem"])
        b = np.exp(-1.0 / node["tau_syn"])
        gain = node.get("input_gain", "average" if kind in ("li", "cuba_lif", "cuba_li") else 1.0)
        if gain == "average":
            mean = (1 - b) * node["tau_syn"] * (1 - a) if kind.startswith("cuba") else (1 - a) * node["tau_mem"]
            return a, b, mean
        return a, b, (1 - a) if gain == "1-a" else float(gain)

    def scale(self, neuron: str) -> np.ndarray:
        key = f"{neuron}.log_scale"
        return np.exp(self.values[key if key in self.values else f"{neuron}.neuron.log_scale"])

    def weights(self, layer: str, key: str, neuron: str, factor: float, most: int, shift: int) -> Ints | None:
        real = self.tensor(key)
        if real is None:
            return None
        per_output = self.factors(neuron)[2] * factor / self.scale(neuron) * 2.0**shift
        per_output = np.broadcast_to(per_output, len(real)).reshape(-1, *[1] * (real.ndim - 1))
        return np.clip(nearest(real * per_output), -most - (key.endswith("bias")), most)

    def run(self, x: Ints) -> np.ndarray:
        """Return the outputs of all steps, real numbers for a readout; x: `[T, C, ...]`."""
        return np.stack([self.step(frame) for frame in x])

    def step(self, x: Ints) -> np.ndarray:
        factor, shift = 1.0, self.target.weight_shift
        result: np.ndarray = x
        for name, node in self.layers.items():
            kind = node["type"]
            if kind in ("conv2d", "linear"):
                neuron = self.neuron_after(name)
                pools = [self.layers[other] for other in list(self.layers)[list(self.layers).index(name) :]]
                after = pools[: [*self.layers].index(neuron) - [*self.layers].index(name)]
                whole = factor / np.prod([n["kernel_size"] ** 2 for n in after if n["type"] == "avg_pool"])
                w = self.weights(name, f"{name}.weight", neuron, whole, self.target.most_weight(name), 0)
                bias = self.weights(name, f"{name}.bias", neuron, whole, self.target.most_bias, shift)
                assert w is not None
                x = convolve(x, w << shift, node.get("stride", 1)) if kind == "conv2d" else (w << shift) @ x
                x = x if bias is None else x + bias.reshape(-1, *[1] * (x.ndim - 1))
                factor = 1.0
            elif kind == "avg_pool":
                x = windows(x, node["kernel_size"]).sum((-1, -2))
                factor /= node["kernel_size"] ** 2
            elif kind == "max_pool":
                x = windows(x, node["kernel_size"]).max((-1, -2))
            elif kind == "flatten":
                x = x.reshape(-1)
            else:
                x, result = self.neurons(name, node, x)
                factor = 1.0 if node["type"] not in ("li", "cuba_li", "integrator") else factor
        return result

    def neurons(self, name: str, node: dict[str, Any], x: Ints) -> tuple[Ints, np.ndarray]:
        target, kind = self.target, node["type"]
        a, b, _ = self.factors(name)
        unit = self.scale(name) / 2.0**target.weight_shift
        unit = unit.reshape(()) if unit.size == 1 else unit.reshape(-1, *[1] * (x.ndim - 1))
        rest = np.broadcast_to(nearest(node.get("v_leak", 0.0) / unit), x.shape)
        state = self.states.setdefault(name, {"v": rest, "i": np.zeros_like(x), "s": np.zeros_like(x)})
        if node.get("recurrent"):
            w = self.weights(name, f"{name}.feedback.weight", name, 1.0, target.most_weight(f"{name}.feedback"), 0)
            assert w is not None
            s = state["s"]
            x = x + (
                (w << target.weight_shift) @ s if x.ndim == 1 else convolve(np.pad(s, PAD), w << target.weight_shift)
            )
        bits = target.decay_bits
        if kind.startswith("cuba"):
            x = self.fit(x, target.current_overflow)
            kept = towards_zero(state["i"] * nearest(b * 2**bits), bits)
            x = state["i"] = self.fit(kept + x, target.current_overflow)
        else:
            x = self.fit(x)
        kept = state["v"] if a == 1.0 else towards_zero(state["v"] * nearest(a * 2**bits), bits)
        leak = nearest((1 - a) * node.get("v_leak", 0.0) / unit)
        u = self.fit(kept + x + leak)
        if kind in ("li", "cuba_li", "integrator"):
            state["v"] = u
            return u, u.astype(np.float32) * unit.astype(np.float32)
        threshold = nearest(node.get("v_threshold", 1.0) / unit)
        if node.get("spikes") == "several":
            s = np.where(u > 0, u, 0) // threshold
        else:
            s = (u > threshold if node.get("threshold") == "strict" else u >= threshold).astype(np.int64)
        lost = nearest(node.get("v_threshold", 1.0) * reset_part(node, a) / unit)
        v = u - s * lost if node.get("reset", "subtract") == "subtract" else (1 - s) * u
        if "floor" in node:
            v = np.maximum(v, nearest(node["floor"] / unit))
        state["v"], state["s"] = v, s
        return s, s


PAD = ((0, 0), (1, 1), (1, 1))


def reset_part(node: dict[str, Any], a: float) -> float:
    """Return the part of the threshold that a reset subtracts; with an average gain it is averaged too."""
    average = node.get("input_gain", "average" if node["type"] == "cuba_lif" else 1.0) == "average"
    return (1 - a) * node.get("tau_mem", 20.0) if average else 1.0


def windows(x: Ints, size: int) -> Ints:
    found = np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))
    return found[:, ::size, ::size]


def convolve(x: Ints, w: Ints, stride: int = 1) -> Ints:
    found = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (1, 2))[:, ::stride, ::stride]
    return np.einsum("chwkl,ockl->ohw", found, w)


# -- Networks at random ---------------------------------------------------------------------------------------------

SHAPE = (2, 9, 9)


def draw(seed: int) -> tuple[dict[str, dict[str, Any]], IntegerTarget]:
    """Return layers and a target at random, some of whose states are too narrow for the sums."""
    rng = np.random.default_rng(seed)

    def one_of(*options: Any) -> Any:
        return options[rng.integers(len(options))]

    def neuron() -> dict[str, Any]:
        kind = one_of("lif", "cuba_lif", "iaf")
        node = {"type": kind, "reset": one_of("subtract", "value"), "threshold": one_of("inclusive", "strict")}
        if kind == "cuba_lif" and node["reset"] == "subtract" and rng.random() < 0.5:
            node["input_gain"] = 0.7
        if kind != "iaf":
            node |= {"tau_mem": float(rng.uniform(2, 40)), "v_leak": one_of(0.0, 0.1, -0.2)}
        if node["reset"] == "subtract" and node["threshold"] == "inclusive" and rng.random() < 0.4:
            node |= {"spikes": "several"}
        return node | one_of({}, {"v_threshold": float(rng.uniform(0.3, 1.5))}, {"recurrent": True}, {"floor": -1.0})

    bias = {"bias": bool(rng.integers(2))}
    layers = {
        "c1": {"type": "conv2d", "out_channels": 4, "kernel_size": 3, "stride": one_of(1, 2), **bias},
        **one_of({}, {"between": {"type": one_of("max_pool", "avg_pool"), "kernel_size": 2}}),
        "n1": neuron(),
        **one_of({}, {"pool": {"type": one_of("max_pool", "avg_pool"), "kernel_size": 2}}),
        "flatten": {"type": "flatten"},
        "l2": {"type": "linear", "out_features": 6, **bias},
        "n2": neuron(),
        "l3": {"type": "linear", "out_features": 3, "bias": False},
        "out": one_of({"type": "li"}, {"type": "cuba_li", "tau_mem": 5.0}, {"type": "integrator"}, {"type": "lif"}),
    }
    shift = int(rng.integers(0, 7))
    settings = {
        "weight_bits": int(rng.integers(2, 9)),
        "weight_shift": shift,
        "state_bits": int(one_of(shift + 5, shift + 6, 24)),
        "decay_bits": int(one_of(4, 8, 12)),
        "scales": one_of("channel", "layer"),
        "current_overflow": one_of("saturate", "wrap"),
        "layer_bits": one_of({}, {"l2": 3}),
    }
    return layers, INTEGER_TARGETS.build(one_of("int8", "loihi2"), settings, "quantize")


def whole_network(layers: dict[str, dict[str, Any]], target: IntegerTarget, seed: int) -> Network:
    torch.manual_seed(seed)
    network = build_network(layers, in_shape=SHAPE, dt=1.0, num_steps=T).network.eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2.5)
    quantize_network(network, target)
    return network


def frames(seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.poisson(0.4, (T, B, *SHAPE)).astype(np.float32))


def test_networks_at_random_equal_an_interpreter_in_integers_also_where_numbers_overflow() -> None:
    overflowed, spikes = 0, 0
    for seed in range(24):
        layers, target = draw(seed)
        network, x = whole_network(layers, target, seed), frames(seed)
        with torch.no_grad(), plain_loops():
            found, _ = network(x)
        for sample in range(B):
            interpreter = Interpreter(layers, network, target)
            expected = interpreter.run(x[:, sample].numpy().astype(np.int64))
            assert np.array_equal(found[:, sample].numpy(), expected.astype(np.float32)), (seed, layers, vars(target))
            overflowed += interpreter.overflows > 0
            spikes += interpreter.states["n2"]["s"].any()
    assert overflowed > 10
    assert spikes > 10


def test_numbers_of_speck_are_those_of_sinabs_discretize() -> None:
    """The rule of sinabs.backend.dynapcnn.discretize, written out: one factor of a layer, halves to even."""
    rng = np.random.default_rng(5)
    for trial in range(6):
        weight = rng.normal(0.1 * (trial - 2), 0.3, (4, 2, 3, 3)).astype(np.float32)
        bias = rng.normal(0, 0.1 * 4 ** (trial % 3), 4).astype(np.float32)
        levels = np.array([-rng.uniform(0.5, 400), rng.uniform(0.5, 200)], np.float32)
        factors = []
        for values, bits in ((weight, 8), (bias, 8), (levels, 16)):
            low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
            fits_high = abs(values.min()) <= abs(values.max()) * abs(low / high)
            factors.append(abs(high / values.max()) if fits_high else abs(low / values.min()))
        factor = min(factors)
        layers = {
            "c": {"type": "conv2d", "out_channels": 4, "kernel_size": 3},
            "n": {"type": "iaf", "spikes": "several", "floor": float(levels[0]), "v_threshold": float(levels[1])},
        }
        network = build_network(layers, in_shape=(2, 5, 5), dt=1.0).network
        with torch.no_grad():
            network.get_parameter("c.weight").copy_(torch.from_numpy(weight))
            network.get_parameter("c.bias").copy_(torch.from_numpy(bias))
        (group,) = quantize_network(network, INTEGER_TARGETS.build("speck", {}, "quantize"))
        check_widths([group])
        conv: Any = network.get_submodule("c")
        assert np.array_equal(conv.weight.detach().numpy(), np.round(weight * factor))
        assert np.array_equal(conv.bias.detach().numpy(), np.round(bias * factor))
        k: Any = group.neuron.coefficients()
        assert [float(k.floor), float(k.v_threshold)] == np.round(levels * factor).tolist()


def test_a_watched_overflow_names_the_sample() -> None:
    layers = {"l": {"type": "linear", "out_features": 2, "bias": False}, "n": {"type": "integrator"}}
    network = build_network(layers, in_shape=(3,), dt=1.0).network.eval()
    quantize_network(network, INTEGER_TARGETS.build("int8", {"state_bits": 15}, "quantize"))
    x = torch.zeros(10, 3, 3)
    x[:, 1] = 40.0
    seen: list[tuple[str, list[bool]]] = []

    def watch(neuron: WholeMembrane, over: Tensor) -> None:
        seen.append((type(neuron).__name__, over.flatten(1).any(1).tolist()))

    with torch.no_grad(), plain_loops(), watch_overflow(watch):
        network(x)
    assert {name for name, _ in seen} == {"WholeIntegrator"}
    assert [any(over[sample] for _, over in seen) for sample in range(3)] == [False, True, False]


def conv_network() -> Network:
    torch.manual_seed(0)
    layers = {
        "c1": {"type": "conv2d", "out_channels": 6, "kernel_size": 3, "bias": False},
        "n1": {"type": "lif", "learn": ["tau_mem"]},
        "flatten": {"type": "flatten"},
        "out": {"type": "linear", "out_features": 4, "bias": False},
        "readout": {"type": "li"},
    }
    network = build_network(layers, in_shape=SHAPE, dt=1.0).network
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.mul_(1.0 if "learned" in name else 3.0)
    return network


def test_wide_integers_have_nearly_the_outputs_and_the_gradients_of_the_real_network() -> None:
    real = conv_network()
    for learn in (False, True):
        network, x = copy.deepcopy(real), frames(0)
        settings = {"weight_bits": 12, "weight_shift": 2, "learn_scales": learn}
        quantize_network(network, INTEGER_TARGETS.build("int8", settings, "quantize"))
        outputs = [each(x)[0] for each in (real, network)]
        names = {name: whole_name(name, dict(network.named_parameters())) for name, _ in real.named_parameters()}
        target = torch.randn(outputs[0].shape, generator=torch.Generator().manual_seed(1))
        for each, y in zip((real, network), outputs, strict=True):
            each.zero_grad()
            (y * target).sum().backward()
        whole = dict(network.named_parameters())
        assert (outputs[0] - outputs[1]).abs().max() < 0.05 * outputs[0].abs().max()
        for name, parameter in real.named_parameters():
            found, expected = whole[names[name]].grad, parameter.grad
            assert found is not None
            assert expected is not None
            assert torch.nn.functional.cosine_similarity(found.flatten(), expected.flatten(), 0) > 0.95
            assert 0.8 < float(found.norm() / expected.norm()) < 1.25
        scales = [parameter.grad for name, parameter in whole.items() if name.endswith("log_scale")]
        assert len(scales) == 2 * learn
        assert all(gradient is not None and gradient.abs().max() > 0 for gradient in scales)


def test_scales_follow_the_inputs_that_are_active() -> None:
    """One large weight of an input that is always silent is clipped, so that the others are finer."""
    layers = {"l": {"type": "linear", "out_features": 1, "bias": False}, "n": {"type": "integrator"}}
    network = build_network(layers, in_shape=(40,), dt=1.0).network
    with torch.no_grad():
        network.get_parameter("l.weight").copy_(torch.linspace(0.1, 1.0, 40))
        network.get_parameter("l.weight")[0, 0] = 2.0
    (group,) = quantize_network(network, INTEGER_TARGETS.build("int4", {}, "quantize"))
    activity = torch.ones(40)
    activity[0] = 0.0
    fit_scales([group])
    neuron = group.neuron
    assert isinstance(neuron, WholeMembrane)
    before = float(neuron.scale())
    fit_scales([group], {"l": activity})
    assert float(neuron.scale()) < before
    assert clipped_share(group.inputs[0]) > 0


REFUSED: dict[str, tuple[dict[str, dict[str, Any]], dict[str, Any], str, tuple[str, ...]]] = {
    "a leak on Speck": ({"n": {"type": "lif"}}, {"type": "speck"}, "n", ("IAF",)),
    "no floor on Speck": ({"n": {"type": "iaf"}}, {"type": "speck"}, "n.floor", ("floor: -1",)),
    "neurons without a rule": ({"n": {"type": "alif"}}, {}, "n", ("ALIF", "LIF")),
    "weights at the end": ({}, {}, "l", ("integrator",)),
    "a norm": ({"norm": {"type": "batch_norm"}, "n": {"type": "lif"}}, {}, "norm", ("fold",)),
    "two layers of weights": (
        {"l2": {"type": "linear", "out_features": 2}, "n": {"type": "lif"}},
        {},
        "l2",
        ("l", "neurons"),
    ),
    "a readout in the middle": (
        {"r": {"type": "li"}, "l2": {"type": "linear", "out_features": 2}, "n": {"type": "lif"}},
        {},
        "r",
        ("l2",),
    ),
    "a threshold that is too large": (
        {"n": {"type": "lif", "v_threshold": 900.0}},
        {"state_bits": 16},
        "n.v_threshold",
        ("quantize.state_bits", "16", "32,767"),
    ),
    "a decay that is too slow": (
        {"n": {"type": "lif", "tau_mem": 9e4}},
        {},
        "n.tau_mem",
        ("quantize.decay_bits", "4096"),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_rule_or_does_not_fit_is_refused_by_name(name: str) -> None:
    after, settings, place, words = REFUSED[name]
    layers = {"l": {"type": "linear", "out_features": 3, "bias": False}, **after}
    network = build_network(layers, in_shape=(5,), dt=1.0).network
    kind = settings.get("type", "int8")
    target = INTEGER_TARGETS.build(kind, {key: settings[key] for key in settings.keys() - {"type"}}, "quantize")
    with assert_raises(ConfigError, f"model.layers.{place}", *words):
        check_widths(quantize_network(network, target))


def test_a_name_of_no_layer_is_refused_and_states_are_recorded_as_whole_numbers() -> None:
    network = conv_network()
    with assert_raises(ConfigError, "quantize.layer_bits.c2", "c1", "out"):
        quantize_network(network, INTEGER_TARGETS.build("int8", {"layer_bits": {"c2": 4}}, "quantize"))
    quantize_network(network, INTEGER_TARGETS.build("int8", {"layer_bits": {"c1": 4}}, "quantize"))
    v = record(network.eval(), frames(0)).states["n1"]["v"]
    assert torch.equal(v, v.round())
    assert v.abs().max() > 100
    assert [group.name for group in groups_of(network)] == ["n1", "readout"]
