"""A network in whole numbers equals an interpreter of NumPy's integers, written from the rules of docs/quantize.md.

Axes: T steps, B samples, then C, H, W or features.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn import INTEGER_TARGETS, Network, build_network
from snnlab.nn.integer_targets import IntegerTarget, Loihi2
from snnlab.nn.neurons.base import plain_loops
from snnlab.nn.neurons.brf import BRFState
from snnlab.nn.neurons.whole_neuron import WholeNeuron, watch_overflow
from snnlab.nn.quantization import (
    check_widths,
    clipped_share,
    end_with_readout,
    fit_scales,
    groups_of,
    quantize_network,
    whole_name,
)
from snnlab.nn.record import record

from ..marks import mostly_long
from ..refusals import assert_raises

T, B = 25, 2
Ints = np.ndarray


# -- The interpreter ------------------------------------------------------------------------------------------------


def nearest(value: Any) -> Ints:
    return np.floor(np.asarray(value, np.float64) + 0.5).astype(np.int64)


def towards_zero(product: Ints, bits: int) -> Ints:
    return np.sign(product) * (np.abs(product) >> bits)


class Interpreter:
    """Runs layers in 64-bit integers; its input is so many times as large as that of the real network."""

    def __init__(
        self, layers: dict[str, dict[str, Any]], network: Network, target: IntegerTarget, parts: int = 1
    ) -> None:
        self.layers, self.target, self.parts = layers, target, parts
        self.input_bits = int(np.ceil(np.log2(parts)))
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
        kinds = ("lif", "cuba_lif", "iaf", "alif", "brf", "li", "cuba_li", "integrator")
        return next(name for name in names[names.index(layer) :] if self.layers[name]["type"] in kinds)

    def factors(self, name: str) -> tuple[float, float, float]:
        """Return a, b and the gain of neurons."""
        node: dict[str, Any] = {"tau_mem": 20.0, "tau_syn": 10.0} | self.layers[name]
        kind = node["type"]
        if kind == "brf":
            return 0.0, 0.0, node["equation_dt"] / 1000 * node["input_gain"]
        a = 1.0 if kind in ("iaf", "integrator") else node.get("beta", np.exp(-1.0 / node["tau_mem"]))
        b = np.exp(-1.0 / node["tau_syn"])
        gain = node.get("input_gain", "average" if kind in ("li", "cuba_lif", "cuba_li") else 1.0)
        if gain == "average":
            mean = (1 - b) * node["tau_syn"] * (1 - a) if kind.startswith("cuba") else (1 - a) * node["tau_mem"]
            return a, b, mean
        return a, b, (1 - a) if gain == "1-a" else float(gain)

    def scale(self, neuron: str) -> np.ndarray:
        key = f"{neuron}.log_scale"
        return np.exp(self.values[key if key in self.values else f"{neuron}.neuron.log_scale"])

    def shift(self, neuron: str) -> int:
        """Return the shift of the weights before neurons that are not those of the input."""
        is_first = neuron == self.neuron_after(next(iter(self.layers)))
        return max(self.target.weight_shift, self.input_bits if is_first else 0)

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
        factor = 1.0
        result: np.ndarray = x
        for name, node in self.layers.items():
            kind = node["type"]
            if kind in ("conv2d", "linear"):
                neuron = self.neuron_after(name)
                pools = [self.layers[other] for other in list(self.layers)[list(self.layers).index(name) :]]
                after = pools[: [*self.layers].index(neuron) - [*self.layers].index(name)]
                cells = np.prod([n["kernel_size"] ** 2 for n in after if n["type"] == "avg_pool"])
                whole, shift = factor / cells, self.shift(neuron)
                up = shift
                if name == next(iter(self.layers)):
                    whole, up = whole * 2**self.input_bits / self.parts, shift - self.input_bits
                w = self.weights(name, f"{name}.weight", neuron, whole, self.target.most_weight(name), 0)
                bias = self.weights(name, f"{name}.bias", neuron, 1.0 / cells, self.target.most_bias, shift)
                assert w is not None
                x = convolve(x, w << up, node.get("stride", 1)) if kind == "conv2d" else (w << up) @ x
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
        shift = self.shift(name)
        unit = self.scale(name) / 2.0**shift
        unit = unit.reshape(()) if unit.size == 1 else unit.reshape(-1, *[1] * (x.ndim - 1))
        rest = np.broadcast_to(nearest(node.get("v_leak", 0.0) / unit), x.shape)
        state = self.states.setdefault(name, {"v": rest} | {key: np.zeros_like(x) for key in "isw"})
        if node.get("recurrent"):
            w = self.weights(name, f"{name}.feedback.weight", name, 1.0, target.most_weight(f"{name}.feedback"), 0)
            assert w is not None
            s = state["s"]
            x = x + ((w << shift) @ s if x.ndim == 1 else convolve(np.pad(s, PAD), w << shift))
        if kind == "brf":
            s = state["s"] = self.oscillators(name, node, self.fit(x), unit)
            return s, s
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
        threshold = nearest(node.get("v_threshold", 1.0) / unit) + state["w"]
        if node.get("spikes") == "several":
            s = np.where(u > 0, u, 0) // threshold
        else:
            s = (u > threshold if node.get("threshold") == "strict" else u >= threshold).astype(np.int64)
        lost = nearest(node.get("v_threshold", 1.0) * reset_part(node, a) / unit)
        if node.get("adapted_reset"):
            lost = threshold
        if kind == "alif":
            rho = np.exp(-1.0 / node["tau_adapt"])
            rise = node["adaptation"] * ((1 - rho) if "adaptation_gain" in node else 1.0)
            adapts = np.arange(len(x)) >= len(x) - node.get("adaptive", len(x))
            jump = np.where(adapts.reshape(-1, *[1] * (x.ndim - 1)), nearest(rise / unit), 0)
            state["w"] = self.fit(towards_zero(state["w"] * nearest(rho * 2**bits), bits) + jump * s)
        v = u - s * lost if node.get("reset", "subtract") == "subtract" else (1 - s) * u
        if "floor" in node:
            v = np.maximum(v, nearest(node["floor"] / unit))
        state["v"], state["s"] = v, s
        return s, s

    def oscillators(self, name: str, node: dict[str, Any], x: Ints, unit: np.ndarray) -> Ints:
        bits, dt = self.target.decay_bits, node["equation_dt"] / 1000
        own = f"{name}.neuron" if node.get("recurrent") else name
        omega, damping = (np.abs(self.values[f"{own}.{key}"]) for key in ("omega", "damping"))
        turn = nearest(2**bits * dt * omega)
        most = np.floor(2**bits * (np.sqrt(1 - (turn / 2**bits) ** 2) - dt * damping)).astype(np.int64)
        state = self.states[name]
        v, w, q = state["v"], state["w"], state.get("q", np.zeros_like(x))
        kept = np.maximum(most - (nearest(dt * 2**bits) * q >> 8), 0)
        state["v"] = self.fit(x + towards_zero(kept * v, bits) - towards_zero(turn * w, bits))
        state["w"] = self.fit(towards_zero(kept * w, bits) + towards_zero(turn * v, bits))
        threshold = nearest(node.get("v_threshold", 1.0) / unit) + (nearest(1.0 / unit) * q >> 8)
        s = (state["v"] > threshold).astype(np.int64)
        state["q"] = np.minimum((nearest(node.get("gamma", 0.9) * 2**bits) * q >> bits) + 256 * s, 4095)
        return s


PAD = ((0, 0), (1, 1), (1, 1))
READOUT_NODE = {"type": "li", "beta": 0.0, "input_gain": 1.0}  # y[t] = x[t]


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


def test_levels_as_input_and_a_network_without_a_readout_equal_the_interpreter() -> None:
    spikes = 0
    for seed in range(12):
        layers, target = draw(seed)
        del layers["out"]
        parts = (255, 256, 100, 2)[seed % 4]
        torch.manual_seed(seed)
        network = build_network(layers, in_shape=SHAPE, dt=1.0, num_steps=T).network.eval()
        end_with_readout(network, target)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(2.5)
        check = list(network.state_dict())
        end_with_readout(network, target)  # once is enough
        assert list(network.state_dict()) == check
        quantize_network(network, target, input_denominator=parts)
        rng = np.random.default_rng(seed)
        x = rng.integers(1, parts + 1, (T, B, *SHAPE)) * (rng.random((T, B, *SHAPE)) < 0.3)
        with torch.no_grad(), plain_loops():
            found, _ = network(torch.from_numpy(x.astype(np.float32)))
        for sample in range(B):
            interpreter = Interpreter({**layers, "whole_readout": READOUT_NODE}, network, target, parts)
            expected = interpreter.run(x[:, sample])
            assert np.array_equal(found[:, sample].numpy(), expected.astype(np.float32)), (seed, layers, vars(target))
            spikes += interpreter.states["n2"]["s"].any()
    assert spikes > 5


def test_a_readout_is_not_added_for_a_target_without_one_nor_in_place_of_a_layer() -> None:
    linear = {"type": "linear", "out_features": 2}
    network = build_network({"l": linear}, in_shape=(3,), dt=1.0).network
    with assert_raises(ConfigError, "model.layers.l", "IAF"):
        end_with_readout(network, INTEGER_TARGETS.build("speck", {}, "quantize"))
    assert [name for name, _ in network.layers()] == ["l"]
    network = build_network({"whole_readout": linear}, in_shape=(3,), dt=1.0).network
    with assert_raises(ConfigError, "model.layers.whole_readout"):
        end_with_readout(network, INTEGER_TARGETS.build("int8", {}, "quantize"))


def equal_interpreters(layers: dict[str, dict[str, Any]], target: IntegerTarget, seed: int) -> Iterator[Interpreter]:
    """Yield an interpreter for each sample, by the plain and the usual loops, whose outputs were the network's."""
    network, x = whole_network(layers, target, seed), frames(seed)
    for loops in (plain_loops(), nullcontext()):
        with torch.no_grad(), loops:
            found, _ = network(x)
        for sample in range(B):
            interpreter = Interpreter(layers, network, target)
            expected = interpreter.run(x[:, sample].numpy().astype(np.int64))
            assert np.array_equal(found[:, sample].numpy(), expected.astype(np.float32)), layers
            yield interpreter


