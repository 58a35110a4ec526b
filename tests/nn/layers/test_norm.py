from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.nn import LAYERS
from snnlab.nn.layers.norm import BatchNorm

T, B, C = 5, 3, 4
LENGTHS = torch.tensor([5, 2, 3])
TORCHS: dict[int, Any] = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def build(kind: str, in_shape: tuple[int, ...], **settings: Any) -> Any:
    return LAYERS.build(kind, settings, "layers.a", in_shape=in_shape, dt=1.0)


def valid_samples(x: Tensor) -> Tensor:
    return torch.cat([x[:n, b] for b, n in enumerate(LENGTHS.tolist())])


@pytest.mark.parametrize("dims", [0, 1, 2, 3])
@pytest.mark.parametrize("settings", [{}, {"momentum": None, "eps": 1e-3}, {"affine": False}])
@pytest.mark.parametrize("lengths", [None, torch.full((B,), T)])
def test_batch_norm_is_torchs_on_all_steps_as_one_batch(
    dims: int, settings: dict[str, Any], lengths: Tensor | None
) -> None:
    in_shape = (C, 3, 2, 4)[: dims + 1]
    ours, theirs = build("batch_norm", in_shape, **settings), TORCHS[dims](C, **settings)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = torch.randn(T, B, *in_shape)
    for _ in range(2):
        x = x * 2 + 1
        y, state = ours(x, lengths=lengths)
        assert torch.equal(y.flatten(0, 1), theirs(x.flatten(0, 1)))
        assert state is None
    ours.eval()
    theirs.eval()
    assert torch.equal(ours(x)[0].flatten(0, 1), theirs(x.flatten(0, 1)))
    torch.testing.assert_close(dict(ours.state_dict()), dict(theirs.state_dict()), rtol=0, atol=0)


def test_batch_norm_loads_what_torch_saved() -> None:
    theirs, ours = nn.BatchNorm2d(C), BatchNorm(C)
    theirs(torch.randn(6, C, 3, 3) + 2)
    ours.load_state_dict(theirs.state_dict())
    assert torch.equal(ours.running_mean, theirs.running_mean)  # pyright: ignore[reportArgumentType]


def test_batch_norm_leaves_steps_past_the_end_out_of_its_statistics() -> None:
    x = torch.randn(T, B, C, 3, 3)
    ours, theirs = BatchNorm(C), nn.BatchNorm2d(C)
    for b, n in enumerate(LENGTHS.tolist()):
        x[n:, b] = torch.nan
    y, _ = ours(x, lengths=LENGTHS)
    torch.testing.assert_close(valid_samples(y), theirs(valid_samples(x)))
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    assert all((y[n:, b] == 0).all() for b, n in enumerate(LENGTHS.tolist()))


def test_batch_norm_passes_no_gradient_past_the_end() -> None:
    x = torch.randn(T, B, C, 3, 3, requires_grad=True)
    (BatchNorm(C)(x, lengths=LENGTHS)[0] ** 3).sum().backward()
    short = valid_samples(x.detach()).requires_grad_()
    (nn.BatchNorm2d(C)(short) ** 3).sum().backward()
    assert x.grad is not None
    assert short.grad is not None
    torch.testing.assert_close(valid_samples(x.grad), short.grad)
    assert all((x.grad[n:, b] == 0).all() for b, n in enumerate(LENGTHS.tolist()))


def test_batch_norm_in_evaluation_uses_its_running_statistics() -> None:
    norm = BatchNorm(C)
    for _ in range(3):
        norm(torch.randn(T, B, C) * 3 + 5)
    norm.eval()
    x = torch.randn(T, B, C)
    mean, var = norm.running_mean, norm.running_var
    assert mean is not None
    assert var is not None
    before = mean.clone()
    y, _ = norm(x, lengths=LENGTHS)
    torch.testing.assert_close(valid_samples(y), (valid_samples(x) - mean) / (var + norm.eps).sqrt())
    assert (y[3:, 2] == 0).all()
    assert torch.equal(mean, before)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_batch_norm_keeps_channels_last_memory(lengths: Tensor | None) -> None:
    x = torch.randn(T * B, C, 3, 3).to(memory_format=torch.channels_last).unflatten(0, (T, B))
    y, _ = BatchNorm(C)(x, lengths=lengths)
    assert y.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


def test_batch_norm_survives_a_batch_without_a_valid_step() -> None:
    norm = BatchNorm(C)
    y, _ = norm(torch.randn(T, B, C), lengths=torch.zeros(B, dtype=torch.int64))
    assert (y == 0).all()
    assert norm.running_var is not None
    assert norm.running_var.isfinite().all()


@pytest.mark.parametrize(("shape", "settings"), [(None, {}), (5, {"bias": False}), ([3, 5], {"eps": 0.1})])
def test_layer_norm_is_torchs(shape: Any, settings: dict[str, Any]) -> None:
    ours = build("layer_norm", (2, 3, 5), normalized_shape=shape, **settings)
    theirs = nn.LayerNorm([2, 3, 5] if shape is None else shape, **settings)
    assert type(ours) is nn.LayerNorm
    x = torch.randn(4, 2, 3, 5)
    assert torch.equal(ours(x), theirs(x))


def test_group_norm_is_torchs() -> None:
    ours, x = build("group_norm", (6, 3, 3), num_groups=3, eps=0.1), torch.randn(2, 6, 3, 3)
    assert type(ours) is nn.GroupNorm
    assert torch.equal(ours(x), nn.GroupNorm(3, 6, 0.1)(x))


@pytest.mark.parametrize(
    ("kind", "in_shape", "settings", "message"),
    [
        ("batch_norm", (), {}, "batch_norm needs an input of at least 1 axis, got []"),
        ("batch_norm", (4,), {"eps": 0.0}, "eps must be > 0, got 0.0"),
        ("batch_norm", (4,), {"momentum": 1.5}, "momentum must be between 0 and 1, got 1.5"),
        ("layer_norm", (), {}, "layer_norm needs an input of at least 1 axis, got []"),
        ("layer_norm", (4,), {"eps": -1.0}, "eps must be > 0, got -1.0"),
        (
            "layer_norm",
            (4, 3),
            {"normalized_shape": 4},
            "normalized_shape must be how the input's shape [4, 3] ends, got [4]",
        ),
        (
            "layer_norm",
            (4, 3),
            {"normalized_shape": []},
            "normalized_shape must be how the input's shape [4, 3] ends, got []",
        ),
        ("group_norm", (), {"num_groups": 1}, "group_norm needs an input of at least 1 axis, got []"),
        ("group_norm", (4,), {"num_groups": 0}, "num_groups must be > 0, got 0"),
        ("group_norm", (4,), {"num_groups": 2, "eps": 0}, "eps must be > 0, got 0"),
        ("group_norm", (4,), {"num_groups": 3}, "num_groups must divide the input's channels (4), got 3"),
    ],
)
def test_mistakes_are_named(kind: str, in_shape: tuple[int, ...], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(kind, in_shape, **settings)
    assert str(caught.value) == f"layers.a: {message}"


def test_batch_norm_refuses_samples_without_an_axis() -> None:
    with pytest.raises(ValueError, match=r"batch_norm needs an input of at least 1 axis, got \[\]"):
        BatchNorm(C)(torch.zeros(T, B))
