from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.nn import LAYERS
from snnlab.nn.layers.norm import BatchNorm, PerStepBatchNorm

from ...refusals import assert_raises

T, B, C = 5, 3, 4
LENGTHS = torch.tensor([5, 2, 3])
TORCHS: dict[int, Any] = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def build(kind: str, in_shape: tuple[int, ...], **settings: Any) -> Any:
    return LAYERS.build(kind, settings, "layers.a", in_shape=in_shape, dt=1.0)


def per_step(channels: int = C, num_steps: int = T, **settings: Any) -> PerStepBatchNorm:
    context = {"in_shape": (channels, 3, 3), "num_steps": num_steps}
    return LAYERS.build("batch_norm", {"per_step": True, **settings}, "layers.a", **context)


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


def test_batch_norm_takes_a_single_value_by_its_running_statistics_which_stay() -> None:
    norm = BatchNorm(C)
    norm(torch.randn(T, B, C) * 2 + 1)
    x = torch.randn(1, 1, C, requires_grad=True)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    y, _ = norm(x)
    torch.testing.assert_close(dict(norm.state_dict()), before, rtol=0, atol=0)
    y.sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).all()
    assert torch.equal(y, norm.eval()(x)[0])


@pytest.mark.parametrize("lengths", [None, torch.tensor([1])])
def test_batch_norm_refuses_a_single_value_before_it_has_statistics(lengths: Tensor | None) -> None:
    with assert_raises(ConfigError, "", 1):
        BatchNorm(C)(torch.randn(1, 1, C), lengths=lengths)


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
    ("kind", "in_shape", "settings", "facts"),
    [
        ("batch_norm", (), {}, ("layers.a", "batch_norm", 1, [])),
        ("batch_norm", (4,), {"momentum": 1.5}, ("layers.a.momentum", 0, 1, 1.5)),
        ("layer_norm", (), {}, ("layers.a", "layer_norm", 1, [])),
        ("layer_norm", (4, 3), {"normalized_shape": 4}, ("layers.a.normalized_shape", "[4, 3]", "[4]")),
        ("layer_norm", (4, 3), {"normalized_shape": []}, ("layers.a.normalized_shape", "[4, 3]", "[]")),
        ("group_norm", (), {"num_groups": 1}, ("layers.a", "group_norm", 1, [])),
        ("group_norm", (4,), {"num_groups": 0}, ("layers.a.num_groups",)),
        ("group_norm", (4,), {"num_groups": 3}, ("layers.a.num_groups", "4", "3")),
    ],
)
def test_mistakes_are_named(kind: str, in_shape: tuple[int, ...], settings: dict[str, Any], facts: tuple) -> None:
    with assert_raises(ConfigError, *facts):
        build(kind, in_shape, **settings)


def tensors_of(norm: nn.Module) -> dict[str, Tensor]:
    return dict(norm.state_dict())


@pytest.mark.parametrize("dims", [0, 1, 2, 3])
@pytest.mark.parametrize("settings", [{}, {"momentum": None, "eps": 1e-3}, {"affine": False}])
def test_per_step_is_torchs_batch_norm_of_each_step(dims: int, settings: dict[str, Any]) -> None:
    ours, theirs = per_step(**settings), [TORCHS[dims](C, **settings) for _ in range(T)]
    assert tensors_of(ours).keys() == theirs[0].state_dict().keys()
    x = torch.randn(T, B, *(C, 3, 2, 4)[: dims + 1])
    for _ in range(2):
        x = x * torch.arange(1, T + 1).reshape(-1, *[1] * (x.dim() - 1)) + 1
        y, state = ours(x)
        torch.testing.assert_close(y, torch.stack([norm(x_t) for norm, x_t in zip(theirs, x, strict=True)]))
        assert state.step.tolist() == [T] * B
    for name, tensor in tensors_of(ours).items():
        assert torch.equal(tensor, torch.stack([norm.state_dict()[name] for norm in theirs]))
    ours.eval()
    expected = torch.stack([norm.eval()(x_t) for norm, x_t in zip(theirs, x, strict=True)])
    torch.testing.assert_close(ours(x)[0], expected)


def test_per_step_leaves_samples_past_their_end_out_of_each_steps_statistics() -> None:
    norm, x = per_step(), torch.randn(T, B, C, 3, 3)
    dirty = torch.where((torch.arange(T)[:, None] >= LENGTHS)[..., None, None, None], torch.nan, x)
    y, state = norm(dirty, lengths=LENGTHS)
    for t in range(T):
        theirs, kept = nn.BatchNorm2d(C), t < LENGTHS
        torch.testing.assert_close(y[t, kept], theirs(x[t, kept]))
        assert (y[t, ~kept] == 0).all()
        torch.testing.assert_close(norm.running_var[t], theirs.running_var)
    assert torch.equal(state.step, LENGTHS)