ADAPTIVE: list[dict[str, Any]] = [
    {"adaptation": 0.3, "tau_adapt": 20.0},
    {"adaptation": 0.8, "tau_adapt": 100.0, "adaptive": 2, "threshold": "strict"},
    {"adaptation": 1.8, "tau_adapt": 30.0, "adaptation_gain": "1-rho", "adapted_reset": True, "recurrent": True},
    {"adaptation": 0.2, "tau_adapt": 15.0, "reset": "value", "v_leak": 0.05, "input_gain": "1-a", "v_threshold": 0.2},
    {"adaptation": 0.5, "tau_adapt": 60.0, "input_gain": "average", "v_threshold": 0.4},
]


@pytest.mark.parametrize("state_bits", mostly_long([24, 13], 1))
def test_adaptive_thresholds_equal_the_interpreter(state_bits: int) -> None:
    adapted, overflowed = 0, 0
    for seed, node in enumerate(ADAPTIVE):
        layers = {
            "c1": {"type": "conv2d", "out_channels": 4, "kernel_size": 3},
            "n1": {"type": "alif", "tau_mem": 8.0, **node},
            "flatten": {"type": "flatten"},
            "l2": {"type": "linear", "out_features": 6},
            "n2": {"type": "alif", "tau_mem": 12.0, "adaptation": 0.1, "tau_adapt": 40.0},
            "l3": {"type": "linear", "out_features": 3, "bias": False},
            "out": {"type": "li"},
        }
        settings = {"state_bits": state_bits, "weight_shift": 4, "scales": ("channel", "layer")[seed % 2]}
        target = INTEGER_TARGETS.build("int8", settings, "quantize")
        for interpreter in equal_interpreters(layers, target, seed):
            adapted += interpreter.states["n1"]["w"].any()
            overflowed += interpreter.overflows > 0
    assert adapted >= (2 * B * len(ADAPTIVE) if state_bits == 24 else 1)
    assert (overflowed > 0) == (state_bits == 13)


