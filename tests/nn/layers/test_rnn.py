from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.nn import LAYERS
from snnlab.nn.layers.rnn import GRUState, LSTMState

from ...refusals import assert_raises

T, B, F, H, L = 6, 4, 5, 3, 2
TORCHS: dict[str, Any] = {"gru": nn.GRU, "lstm": nn.LSTM}
LENGTHS = torch.tensor([T, 2, 0, 4])


def build(kind: str, **settings: Any) -> Any:
    in_shape = settings.pop("in_shape", (F,))
    return LAYERS.build(kind, {"hidden_size": H, **settings}, "layers.a", in_shape=in_shape, dt=1.0)


def pair(kind: str, **settings: Any) -> tuple[Any, Any]:
    """Return our layer and torch's with the same weights."""
    ours, theirs = build(kind, **settings), TORCHS[kind](F, H, **settings)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def parts(hx: Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    """Return torch's state in our layout, batch first."""
    return [part.transpose(0, 1) for part in (hx if isinstance(hx, tuple) else (hx,))]


both = pytest.mark.parametrize("kind", TORCHS)


@both
@pytest.mark.parametrize("settings", [{}, {"num_layers": L}, {"bias": False}])
def test_it_is_torchs(kind: str, settings: dict[str, Any]) -> None:
    ours, theirs = pair(kind, **settings)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = torch.randn(T, B, F)
    y, state = ours(x)
    expected, hx = theirs(x)
    assert torch.equal(y, expected)
    assert all(map(torch.equal, state, parts(hx)))
    assert isinstance(state, GRUState if kind == "gru" else LSTMState)
    assert state.h.shape == (B, settings.get("num_layers", 1), H)


@both
def test_a_sample_with_fewer_steps_is_torchs_run_that_ends_there(kind: str) -> None:
    ours, theirs = pair(kind, num_layers=L)
    x, before = torch.randn(T, B, F), [torch.randn(B, L, H) for _ in ours.State._fields]
    y, state = ours(x, ours.State(*before), lengths=LENGTHS)
    for b, length in enumerate(LENGTHS.tolist()):
        start = tuple(part[None, b].transpose(0, 1).contiguous() for part in before)
        expected, hx = theirs(x[:length, [b]], start if kind == "lstm" else start[0]) if length else (x[:0], start)
        torch.testing.assert_close(y[:length, b], expected.reshape(length, H))
        assert (y[length:, b] == 0).all()
        for ended, theirs_ended in zip(state, parts(hx), strict=True):
            torch.testing.assert_close(ended[b], theirs_ended[0])


@both
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_pieces_with_the_state_equal_the_whole(kind: str, lengths: Tensor | None) -> None:
    layer, x = build(kind, num_layers=L).double(), torch.randn(T, B, F, dtype=torch.float64)
    whole, end = layer(x, lengths=lengths)
    first, state = layer(x[:3], lengths=lengths)
    second, state = layer(x[3:], state, lengths=None if lengths is None else (lengths - 3).clamp(min=0))
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state, end, rtol=1e-12, atol=1e-12)


@both
@pytest.mark.parametrize("shape", [(1, B, F), (T, 0, F), (1, 0, F)])
@pytest.mark.parametrize("with_lengths", [True, False])
def test_one_step_and_an_empty_batch_are_fine(kind: str, shape: tuple[int, ...], with_lengths: bool) -> None:
    lengths = torch.full(shape[1:2], 1) if with_lengths else None
    y, state = build(kind, num_layers=L)(torch.randn(shape), lengths=lengths)
    assert y.shape == (*shape[:2], H)
    assert all(part.shape == (shape[1], L, H) for part in state)


@both
def test_dropout_between_layers_is_for_training_only(kind: str) -> None:
    layer, x = build(kind, num_layers=L, dropout=0.5), torch.randn(T, B, F)
    assert not torch.equal(layer(x)[0], layer(x)[0])
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])


@both
def test_gradients_are_right(kind: str) -> None:
    layer = build(kind, num_layers=L).double()
    x = torch.randn(3, 2, F, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: layer(x, lengths=torch.tensor([3, 1]))[0], x)


@both
@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"hidden_size": 0}, ("layers.a.hidden_size",)),
        ({"num_layers": 0}, ("layers.a.num_layers",)),
        ({"dropout": 1.5, "num_layers": 2}, ("layers.a.dropout", 0, 1, 1.5)),
        ({"dropout": 0.5}, ("layers.a.dropout", "num_layers", "1")),
    ],
)
def test_mistakes_are_named(kind: str, settings: dict[str, Any], facts: tuple) -> None:
    with assert_raises(ConfigError, *facts):
        build(kind, **settings)


@both
def test_an_image_is_to_be_flattened_first(kind: str) -> None:
    with assert_raises(ConfigError, "layers.a", kind, 1, [2, 8, 8], "flatten"):
        build(kind, in_shape=(2, 8, 8))
