"""The blocks of spiking transformers.

Axes: T steps, B samples, C channels, L tokens.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from snnlab.errors import ConfigError, UnknownSettingError
from snnlab.nn import Network, build_network
from snnlab.nn.fold_norm import fold_norm

from ..refusals import assert_raises

T, B, C, SIZE = 5, 2, 8, (3, 4)
L = SIZE[0] * SIZE[1]
LIF: dict[str, Any] = {"type": "lif", "beta": 0.5, "reset": "value"}
LAYERS = {"lif": {**LIF, "v_threshold": 0.5}}


def build(node: dict[str, Any], in_shape: tuple[int, ...] = (C, *SIZE)) -> Network:
    return build_network({"a": node}, in_shape=in_shape, dt=None).network


def spikes(channels: int) -> Tensor:
    return (torch.rand(T, B, channels, *SIZE, generator=torch.Generator().manual_seed(0)) < 0.15).float()


def neurons(drive: Tensor) -> Tensor:
    """Return the spikes of LAYERS by its equation."""
    v, found = torch.zeros_like(drive[0]), []
    for x in drive:
        v = 0.5 * v + x
        s = (v >= 0.5).float()
        v = (1 - s) * v
        found.append(s)
    return torch.stack(found)


def test_a_query_spike_in_a_head_lets_the_keys_of_its_token_pass() -> None:
    x, heads = spikes(2 * C), 2
    y, _ = build({"type": "qk_mask", "num_heads": heads, "layers": LAYERS}, (2 * C, *SIZE))(x)
    q, k = x.flatten(3).chunk(2, 2)
    expected = torch.zeros_like(k)
    for head in range(heads):
        own = range(head * C // heads, (head + 1) * C // heads)
        for n in range(L):
            passing = neurons(sum(q[:, :, c, n] for c in own))  # pyright: ignore[reportArgumentType]
            for c in own:
                expected[:, :, c, n] = passing * k[:, :, c, n]
    assert torch.equal(y.flatten(3), expected)
    assert 0 < y.mean() < k.mean()


def test_query_spikes_of_a_channel_let_its_keys_pass() -> None:
    x = spikes(2 * C)
    y, _ = build({"type": "qk_mask", "num_heads": 2, "per": "channel", "layers": LAYERS}, (2 * C, *SIZE))(x)
    q, k = x.flatten(3).chunk(2, 2)
    for c in range(C):
        passing = neurons(sum(q[:, :, c, n] for n in range(L)))  # pyright: ignore[reportArgumentType]
        assert torch.equal(y.flatten(3)[:, :, c], passing[..., None] * k[:, :, c])


def test_keys_and_values_that_spike_together_let_the_queries_of_their_channel_pass() -> None:
    x = spikes(3 * C)
    y, _ = build({"type": "kv_mask", "layers": LAYERS}, (3 * C, *SIZE))(x)
    q, k, v = x.flatten(3).chunk(3, 2)
    for c in range(C):
        together = sum(k[:, :, c, n] * v[:, :, c, n] for n in range(L))
        assert isinstance(together, Tensor)
        assert torch.equal(y.flatten(3)[:, :, c], neurons(together)[..., None] * q[:, :, c])
    assert 0 < y.mean() < q.mean()


BLOCKS: dict[str, dict[str, Any]] = {
    "spiking_self_attention": {"num_heads": 2},
    "qk_attention": {"num_heads": 2, "per": "channel"},
    "spike_driven_attention": {},
    "spiking_mlp": {"ratio": 0.5},
    "position_conv": {"neuron_first": True},
    "patch_splitting": {"channels": [4, 6], "pool": [True, False]},
    "patch_embedding": {"channels": [4, 6]},
}


def node_of(kind: str, **settings: Any) -> dict[str, Any]:
    return {"type": kind, "neuron": LIF, **BLOCKS[kind], **settings}


@pytest.mark.parametrize(("kind", "size"), [("conv1d", (5,)), ("conv3d", (2, 3, 3))])
@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_takes_one_to_three_axes_of_cells(block: str, kind: str, size: tuple[int, ...]) -> None:
    network = build(node_of(block), (C, *size))
    assert network(torch.randn(T, B, C, *size))[0].dim() == 3 + len(size)
    assert {type(layer).__name__.lower() for layer in network.modules() if "Conv" in type(layer).__name__} == {kind}


@pytest.mark.parametrize("kind", BLOCKS)
def test_its_norms_fold_into_its_convolutions(kind: str) -> None:
    network = build({"type": "repeat", "times": 2, "layers": {"block": node_of(kind)}}).double()
    x = torch.randn(T, B, C, *SIZE, dtype=torch.float64) * 3
    network(x)
    network.eval()
    folded = fold_norm(network)
    assert not [name for name, _ in folded.named_modules() if "norm" in name]
    torch.testing.assert_close(folded(x)[0], network(x)[0])


@pytest.mark.parametrize(
    ("kind", "settings", "place", "words"),
    [
        ("spiking_self_attention", {"num_heads": 3}, ".num_heads", ("8", "3", "2", "4")),
        ("qk_attention", {"num_heads": 16}, ".num_heads", ("8", "16")),
        ("qk_attention", {"per": "head"}, ".per", ("token", "channel")),
        ("qk_attention", {"neuron": {"type": "lif", "beta": 2.0}}, ".neuron.beta", ("2.0",)),
        ("patch_embedding", {"neuron": {"type": "lif", "beta": 2.0}}, ".neuron.beta", ("2.0",)),
        ("spiking_mlp", {"ratio": 0.1}, ".ratio", ("0.1", "8")),
        ("patch_splitting", {"pool": [True]}, ".pool", ("2",)),
        ("patch_splitting", {"channels": []}, ".channels", ()),
        ("patch_splitting", {"channels": [4, 0]}, ".channels", ("0",)),
    ],
)
def test_wrong_settings_are_refused_at_their_place(
    kind: str, settings: dict[str, Any], place: str, words: tuple[str, ...]
) -> None:
    with assert_raises(ConfigError, f"model.layers.a{place}", *words):
        build(node_of(kind, **settings))


def test_an_unknown_setting_of_the_neurons_is_named() -> None:
    with assert_raises(UnknownSettingError, "model.layers.a.neuron.tau", "tau_mem"):
        build(node_of("spike_driven_attention", neuron={"type": "lif", "tau": 2.0}))


@pytest.mark.parametrize("kind", BLOCKS)
def test_an_input_without_cells_is_refused(kind: str) -> None:
    with assert_raises(ConfigError, "model.layers.a", kind, "[8]"):
        build(node_of(kind), (C,))


@pytest.mark.parametrize(
    ("node", "parts"), [({"type": "qk_mask", "num_heads": 1, "per": "channel"}, 2), ({"type": "kv_mask"}, 3)]
)
def test_layers_that_change_the_shape_of_a_mask_are_refused(node: dict[str, Any], parts: int) -> None:
    with assert_raises(ConfigError, "model.layers.a.layers", "5", "8"):
        build({**node, "layers": {"fc": {"type": "linear", "out_features": 5}}}, (parts * C, *SIZE))
