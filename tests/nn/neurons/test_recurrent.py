"""Recurrent neurons: their feedback, its weights and its settings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from snnlab.errors import ConfigError, UnknownSettingError
from snnlab.nn import LI, LIF, NEURONS
from snnlab.nn.neurons.base import named_neurons
from snnlab.nn.neurons.recurrent import ConvFeedback, DenseFeedback

from ...refusals import assert_raises

T, B, N = 12, 3, 6
IMAGE = (2, 5, 4)


def build(recurrent: Any, in_shape: tuple[int, ...] = (N,), kind: str = "lif", **settings: Any) -> Any:
    return NEURONS.build(kind, {"recurrent": recurrent, **settings}, "lif1", in_shape=in_shape, dt=2.0)


def drive(*shape: int) -> Tensor:
    torch.manual_seed(0)
    return torch.rand(T, B, *shape, dtype=torch.float64) * 1.5 - 0.3


def test_dense_feedback_adds_the_last_spikes_through_the_weights() -> None:
    torch.manual_seed(1)
    rec, lif, x = build(True).double(), LIF(2.0), drive(N)
    y, _ = rec(x)
    s, state = torch.zeros(B, N, dtype=torch.float64), None
    for t in range(T):
        out, state = lif((x[t] + s @ rec.feedback.weight.T)[None], state)
        s = out[0]
        assert torch.equal(y[t], s)
    assert 0 < y.sum() < y.numel()
    assert not torch.equal(y, lif(x)[0])


def test_convolutional_feedback_adds_the_last_spikes_through_the_kernel() -> None:
    torch.manual_seed(1)
    rec, lif, x = build(True, IMAGE).double(), LIF(2.0), drive(*IMAGE)
    assert rec.feedback.weight.shape == (2, 2, 3, 3)
    y, _ = rec(x)
    s, state = torch.zeros(B, *IMAGE, dtype=torch.float64), None
    for t in range(T):
        out, state = lif((x[t] + functional.conv2d(s, rec.feedback.weight, padding=1))[None], state)
        s = out[0]
        assert torch.equal(y[t], s)


@pytest.mark.parametrize(
    ("recurrent", "in_shape", "kind", "weight"),
    [
        (True, (N,), DenseFeedback, (N, N)),
        (True, (4, 9), ConvFeedback, (4, 4, 3)),
        (True, IMAGE, ConvFeedback, (2, 2, 3, 3)),
        ({"kernel_size": [3, 5]}, IMAGE, ConvFeedback, (2, 2, 3, 5)),
        ({"type": "dense"}, IMAGE, DenseFeedback, (40, 40)),
    ],
)
def test_the_layers_shape_decides_what_true_means(
    recurrent: Any, in_shape: tuple[int, ...], kind: type, weight: tuple[int, ...]
) -> None:
    feedback = build(recurrent, in_shape).feedback
    assert isinstance(feedback, kind)
    assert feedback.weight.shape == weight


@pytest.mark.parametrize(("recurrent", "in_shape"), [({"type": "dense"}, (N,)), ({"type": "conv"}, IMAGE)])
def test_without_autapses_no_neuron_reaches_itself_and_none_is_learned(
    recurrent: dict[str, Any], in_shape: tuple[int, ...]
) -> None:
    rec = build({**recurrent, "autapses": False}, in_shape).double()
    optimizer = torch.optim.SGD(rec.parameters(), lr=1.0)
    for _ in range(2):
        for i in range(4):
            one = torch.zeros(1, *in_shape, dtype=torch.float64)
            one.view(-1)[i] = 1.0
            assert rec.feedback(one, rec.feedback.weights()).view(-1)[i] == 0
        y, _ = rec(drive(*in_shape))
        (y * torch.randn_like(y)).sum().backward()
        before = rec.feedback.weight.detach().clone()
        optimizer.step()
        assert (rec.feedback.weight != before).any()


def test_norses_initialization_is_normal_with_its_deviation() -> None:
    torch.manual_seed(0)
    weight = DenseFeedback((400,), autapses=False, init="norse").weight
    assert weight.std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.02)
    assert weight.diagonal().abs().max() == 0
    assert abs(weight.mean().item()) < 1e-3


def test_the_other_initializations() -> None:
    torch.manual_seed(0)
    uniform = DenseFeedback((100,), bias=True)
    assert uniform.weight.abs().max() <= 0.1
    assert uniform.bias is not None
    assert 0 < uniform.bias.abs().max() <= 0.1
    orthogonal = DenseFeedback((50,), init="orthogonal").weight
    torch.testing.assert_close(orthogonal @ orthogonal.T, torch.eye(50), rtol=0, atol=1e-5)


def test_an_integrator_feeds_its_membrane_back_and_counts_nothing() -> None:
    counts: dict[str, Tensor] = {}
    rec = build(True, kind="li").double()
    y, _ = rec(drive(N), counts=counts)
    assert counts == {}
    assert not rec.spiking
    v = torch.zeros(B, N, dtype=torch.float64)
    state = None
    for t in range(T):
        out, state = LI(2.0)((drive(N)[t] + v @ rec.feedback.weight.T)[None], state)
        v = out[0]
        assert torch.equal(y[t], v)


def test_a_network_treats_it_as_one_neuron_that_depends_on_dt() -> None:
    rec = build(True)
    network = torch.nn.ModuleDict({"lif1": rec, "lif2": LIF(1.0)})
    assert [name for name, _ in named_neurons(network)] == ["lif1", "lif2"]
    assert rec.info().feedback == ((), True)
    assert build({"autapses": False}, IMAGE).info().feedback == ((3, 3), False)
    assert LIF(1.0).dt_invariant
    assert not rec.dt_invariant
    assert rec.constants() == LIF(2.0).constants()


@pytest.mark.parametrize(
    ("recurrent", "in_shape", "facts"),
    [
        ({"kernel_size": 4}, IMAGE, ("lif1.recurrent.kernel_size", "4", "5")),
        ({"kernel_size": [3, 2]}, IMAGE, ("lif1.recurrent.kernel_size", "[3, 2]")),
        ({"type": "conv"}, (N,), ("lif1.recurrent", "conv", "[C, W]", "[C, H, W]", "[C, D, H, W]", [6])),
        ({"kernel": 3}, IMAGE, ("lif1.recurrent.kernel", "kernel_size")),
        ({"type": "dens"}, IMAGE, ("lif1.recurrent.type", "dens", "dense")),
        (True, (), ("lif1.recurrent", "in_shape", 1)),
        ("yes", (N,), ("lif1.recurrent", "yes")),
    ],
)
def test_errors_have_a_place_and_a_fix(recurrent: Any, in_shape: tuple[int, ...], facts: tuple) -> None:
    with assert_raises((ConfigError, UnknownSettingError), *facts):
        build(recurrent, in_shape)