OSCILLATORS: list[dict[str, Any]] = [
    {"omega": [2.0, 6.0], "damping": [0.0, 1.0]},
    {"omega": [5.0, 30.0], "damping": [0.0, 20.0], "v_threshold": 0.5, "recurrent": True},
    {"omega": [2.0, 38.0], "gamma": 0.97, "v_threshold": 0.2},
]


@pytest.mark.parametrize("state_bits", mostly_long([24, 14], 1))
def test_oscillators_equal_the_interpreter(state_bits: int) -> None:
    spikes, overflowed, highest = 0, 0, 0
    for seed, node in enumerate(OSCILLATORS):
        oscillator = {"type": "brf", "equation_dt": 10.0, "input_gain": 60.0}
        layers = {
            "c1": {"type": "conv2d", "out_channels": 4, "kernel_size": 3},
            "n1": {**oscillator, **node},
            "flatten": {"type": "flatten"},
            "l2": {"type": "linear", "out_features": 6},
            "n2": {**oscillator, "omega": [1.0, 2.0]},
            "l3": {"type": "linear", "out_features": 3, "bias": False},
            "out": {"type": "li"},
        }
        decay_bits = (12, 8, 10)[seed]
        settings = {"state_bits": state_bits, "weight_shift": 4, "decay_bits": decay_bits}
        target = INTEGER_TARGETS.build("int8", settings, "quantize")
        for interpreter in equal_interpreters(layers, target, seed):
            spikes += interpreter.states["n1"]["s"].sum()
            overflowed += interpreter.overflows > 0
            highest = max(highest, interpreter.states["n1"]["q"].max())
    assert spikes > 0
    assert (overflowed > 0) == (state_bits == 14)
    assert highest > 256  # a second spike while the first one is not forgotten


