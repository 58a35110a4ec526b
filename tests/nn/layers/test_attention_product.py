from __future__ import annotations

import pytest
import torch

from snnlab.errors import ConfigError
from snnlab.nn import AttentionProduct, build_network

from ...refusals import assert_raises


@pytest.mark.parametrize("size", [(2, 2), (5, 4), (7,)])
def test_each_token_gets_the_values_of_all_tokens_weighted_by_query_times_key(size: tuple[int, ...]) -> None:
    heads, width = 2, 6  # one order of the products for 4 tokens, the other for 20 and 7
    x = torch.poisson(torch.full((3, 3 * heads * width, *size), 0.7)).requires_grad_()
    y = AttentionProduct(x.shape[1:], num_heads=heads, scale=0.25)(x)
    assert y.shape == (3, heads * width, *size)
    q, k, v = x.detach().flatten(2).chunk(3, 1)
    expected = torch.zeros_like(q)
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        for i in range(q.shape[2]):
            for j in range(q.shape[2]):
                product = (q[:, own, i] * k[:, own, j]).sum(1)
                expected[:, own, i] += 0.25 * product[:, None] * v[:, own, j]
    assert torch.equal(y.detach().flatten(2), expected)  # sums of whole numbers are exact
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad.flatten(2)[:, 2 * heads * width :], _value_gradient(q, k, heads, 0.25))


def _value_gradient(q: torch.Tensor, k: torch.Tensor, heads: int, scale: float) -> torch.Tensor:
    """Return the gradient of the sum of the results by the values: of each token, the products with all queries."""
    chunks = zip(q.chunk(heads, 1), k.chunk(heads, 1), strict=True)
    per_head = [scale * torch.einsum("nci,ncj->nj", *parts) for parts in chunks]
    return torch.stack(per_head, 1).repeat_interleave(q.shape[1] // heads, 1)


@pytest.mark.parametrize("last", [True, False])
def test_the_result_is_in_channels_last_memory_for_any_input(last: bool) -> None:
    x = torch.randn(2, 12, 3, 3).contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    assert AttentionProduct((12, 3, 3), num_heads=2)(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("settings", "in_shape", "place", "words"),
    [
        ({"num_heads": 5}, (24, 3, 3), ".num_heads", ("8", "5", "4")),
        ({"num_heads": 0}, (24, 3, 3), ".num_heads", ("0",)),
        ({"num_heads": 2, "scale": 0}, (24, 3, 3), ".scale", ("0",)),
        ({"num_heads": 2}, (25, 3, 3), "", ("3", "25")),
        ({"num_heads": 2}, (24,), "", ("24",)),
    ],
)
def test_what_cannot_be_split_into_heads_is_refused(
    settings: dict[str, float], in_shape: tuple[int, ...], place: str, words: tuple[str, ...]
) -> None:
    with assert_raises(ConfigError, f"model.layers.a{place}", *words):
        build_network({"a": {"type": "attention_product", **settings}}, in_shape=in_shape, dt=None)
