"""The masks and the product of spiking attention.

Axes: T steps, B samples, C channels, L tokens.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn import Network, build_network

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


MASK = {"type": "qk_mask", "num_heads": 2, "layers": LAYERS}
PRODUCT = {"type": "attention_product", "num_heads": 2}


@pytest.mark.parametrize(
    ("node", "place", "words"),
    [
        ({**PRODUCT, "num_heads": 3}, ".num_heads", ("8", "3", "2", "4")),
        ({**MASK, "num_heads": 24}, ".num_heads", ("12", "24")),
        ({**MASK, "per": "head"}, ".per", ("token", "channel")),
        ({**MASK, "layers": {"lif": {**LIF, "beta": 2.0}}}, ".layers.lif.beta", ("2.0",)),
    ],
)
def test_wrong_settings_are_refused_at_their_place(node: dict[str, Any], place: str, words: tuple[str, ...]) -> None:
    with assert_raises(ConfigError, f"model.layers.a{place}", *words):
        build(node, (3 * C, *SIZE))


NODES = [MASK, PRODUCT, {"type": "kv_mask", "layers": LAYERS}]


@pytest.mark.parametrize("size", [(12,), (2, 2, 3)])
@pytest.mark.parametrize("node", NODES)
def test_tokens_may_lie_along_one_to_three_axes(node: dict[str, Any], size: tuple[int, ...]) -> None:
    x = spikes(3 * C)
    y = build(node, (3 * C, *SIZE))(x)[0]
    assert torch.equal(build(node, (3 * C, *size))(x.reshape(T, B, 3 * C, *size))[0].flatten(3), y.flatten(3))


@pytest.mark.parametrize("node", NODES)
def test_an_input_without_cells_is_refused(node: dict[str, Any]) -> None:
    with assert_raises(ConfigError, "model.layers.a", node["type"], "[24]"):
        build(node, (3 * C,))


@pytest.mark.parametrize(
    ("node", "parts"), [({"type": "qk_mask", "num_heads": 1, "per": "channel"}, 2), ({"type": "kv_mask"}, 3)]
)
def test_layers_that_change_the_shape_of_a_mask_are_refused(node: dict[str, Any], parts: int) -> None:
    with assert_raises(ConfigError, "model.layers.a.layers", "5", "8"):
        build({**node, "layers": {"fc": {"type": "linear", "out_features": 5}}}, (parts * C, *SIZE))
