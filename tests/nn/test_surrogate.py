from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from snnlab.errors import ConfigError, UnknownSettingError
from snnlab.nn import SURROGATES
from snnlab.nn.surrogate import (
    Atan,
    Circ,
    Exponential,
    Gaussian,
    MultiGaussian,
    Rectangular,
    Sigmoid,
    StraightThrough,
    SuperSpike,
    Surrogate,
    Triangle,
    as_surrogate,
    spike,
)
from snnlab.spec.signatures import fields_of

from ..refusals import assert_raises

Formula = Callable[[Tensor, float], Tensor]

X = torch.arange(-30, 31, dtype=torch.float64) / 10.3  # 0 is among them, no edge of a box is
SMOOTH = [kind for kind in SURROGATES if kind != "straight_through"]
PI = math.pi


def density(x: Tensor, mu: float, sigma: float) -> Tensor:
    return torch.exp(-((x - mu) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * PI))


# What each library's parameter means, at any threshold: the gradient over x = u - v_threshold.
LIBRARY: list[tuple[Callable[[float], Surrogate], Formula]] = [
    (lambda a: Atan(alpha=a), lambda x, a: (a / 2) / (1 + (PI / 2 * a * x) ** 2)),
    (lambda a: SuperSpike(alpha=a), lambda x, a: 1 / (a * x.abs() + 1) ** 2),
    (lambda a: SuperSpike(slope=a), lambda x, a: 1 / (a * x.abs() + 1) ** 2),
    (lambda a: Sigmoid(alpha=a), lambda x, a: a * torch.sigmoid(a * x) * torch.sigmoid(-a * x)),
    (lambda a: Sigmoid(slope=a), lambda x, a: a * torch.sigmoid(a * x) * torch.sigmoid(-a * x)),
    (lambda a: Circ(alpha=a), lambda x, a: a**3 / (a**2 + x**2) ** 1.5),
    (lambda a: Triangle(alpha=a), lambda x, a: a * (1 - x.abs()).clamp(min=0)),
    (lambda a: Rectangular(alpha=a), lambda x, a: a * (x.abs() < 0.5 / a)),
    (lambda a: Gaussian(sigma=a), lambda x, a: density(x, 0.0, a)),
    (lambda a: Gaussian(sigma=a, scale=0.3), lambda x, a: 0.3 * density(x, 0.0, a)),
    (lambda a: Gaussian(alpha=a, scale=0.3), lambda x, a: 0.3 * a / math.sqrt(PI) * torch.exp(-((a * x) ** 2))),
    (lambda a: Gaussian(alpha=a, scale=2 / a), lambda x, a: 2 / math.sqrt(PI) * torch.exp(-((a * x) ** 2))),
    (lambda a: Exponential(alpha=a), lambda x, a: a / 2 * torch.exp(-a * x.abs())),
    (lambda a: Exponential(alpha=a, scale=0.4), lambda x, a: 0.4 * a / (2 * torch.exp(a * x.abs()))),
    (lambda a: Exponential(tau=a), lambda x, a: 1 / (2 * a) * torch.exp(-x.abs() / a)),
    (lambda a: Exponential(tau=a, scale=0.1), lambda x, a: 0.1 / (2 * a) * torch.exp(-x.abs() / a)),
    (
        lambda a: MultiGaussian(sigma=a),
        lambda x, a: 1.15 * density(x, 0.0, a) - 0.15 * (density(x, a, 6 * a) + density(x, -a, 6 * a)),
    ),
    (
        lambda a: MultiGaussian(sigma=a, scale=0.5, h=0.4, s=3.0),
        lambda x, a: 0.5 * (1.4 * density(x, 0.0, a) - 0.4 * (density(x, a, 3 * a) + density(x, -a, 3 * a))),
    ),
]


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("kind", SMOOTH)
def test_every_surrogate_has_its_peak_and_half_width(kind: str):
    surrogate = SURROGATES.build(kind, {"width": 0.5, "height": 0.7}, "surrogate")
    torch.testing.assert_close(surrogate.shape(double(0, 1, -1)), double(1, 0.5, 0.5), rtol=1e-12, atol=0)
    at = surrogate.derivative(double(0, 1, -1), 2.0)
    torch.testing.assert_close(at, double(0.7, 0.35, 0.35), rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", [kind for kind in SURROGATES if kind != "multi_gaussian"])
def test_a_surrogate_is_finite_and_not_negative_in_single_precision(kind: str):
    at = SURROGATES.build(kind, {}, "surrogate").derivative(torch.tensor([-1e30, -40.0, 40.0, 1e30]), 1.0)
    assert torch.isfinite(at).all()
    assert (at >= 0).all()


def test_the_tail_of_the_sigmoid_keeps_its_digits_on_both_sides():
    at = Sigmoid(alpha=1.0).derivative(torch.tensor([-30.0, 30.0]), 1.0).double()
    torch.testing.assert_close(at, torch.full_like(at, math.exp(-30)), rtol=1e-5, atol=0)


def test_the_straight_gradient_is_the_same_at_every_distance_and_threshold():
    assert StraightThrough(0.3).derivative(X, 7.0).eq(0.3).all()
    assert list(fields_of(StraightThrough)) == ["height"]


def test_the_lobes_of_the_multi_gaussian_are_negative_and_h_is_their_depth():
    lobe = double(3.0)
    shallow, deep = MultiGaussian(h=0.15).shape(lobe), MultiGaussian(h=0.3).shape(lobe)
    assert deep < shallow < 0
    torch.testing.assert_close(MultiGaussian(h=0.0).shape(X), Gaussian().shape(X))


@pytest.mark.parametrize("v_threshold", [1.0, 0.5, 4.0])
@pytest.mark.parametrize("alpha", [0.5, 2.0, 25.0])
@pytest.mark.parametrize(("ours", "formula"), LIBRARY)
def test_a_librarys_parameter_has_its_meaning_at_every_threshold(
    ours: Callable[[float], Surrogate], formula: Formula, alpha: float, v_threshold: float
):
    at = ours(alpha).derivative(X, v_threshold)
    torch.testing.assert_close(at, formula(X, alpha).double(), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("v_threshold", [1.0, 0.5, 4.0])
def test_sinabs_exponential_follows_the_threshold(v_threshold: float):
    w = 0.25 * v_threshold
    expected = 0.8 / w * torch.exp(-X.abs() / w)
    at = Exponential(grad_width=0.25, grad_scale=0.8).derivative(X, v_threshold)
    torch.testing.assert_close(at, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("kind", list(SURROGATES))
def test_the_width_is_in_units_of_the_threshold(kind: str):
    surrogate = SURROGATES.build(kind, {}, "surrogate")
    torch.testing.assert_close(surrogate.derivative(X * 4, 4.0), surrogate.derivative(X, 1.0), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("settings", [{}, {"alpha": 3.0}, {"grad_width": 0.5}])
def test_a_tensor_of_thresholds_gives_each_channel_its_own_width(settings: dict[str, float]):
    surrogate = Exponential(**settings)
    thresholds = double(0.5, 1.0, 2.0)
    x = X.expand(3, -1)
    at = surrogate.derivative(x, thresholds[:, None])
    each = torch.stack([surrogate.derivative(X, float(v)) for v in thresholds])
    torch.testing.assert_close(at, each, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("strict", "at_threshold"), [(False, 1.0), (True, 0.0)])
@pytest.mark.parametrize("v_threshold", [2.0, torch.tensor(2.0, dtype=torch.float64)])
def test_a_spike_is_a_step_with_the_surrogate_gradient(v_threshold: float | Tensor, strict: bool, at_threshold: float):
    distance = double(-0.5, 0.0, 0.5).requires_grad_()
    s = spike(distance, Atan(0.25, 2.0), v_threshold, strict=strict)
    assert s.tolist() == [0.0, at_threshold, 1.0]
    assert s.dtype == distance.dtype
    s.backward(double(1.0, 1.0, 3.0))
    assert distance.grad is not None
    torch.testing.assert_close(distance.grad, double(1.0, 2.0, 3.0))


def test_a_learned_threshold_gets_its_gradient_only_through_the_distance():
    u = double(0.2, 0.9, 1.3, 2.0).reshape(2, 2)
    v_threshold = double(0.8, 1.5).requires_grad_()
    spike(u - v_threshold, Atan(0.3), v_threshold).sum().backward()
    surrogate = 1 / (1 + ((u - v_threshold) / (0.3 * v_threshold)) ** 2)
    assert v_threshold.grad is not None
    torch.testing.assert_close(v_threshold.grad, -surrogate.sum(0).detach())


@pytest.mark.parametrize("kind", SMOOTH)
@pytest.mark.parametrize("v_threshold", [0.5, torch.tensor(0.5, dtype=torch.float64)])
def test_a_second_derivative_is_the_derivative_of_the_surrogate(kind: str, v_threshold: float | Tensor):
    surrogate = SURROGATES.build(kind, {"height": 0.7}, "surrogate")
    x = double(-0.41, -0.07, 0.03, 0.28).requires_grad_()
    (first,) = torch.autograd.grad(spike(x, surrogate, v_threshold).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad((first * first.detach()).sum(), x)
    step = 1e-6
    with torch.no_grad():
        slope = (surrogate.derivative(x + step, v_threshold) - surrogate.derivative(x - step, v_threshold)) / (2 * step)
    torch.testing.assert_close(second, first.detach() * slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["width", "height", "alpha"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_sizes_must_be_positive(name: str, value: float):
    with assert_raises(ConfigError, name, "> 0", value):
        Atan(**{name: value})


@pytest.mark.parametrize(
    ("build", "fragments"),
    [
        (lambda: Atan(0.3, alpha=2.0), ("", "either")),
        (lambda: Atan(height=1.0, alpha=2.0), ("", "either")),
        (lambda: Sigmoid(alpha=1.0, slope=1.0), ("", "either")),
        (lambda: Exponential(scale=0.4), ("", "grad_width")),
        (lambda: Exponential(alpha=2.0, grad_scale=0.4), ("", "grad_scale")),
        (lambda: Exponential(alpha=2.0, tau=0.4), ("", "alpha")),
        (lambda: MultiGaussian(h=8.0, s=1.0), ("h", "8.0", "1.0")),
    ],
)
def test_conflicting_settings_are_rejected(build: Callable[[], Surrogate], fragments: tuple):
    with assert_raises((ValueError, ConfigError), *fragments):
        build()


def test_a_yaml_node_becomes_a_surrogate():
    built = as_surrogate({"type": "triangle", "width": 0.5})
    assert repr(built) == "Triangle(width=0.5, height=1)"
    assert type(as_surrogate({"width": 0.5})) is Atan
    assert as_surrogate(built) is built


def test_a_null_in_the_node_counts_as_not_given():
    node = {"type": "superspike", "alpha": 100.0, "width": None, "height": None, "sigma": None}
    assert as_surrogate(node).size == SuperSpike(alpha=100.0).size


@pytest.mark.parametrize(
    ("given", "fragments"),
    [
        ({"type": "atn"}, ("surrogate.type", "atn", "atan")),
        ({"slope": 2.0}, ("surrogate.slope",)),
        ({"type": "straight_through", "width": 2.0}, ("surrogate.width", "straight_through")),
        ({"width": 0.5, "alpha": 1.0}, ("surrogate", "either")),
    ],
)
def test_errors_in_the_node_are_named(given: dict[str, Any], fragments: tuple):
    with assert_raises((ConfigError, UnknownSettingError), *fragments):
        as_surrogate(given)


@pytest.mark.parametrize("given", ["atan", 5])
def test_values_that_are_no_node_are_rejected(given: Any):
    with assert_raises(ConfigError, "surrogate", "0.3"):
        as_surrogate(given)
