from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from snnlab.errors import ConfigError
from snnlab.nn import LAYERS

from ...refusals import assert_raises


def build(kind: str, in_shape: tuple[int, ...], **settings: Any) -> nn.Module:
    return LAYERS.build(kind, settings, "layers.a", in_shape=in_shape, dt=1.0)


@pytest.mark.parametrize("in_shape", [(5,), (2, 5), (2, 3, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_acts_on_the_last_axis(in_shape: tuple[int, ...], bias: bool) -> None:
    ours = build("linear", in_shape, out_features=4, bias=bias)
    assert type(ours) is nn.Linear
    x = torch.randn(3, *in_shape)
    y = F.linear(x, ours.weight, ours.bias)
    assert (ours.bias is not None) == bias
    assert torch.equal(ours(x), y)
    assert y.shape == (3, *in_shape[:-1], 4)


def test_weight_norm_changes_nothing_at_first_and_has_a_length_for_each_neuron() -> None:
    torch.manual_seed(3)
    plain = build("linear", (5,), out_features=4)
    torch.manual_seed(3)
    normed = build("linear", (5,), out_features=4, weight_norm=True)
    x = torch.randn(7, 5)
    torch.testing.assert_close(normed(x), plain(x))
    lengths = normed.get_parameter("parametrizations.weight.original0")
    torch.testing.assert_close(lengths, plain.get_parameter("weight").norm(dim=1, keepdim=True))


@pytest.mark.parametrize(
    ("in_shape", "size", "facts"), [((5,), 0, ("layers.a.out_features",)), ((), 3, ("layers.a", "linear", 1, []))]
)
def test_mistakes_are_named(in_shape: tuple[int, ...], size: int, facts: tuple) -> None:
    with assert_raises(ConfigError, *facts):
        build("linear", in_shape, out_features=size)


def test_flatten_reads_channels_last_memory_in_the_order_of_its_axes() -> None:
    flatten, x = build("flatten", (3, 4, 5)), torch.randn(2, 3, 4, 5)
    assert type(flatten) is nn.Flatten
    assert flatten(x).shape == (2, 60)
    assert torch.equal(flatten(x.to(memory_format=torch.channels_last)), x.reshape(2, 60))


@pytest.mark.parametrize(
    ("kind", "settings", "oracle"),
    [
        ("relu", {}, F.relu),
        ("leaky_relu", {}, F.leaky_relu),
        ("leaky_relu", {"negative_slope": 0.3}, lambda x: F.leaky_relu(x, 0.3)),
        ("sigmoid", {}, torch.sigmoid),
        ("tanh", {}, torch.tanh),
        ("gelu", {}, F.gelu),
        ("gelu", {"approximate": "tanh"}, lambda x: F.gelu(x, approximate="tanh")),
        ("identity", {}, lambda x: x),
    ],
)
def test_activations_are_torchs(kind: str, settings: dict[str, Any], oracle: Any) -> None:
    x = torch.linspace(-3, 3, 30).reshape(2, 15)
    assert torch.equal(build(kind, (15,), **settings)(x), oracle(x))