def test_per_step_keeps_the_running_statistics_where_one_value_is_left() -> None:
    norm, x = PerStepBatchNorm(C, T), torch.randn(T, B, C) + 3
    y, _ = norm(x, lengths=LENGTHS)  # from step 3 on there is one sample
    torch.testing.assert_close(y[3:, 0], x[3:, 0] / (1 + norm.eps) ** 0.5)
    assert (norm.running_mean[3:] == 0).all()
    assert norm.num_batches_tracked.tolist() == [1, 1, 1, 0, 0]


def test_per_step_passes_the_gradient_of_each_step() -> None:
    norm, x = per_step(channels=2, num_steps=3).double(), torch.randn(3, B, 2, 2, dtype=torch.float64)
    lengths = torch.tensor([3, 1, 2])
    assert torch.autograd.gradcheck(lambda x: norm(x)[0], x.requires_grad_())
    assert torch.autograd.gradcheck(lambda x: norm(x, lengths=lengths)[0], x)
    norm(x)[0].pow(3).sum().backward()
    assert norm.weight.grad is not None
    assert (norm.weight.grad != 0).all()
    assert norm.weight.grad.shape == (3, 2)


def trained(num_steps: int = T) -> PerStepBatchNorm:
    """Return a norm in evaluation mode that differs at each step."""
    norm = per_step(num_steps=num_steps)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    return norm.eval()


def test_per_step_in_single_steps_and_pieces_equals_the_whole() -> None:
    norm, x = trained(), torch.randn(T, B, C, 3, 3)
    whole, end = norm(x, lengths=LENGTHS)
    for sizes in ([1] * T, [1, 3, 1]):
        chunks, state, begun = [], None, 0
        for part in x.split(sizes):
            y, state = norm(part, state, lengths=(LENGTHS - begun).clamp(min=0))
            chunks.append(y)
            begun += len(part)
        torch.testing.assert_close(torch.cat(chunks), whole)
        assert state is not None
        assert torch.equal(state.step, end.step)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_per_step_keeps_channels_last_memory(lengths: Tensor | None) -> None:
    x = torch.randn(T * B, C, 3, 3).to(memory_format=torch.channels_last).unflatten(0, (T, B))
    y, _ = per_step()(x, lengths=lengths)
    assert y.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("steps", [2, T - 1, T + 1, 2 * T])
def test_per_step_refuses_another_number_of_steps(training: bool, steps: int) -> None:
    with assert_raises(ValueError, "batch_norm", "per_step", T, steps):
        per_step().train(training)(torch.randn(steps, B, C, 3, 3))


def test_per_step_trains_on_no_single_step_and_goes_on_no_further_than_its_last() -> None:
    norm, x = per_step(), torch.randn(T, B, C, 3, 3)
    with assert_raises(ValueError, 1, T):
        norm(x[:1])
    _, state = norm(x)
    with assert_raises(ValueError, "built", T, T + 1):
        norm(x[:1], state)
    _, again = norm(x[:1], state, lengths=torch.zeros(B, dtype=torch.int64))  # no valid step: no error
    assert torch.equal(again.step, state.step)


def test_per_step_refuses_to_train_on_one_value_for_each_channel() -> None:
    with assert_raises(ConfigError, "", 1):
        PerStepBatchNorm(C, T)(torch.randn(T, 1, C), lengths=torch.tensor([2]))


def test_per_step_takes_a_last_batch_of_one_sample_by_its_running_statistics() -> None:
    norm = PerStepBatchNorm(C, T)
    norm(torch.randn(T, B, C) + 1)
    x, before = torch.randn(T, 1, C), norm.running_mean.clone()
    y, _ = norm(x)
    assert torch.equal(norm.running_mean, before)
    assert torch.equal(y, norm.eval()(x)[0])


def test_per_step_needs_to_know_the_number_of_steps() -> None:
    with assert_raises(ConfigError, "layers.a.per_step"):
        LAYERS.build("batch_norm", {"per_step": True}, "layers.a", in_shape=(C,), num_steps=None)


@pytest.mark.peers
@pytest.mark.parametrize("dims", [1, 2])
def test_per_step_without_its_bias_is_snntorchs_bntt(dims: int) -> None:
    snntorch = pytest.importorskip("snntorch")
    make = snntorch.BatchNormTT1d if dims == 1 else snntorch.BatchNormTT2d
    theirs, ours = make(C, T), PerStepBatchNorm(C, T)
    with torch.no_grad():
        for t, norm in enumerate(theirs):
            norm.weight.normal_()
            ours.weight[t] = norm.weight
    x = torch.randn(T, B, *(C, 3, 3)[: 2 * dims - 1])
    for _ in range(3):
        x = x * 1.5 + 1
        expected = torch.stack([norm(x_t) for norm, x_t in zip(theirs, x, strict=True)])
        torch.testing.assert_close(ours(x)[0], expected)
    for t, norm in enumerate(theirs):
        torch.testing.assert_close(ours.running_mean[t], norm.running_mean)
        torch.testing.assert_close(ours.running_var[t], norm.running_var)
    ours.eval()
    expected = torch.stack([norm.eval()(x_t) for norm, x_t in zip(theirs, x, strict=True)])
    torch.testing.assert_close(ours(x)[0], expected)