@pytest.mark.parametrize("decay_bits", [12, 6])
def test_an_oscillator_without_damping_grows_by_less_than_two_units_a_step(decay_bits: int) -> None:
    layers: dict[str, dict[str, Any]] = {
        "l": {"type": "linear", "out_features": 50, "bias": False},
        "n": {"type": "brf", "equation_dt": 10.0, "omega": [1.0, 98.0], "damping": [0.0, 0.0], "v_threshold": 1e4},
    }
    torch.manual_seed(0)
    network = build_network(layers, in_shape=(3,), dt=1.0).network
    quantize_network(network, INTEGER_TARGETS.build("int8", {"decay_bits": decay_bits, "weight_shift": 0}, "quantize"))
    state, sizes = None, []
    with torch.no_grad():
        for step in range(300):
            _, state = network(torch.full((1, 1, 3), 1000.0 * (step == 0)), state)
            (neuron,) = (part for part in state.values() if isinstance(part, BRFState))
            sizes.append(torch.hypot(neuron.v.double(), neuron.w.double()))
    assert sizes[0].count_nonzero() > 40
    assert all((after < before + 2.0).all() for before, after in pairwise(sizes))


def test_a_threshold_that_spikes_raise_beyond_the_states_is_refused() -> None:
    layers = {
        "l": {"type": "linear", "out_features": 2, "bias": False},
        "n": {"type": "brf", "equation_dt": 10.0, "input_gain": 100.0, "gamma": 0.9},
    }
    network = build_network(layers, in_shape=(3,), dt=1.0).network
    with torch.no_grad():
        dict(network.named_parameters())["l.weight"].fill_(
            12.7
        )  # the unit is 1 / 640, the threshold 640, its most 11 times that
    groups = quantize_network(network, INTEGER_TARGETS.build("int8", {"state_bits": 13}, "quantize"))
    with assert_raises(ConfigError, "model.layers.n.gamma", "7,040", "4,095"):
        check_widths(groups)


