from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError, UnknownSettingError
from snnlab.nn import LIF, Network, Parallel, Residual, build_network

from ..refusals import assert_raises

T, B = 6, 3
FC: dict[str, Any] = {"type": "linear", "out_features": 9}
LIF_NODE: dict[str, Any] = {"type": "lif", "v_threshold": 0.02}
LAYERS = {"fc": FC, "lif": LIF_NODE}
WRONG: dict[str, Any] = {"type": "lif", "beta": 3}
# Every block, with states at every depth.
DEEP: dict[str, Any] = {
    "seq": {"type": "sequential", "layers": {"first": LIF_NODE, "inner": {"type": "sequential", "layers": LAYERS}}},
    "twice": {"type": "repeat", "times": 2, "layers": LAYERS},
    "block": {"type": "residual", "layers": LAYERS, "shortcut": LAYERS},
    "ways": {"type": "parallel", "branches": {"a": LAYERS, "b": {"fc": FC, "li": {"type": "li"}}}},
}
DEEP_NEURONS = ["seq.first", "seq.inner.lif", "twice.copy1.lif", "twice.copy2.lif", "block.lif", "block.shortcut.lif"]
DEEP_NEURONS += ["ways.a.lif"]


def build(layers: dict[str, Any], in_shape: tuple[int, ...] = (4,), dt: float | None = 1.0) -> Network:
    return build_network(layers, in_shape=in_shape, dt=dt).network


def assert_refused(node: dict[str, Any], in_shape: tuple[int, ...], place: str, *fragments: object) -> None:
    with assert_raises((ConfigError, UnknownSettingError), f"model.layers.block{place}", *fragments):
        build({"block": node}, in_shape)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(T, B, 4, dtype=torch.float64) * 4


def test_sequential_is_its_layers_under_one_name(x: Tensor) -> None:
    torch.manual_seed(1)
    flat = build({**LAYERS, "out": FC}).double()
    torch.manual_seed(1)
    network = build({"block": {"type": "sequential", "layers": LAYERS}, "out": FC}).double()
    counts: dict[str, Tensor] = {}
    y, state = network(x, counts=counts)
    assert torch.equal(y, flat(x)[0])
    assert list(counts) == ["block.lif"]
    assert list(state["block"]) == ["lif"]
    assert list(network.state_dict()) == ["block.fc.weight", "block.fc.bias", "out.weight", "out.bias"]


def test_repeat_makes_copies_with_separate_weights_and_matching_shapes() -> None:
    conv = {"type": "conv2d", "out_channels": 3, "kernel_size": 3}
    node = {"type": "repeat", "times": 3, "layers": {"conv": conv, "lif": LIF_NODE}}
    built = build_network({"block": node}, in_shape=(2, 9, 8), dt=1.0)
    assert built.spiking == {"block.copy1.lif": (3, 7, 6), "block.copy2.lif": (3, 5, 4), "block.copy3.lif": (3, 3, 2)}
    weights = [built.network.get_parameter(f"block.copy{k}.conv.weight") for k in (1, 2, 3)]
    assert [tuple(w.shape) for w in weights] == [(3, 2, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)]
    assert not torch.equal(weights[1], weights[2])
    assert built.shapes == {"block": (3, 3, 2)}


@pytest.mark.parametrize("with_shortcut", [True, False])
@pytest.mark.parametrize("connect", ["add", "and", "iand", "concat"])
def test_residual_combines_input_and_branch(connect: Any, with_shortcut: bool, x: Tensor) -> None:
    branch, way = nn.Linear(4, 4).double(), nn.Linear(4, 4).double()
    y, _ = Residual({"fc": branch}, connect, way if with_shortcut else None)(x)
    side = way(x) if with_shortcut else x
    expected = {
        "add": side + branch(x),
        "and": side * branch(x),
        "iand": side * (1 - branch(x)),
        "concat": torch.cat([side, branch(x)], -1),
    }
    torch.testing.assert_close(y, expected[connect])