def test_the_shift_that_is_named_lets_the_thresholds_of_all_layers_fit() -> None:
    layers: dict[str, dict[str, Any]] = {}
    for number, features in enumerate((20, 3), 1):
        layers[f"l{number}"] = {"type": "linear", "out_features": features, "bias": False}
        layers[f"n{number}"] = {"type": "brf", "equation_dt": 10.0}

    def check(**settings: int) -> None:
        torch.manual_seed(0)
        network = build_network(layers, in_shape=(500,), dt=1.0).network
        check_widths(quantize_network(network, INTEGER_TARGETS.build("int8", settings, "quantize")))

    with pytest.raises(ConfigError) as caught:
        check()
    assert caught.value.key == "model.layers.n1.v_threshold"
    (shift,) = re.findall(r"quantize\.weight_shift=(\d)", caught.value.hint)
    check(weight_shift=int(shift))
    with pytest.raises(ConfigError):
        check(weight_shift=int(shift) + 1)


def test_an_adaptation_of_no_unit_is_refused() -> None:
    layers = {
        "l": {"type": "linear", "out_features": 2, "bias": False},
        "n": {"type": "alif", "adaptation": 0.0001, "tau_adapt": 20.0},
    }
    network = build_network(layers, in_shape=(3,), dt=1.0).network
    groups = quantize_network(network, INTEGER_TARGETS.build("int8", {"weight_shift": 0}, "quantize"))
    with assert_raises(ConfigError, "model.layers.n.adaptation", "quantize.weight_shift=4"):
        check_widths(groups)


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

    def watch(neuron: WholeNeuron, over: Tensor) -> None:
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


DELAYED: dict[str, dict[str, Any]] = {
    "flatten": {"type": "flatten"},
    "back": {"type": "delay", "delay": "2 steps"},
    "l1": {"type": "linear", "out_features": 6, "delay": {"max": "6 steps", "count": 3, "initial": "even"}},
    "n1": {"type": "lif", "tau_mem": 7.0, "reset": "subtract", "threshold": "inclusive"},
    "l2": {"type": "linear", "out_features": 3, "bias": False, "delay": {"max": "4 steps"}, "every": 2},
    "r": {"type": "integrator"},
}


def test_delays_move_whole_numbers_unchanged() -> None:
    target = INTEGER_TARGETS.build("int8", {"weight_bits": 5, "weight_shift": 3}, "quantize")
    network, x = whole_network(DELAYED, target, 3), frames(3)
    values: dict[str, Any] = {name: part.double().numpy() for name, part in network.state_dict().items()}
    with torch.no_grad(), plain_loops():
        found = network(x)[0][:, 0].numpy()
    scales = {neuron: np.exp(values[f"{neuron}.log_scale"]) for neuron in ("n1", "r")}
    w1, b1 = (
        nearest(values[whole_name(f"l1.{part}", values)] / scales["n1"].reshape(-1, *[1] * more) * 2.0**shift)
        for part, more, shift in (("weight", 2, 0), ("bias", 0, 3))
    )
    w2 = nearest(values[whole_name("l2.weight", values)] / scales["r"])
    assert max(abs(w1).max(), abs(w2).max()) == 15
    last: Any = network.get_submodule("l2")
    delays = last.delays.steps().numpy()
    decay, threshold = nearest(np.exp(-1 / 7.0) * 4096), nearest(8.0 / scales["n1"])
    inputs, spikes, v, total = x[:, 0].flatten(1).numpy().astype(np.int64), [], np.zeros(6, np.int64), np.zeros(3)
    for t in range(T):
        past = [inputs[t - 2 - m] if t - 2 - m >= 0 else 0 * inputs[0] for m in range(7)]
        v = towards_zero(decay * v, 12) + b1 + 8 * sum(w1[:, :, k] @ past[3 * k] for k in range(3))
        spikes.append((v >= threshold).astype(np.int64))
        v = v - threshold * spikes[-1]
        if t % 2 == 1:
            sent = [[spikes[t - d][i] if t >= d else 0 for i, d in enumerate(row)] for row in delays[..., 0]]
            total = total + 8 * (w2[..., 0] * np.array(sent)).sum(1)
        assert np.array_equal(nearest(found[t] / (scales["r"] / 8)), total), t
    assert 10 < np.sum(spikes) < 6 * T