@pytest.mark.peers
@pytest.mark.parametrize("connect", ["add", "and", "iand"])
def test_residual_equals_the_sew_function_of_spikingjelly(connect: Any, x: Tensor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sew = pytest.importorskip("spikingjelly.activation_based.model.sew_resnet")
    fc, lif = nn.Linear(4, 4).double(), LIF(1.0, v_threshold=0.2)
    spikes = (x > 1).double()
    y, _ = Residual({"fc": fc, "lif": lif}, connect)(spikes)
    assert torch.equal(y, sew.sew_function(spikes, lif(fc(spikes))[0], connect.upper()))
    assert y.any()
    assert lif(fc(spikes))[0].any()


@pytest.mark.parametrize("join", ["concat", "add"])
def test_parallel_combines_the_outputs_of_its_branches(join: Any, x: Tensor) -> None:
    a, b = nn.Linear(4, 5).double(), nn.Linear(4, 5).double()
    y, _ = Parallel({"a": a, "b": b}, join)(x)
    torch.testing.assert_close(y, torch.cat([a(x), b(x)], -1) if join == "concat" else a(x) + b(x))


def test_images_are_joined_along_their_channels_and_stay_channels_last() -> None:
    conv = {"type": "conv2d", "kernel_size": 3, "padding": "same"}
    layers = {
        "ways": {
            "type": "parallel",
            "branches": {"a": {"conv": {**conv, "out_channels": 2}}, "b": {"conv": {**conv, "out_channels": 5}}},
        },
        "dense": {"type": "residual", "connect": "concat", "layers": {"conv": {**conv, "out_channels": 3}}},
    }
    built = build_network(layers, in_shape=(2, 6, 5), dt=1.0)
    assert built.shapes == {"ways": (7, 6, 5), "dense": (10, 6, 5)}
    x = torch.rand(T * B, 2, 6, 5).to(memory_format=torch.channels_last).unflatten(0, (T, B))
    for lengths in (None, torch.tensor([T, 2, 3])):
        y, _ = built.network(x, lengths=lengths)
        assert y.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


def test_names_are_dotted_and_the_modules_own() -> None:
    built = build_network(DEEP, in_shape=(4,), dt=2.0)
    assert list(built.spiking) == DEEP_NEURONS
    assert list(built.shapes) == list(DEEP)
    for name in DEEP_NEURONS:
        lif = built.network.get_submodule(name)
        assert isinstance(lif, LIF)
        assert lif.dt == 2.0


def test_one_call_and_split_calls_agree_with_counts(x: Tensor) -> None:
    network = build(DEEP).double().eval()
    whole, last = network(x, counts=(total := {}))
    for size in (1, 4):
        chunks, state, counts = [], None, {name: torch.zeros_like(n) for name, n in total.items()}
        for chunk in x.split(size):
            y, state = network(chunk, state, counts=(own := {}))
            chunks.append(y)
            counts = {name: counts[name] + own[name] for name in counts}
        torch.testing.assert_close(torch.cat(chunks), whole)
        torch.testing.assert_close(state, last)
        assert all(torch.equal(counts[name], total[name]) for name in total)
    assert all(total[name].any() for name in DEEP_NEURONS)


@pytest.mark.parametrize("block", ["block", "ways", "seq"])
def test_a_block_alone_outputs_zeros_past_the_end(block: str, x: Tensor) -> None:
    layer = build({block: DEEP[block]}).double().get_submodule(block)
    y, _ = layer(x, lengths=torch.tensor([T, 2, 4]))
    assert not y[2:, 1].any()
    assert y[:2, 1].any()


def test_an_unknown_name_in_a_blocks_state_is_refused(x: Tensor) -> None:
    network = build(DEEP).double()
    for block in DEEP:
        with assert_raises(ValueError, ["zzz"]):
            network(x, {block: {"zzz": 1}})


def test_layers_within_get_the_number_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    from snnlab.nn import LAYERS as KINDS

    seen: list[tuple[int | None, int]] = []

    class Telling(nn.Module):
        def __init__(self, num_steps: int | None) -> None:
            super().__init__()
            self.num_steps = num_steps

        def forward(self, x: Tensor) -> Tensor:
            seen.append((self.num_steps, x.shape[0]))
            return x

    monkeypatch.setitem(KINDS._entries, "telling", Telling)
    inner: dict[str, Any] = {"t": {"type": "telling"}}
    inner = {"p": {"type": "parallel", "branches": {"a": inner}}}
    inner = {"r": {"type": "residual", "layers": {"i": {"type": "identity"}}, "shortcut": inner}}
    inner = {"s": {"type": "sequential", "layers": {"n": {"type": "repeat", "times": 1, "layers": inner}}}}
    built = build_network(inner, in_shape=(4,), dt=1.0, num_steps=7)
    assert set(seen) == {(7, 7)}
    assert built.num_steps == 7
    assert build_network({"fc": FC}, in_shape=(4,), dt=1.0, num_steps=7).num_steps == 1


@pytest.mark.parametrize(
    ("node", "fragments"),
    [
        ({"type": "sequential"}, ("", "sequential", "layers")),
        ({"type": "sequential", "layers": {}}, (".layers", "{fc: {type: linear, out_features: 32}}")),
        ({"type": "sequential", "layers": [LAYERS]}, (".layers", "mapping")),
        ({"type": "sequential", "layers": {"a": 3}}, (".layers.a", "mapping", 3)),
        ({"type": "sequential", "layers": {"train": FC}}, (".layers", "'train'")),
        ({"type": "sequential", "layers": {1: FC}}, (".layers", "'1'")),
        ({"type": "sequential", "layers": {"a": {"type": "lfi"}}}, (".layers.a.type", "'lfi'", "'li'")),
        (
            {"type": "sequential", "layers": {"lif": {"type": "lif", "tau_men": 1}}},
            (".layers.lif.tau_men", "lif", "'tau_mem'"),
        ),
        (
            {"type": "sequential", "layers": {"a": {"type": "repeat", "times": 2, "layers": {"b": WRONG}}}},
            (".layers.a.layers.b.beta",),
        ),
        ({"type": "repeat", "times": 1.5, "layers": LAYERS}, (".times", 1.5)),
        (
            {"type": "repeat", "times": 3, "layers": {"p": {"type": "max_pool", "kernel_size": 2}}},
            (".layers.p.kernel_size", 2, [1], "copy", 3),
        ),
        ({"type": "residual", "layers": LAYERS, "connect": "or"}, (".connect", "iand", "'or'")),
        ({"type": "residual", "layers": {"shortcut": FC}, "shortcut": LAYERS}, ("", "'shortcut'")),
        ({"type": "residual", "layers": LAYERS, "shortcut": {"b": WRONG}}, (".shortcut.b.beta",)),
        ({"type": "parallel", "branches": {}}, (".branches", "{a: {fc: {type: linear, out_features: 32}}}")),
        ({"type": "parallel", "branches": {"a": FC}}, (".branches.a.type", "mapping")),
        ({"type": "parallel", "branches": {"a": 3}}, (".branches.a", 3)),
        ({"type": "parallel", "branches": {"a": {"b": WRONG}}}, (".branches.a.b.beta",)),
        ({"type": "parallel", "branches": {"forward": LAYERS}}, ("", "'forward'")),
    ],
)
def test_an_error_names_its_place(node: dict[str, Any], fragments: tuple) -> None:
    assert_refused(node, (2, 4), *fragments)


@pytest.mark.parametrize("connect", ["add", "and", "iand"])
def test_an_error_for_mismatched_sides_proposes_a_fix(connect: str) -> None:
    node = {"type": "residual", "connect": connect, "layers": {"fc": {"type": "linear", "out_features": 6}}}
    hint = {"fc": {"type": "linear", "out_features": 6}}
    assert_refused(node, (4,), ".connect", connect, [4], [6], "{fc: {type: linear, out_features: 6}}")
    assert build_network({"block": {**node, "shortcut": hint}}, in_shape=(4,), dt=1.0).shapes == {"block": (6,)}


def test_an_error_for_mismatched_images_proposes_a_convolution() -> None:
    conv = {"type": "conv2d", "out_channels": 8, "kernel_size": 3, "padding": 1, "stride": 2}
    node = {"type": "residual", "layers": {"conv": conv}}
    offered = "{conv: {type: conv2d, out_channels: 8, kernel_size: 1, stride: 2}}"
    assert_refused(node, (2, 9, 7), ".connect", "shortcut", [8, 5, 4], offered)
    hint = {"conv": {"type": "conv2d", "out_channels": 8, "kernel_size": 1, "stride": 2}}
    assert build_network({"block": {**node, "shortcut": hint}}, in_shape=(2, 9, 7), dt=1.0).shapes == {
        "block": (8, 5, 4)
    }
    node = {"type": "residual", "layers": {"conv": {**conv, "stride": 1, "padding": 0}}}
    assert_refused(node, (8, 9, 7), ".connect", [8, 7, 5], "padding: same")


def test_concatenation_needs_the_same_size_but_not_the_same_channels() -> None:
    conv = {"type": "conv2d", "out_channels": 5, "kernel_size": 3}
    node = {"type": "residual", "connect": "concat", "layers": {"conv": conv}}
    assert_refused(node, (2, 9, 7), ".connect", "shortcut", [2, 7, 5])
    node["layers"] = {"conv": {**conv, "padding": "same"}}
    assert build_network({"block": node}, in_shape=(2, 9, 7), dt=1.0).shapes == {"block": (7, 9, 7)}


@pytest.mark.parametrize("join", ["concat", "add"])
def test_branches_that_do_not_fit_are_refused(join: str) -> None:
    conv = {"type": "conv2d", "out_channels": 5, "kernel_size": 3}
    node = {"type": "parallel", "join": join, "branches": {"a": {"conv": conv}, "b": {"i": {"type": "identity"}}}}
    assert_refused(node, (2, 9, 7), ".join", join, "a", [5, 7, 5], "b", [2, 9, 7])