@pytest.mark.parametrize("pool_first", [True, False])
def test_a_mean_before_weights_divides_no_bias_and_one_after_them_does(pool_first: bool) -> None:
    conv = {"conv": {"type": "conv2d", "out_channels": 4, "kernel_size": 3}}
    pool = {"pool": {"type": "avg_pool", "kernel_size": 2}}
    layers = {**(pool | conv if pool_first else conv | pool), "readout": {"type": "integrator"}}
    real = build_network(layers, in_shape=SHAPE, dt=1.0).network.eval()
    with torch.no_grad():
        real.get_parameter("conv.weight").mul_(0.1)
    whole = copy.deepcopy(real)
    quantize_network(whole, INTEGER_TARGETS.build("int8", {"weight_shift": 2}, "quantize"))
    with torch.no_grad():
        one, other = (each(frames(0)[:3])[0] for each in (real, whole))
    assert (one - other).abs().max() < 0.03 * one.abs().max()


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
    assert isinstance(neuron, WholeNeuron)
    before = float(neuron.scale())
    fit_scales([group], {"l": activity})
    assert float(neuron.scale()) < before
    assert clipped_share(group.inputs[0]) > 0


REFUSED: dict[str, tuple[dict[str, dict[str, Any]], dict[str, Any], str, tuple[str, ...]]] = {
    "a leak on Speck": ({"n": {"type": "lif"}}, {"type": "speck"}, "n", ("IAF",)),
    "no floor on Speck": ({"n": {"type": "iaf"}}, {"type": "speck"}, "n.floor", ("floor: -1",)),
    "neurons without a rule": ({"n": {"type": "adlif"}}, {}, "n", ("AdLIF", "LIF")),
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
    "delays that are learned": (
        {
            "n": {"type": "lif"},
            "l2": {"type": "linear", "out_features": 2, "delay": {"max": "4 steps", "learn": True}},
            "r": {"type": "li"},
        },
        {},
        "l2",
        ("delay.learn: false",),
    ),
    "a membrane as output": ({"n": {"type": "lif", "output": "v"}}, {}, "n", ("output: v", "output: null")),
    "a late reset of an adaptive threshold": ({"n": {"type": "alif", "reset_delay": True}}, {}, "n.reset_delay", ()),
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


def test_sums_and_states_that_single_precision_may_not_hold_are_refused() -> None:
    layers = {"l": {"type": "linear", "out_features": 1, "bias": False}, "n": {"type": "lif"}}
    for inputs in (8000, 8400):  # times 2,047, below and above 2^24
        network = build_network(layers, in_shape=(inputs,), dt=1.0).network
        with torch.no_grad():
            network.get_parameter("l.weight").fill_(1.0)
        groups = quantize_network(network, INTEGER_TARGETS.build("int8", {"weight_bits": 12}, "quantize"))
        if inputs == 8000:
            check_widths(groups)
            continue
        with assert_raises(ConfigError, "model.layers.l", "17,194,800", "16,777,216", "quantize.weight_bits"):
            check_widths(groups)
    with assert_raises(ConfigError, "quantize.state_bits", 24, 25):
        INTEGER_TARGETS.build("int8", {"state_bits": 25}, "quantize")


def test_a_name_of_no_layer_is_refused_and_states_are_recorded_as_whole_numbers() -> None:
    network = conv_network()
    with assert_raises(ConfigError, "quantize.layer_bits.c2", "c1", "out"):
        quantize_network(network, INTEGER_TARGETS.build("int8", {"layer_bits": {"c2": 4}}, "quantize"))
    quantize_network(network, INTEGER_TARGETS.build("int8", {"layer_bits": {"c1": 4}}, "quantize"))
    v = record(network.eval(), frames(0)).states["n1"]["v"]
    assert torch.equal(v, v.round())
    assert v.abs().max() > 100
    assert [group.name for group in groups_of(network)] == ["n1", "readout"]
