"""The surrogate gradients of other libraries, for several parameters, compared with ours."""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

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
    spike,
)

pytestmark = pytest.mark.peers

X = torch.arange(-30, 31, dtype=torch.float64) / 10.3  # 0 is among them, no edge of a box is
ALPHAS = [0.5, 2.0, 5.0, 25.0]
K = SuperSpike.half_width

Ours = Callable[[float], Surrogate]
Theirs = Callable[[Any, float], Callable[[Tensor], Tensor]]


def peer(name: str) -> ModuleType:
    pytest.importorskip(name.partition(".")[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


@pytest.fixture(scope="module")
def norse() -> ModuleType:
    return peer("norse.torch.functional.threshold")


@pytest.fixture(scope="module")
def snntorch() -> ModuleType:
    return peer("snntorch.surrogate")


@pytest.fixture(scope="module")
def spikingjelly() -> ModuleType:
    return peer("spikingjelly.activation_based.surrogate")


@pytest.fixture(scope="module")
def sinabs() -> ModuleType:
    return peer("sinabs.activation")


def gradient(function: Callable[[Tensor], Tensor]) -> Tensor:
    x = X.clone().requires_grad_()
    (grad,) = torch.autograd.grad(function(x).sum(), x)
    return grad


def assert_same(ours: Surrogate, theirs: Tensor, v_threshold: float) -> None:
    at = gradient(lambda x: spike(x, ours, v_threshold))
    # Sinabs rounds sqrt(2 pi) to single precision, which shows where its Gaussians cancel.
    torch.testing.assert_close(at, theirs.double(), rtol=1e-6, atol=1e-8 * float(theirs.max()))


@pytest.mark.parametrize("v_threshold", [1.0, 0.5])
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize(
    ("method", "ours"),
    [
        ("triangle", lambda a: Triangle(alpha=a)),
        ("circ", lambda a: Circ(alpha=a)),
        ("heavi_erfc", lambda a: Gaussian(alpha=a, scale=2 / a)),
    ],
)
def test_norse(norse: ModuleType, method: str, ours: Ours, alpha: float, v_threshold: float):
    assert_same(ours(alpha), gradient(lambda x: norse.threshold(x, method, alpha)), v_threshold)


@pytest.mark.parametrize("v_threshold", [1.0, 0.5])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_tanh_of_norse_is_the_sigmoid_by_its_width(norse: ModuleType, alpha: float, v_threshold: float):
    ours = Sigmoid(width=math.log(1 + math.sqrt(2)) / (alpha * v_threshold), height=1.0)
    assert_same(ours, gradient(lambda x: norse.threshold(x, "tanh", alpha)), v_threshold)


@pytest.mark.parametrize("v_threshold", [1.0, 0.5])
@pytest.mark.parametrize("alpha", [1.0, 10.0, 100.0])
def test_norse_loses_the_alpha_of_its_superspike_and_ours_is_what_it_says_it_is(
    norse: ModuleType, alpha: float, v_threshold: float
):
    theirs = gradient(lambda x: norse.threshold(x, "super", alpha))
    assert_same(SuperSpike(alpha=1.0), theirs, v_threshold)
    assert_same(SuperSpike(alpha=alpha), 1 / (alpha * X.abs() + 1) ** 2, v_threshold)


@pytest.mark.parametrize("v_threshold", [1.0, 0.5])
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (lambda lib, a: lib.atan(a), lambda a: Atan(alpha=a)),
        (lambda lib, a: lib.fast_sigmoid(a), lambda a: SuperSpike(slope=a)),
        (lambda lib, a: lib.sigmoid(a), lambda a: Sigmoid(slope=a)),
        (lambda lib, a: lib.straight_through_estimator(), lambda a: StraightThrough()),
    ],
    ids=["atan", "fast_sigmoid", "sigmoid", "straight_through_estimator"],
)
def test_snntorch(snntorch: ModuleType, theirs: Theirs, ours: Ours, alpha: float, v_threshold: float):
    assert_same(ours(alpha), gradient(theirs(snntorch, alpha)), v_threshold)


def test_the_triangular_of_snntorch_is_no_triangle(snntorch: ModuleType):
    assert torch.equal(gradient(snntorch.triangular()), torch.where(X < 0, 1.0, -1.0).double())


@pytest.mark.parametrize("v_threshold", [1.0, 0.5])
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("ATan", lambda a: Atan(alpha=a)),
        ("Sigmoid", lambda a: Sigmoid(alpha=a)),
        ("Erf", lambda a: Gaussian(alpha=a)),
        ("Rect", lambda a: Rectangular(alpha=a)),
        ("PiecewiseExp", lambda a: Exponential(alpha=a)),
    ],
)
def test_spikingjelly(spikingjelly: ModuleType, name: str, ours: Ours, alpha: float, v_threshold: float):
    assert_same(ours(alpha), gradient(getattr(spikingjelly, name)(alpha)), v_threshold)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("SuperSpike", lambda a: SuperSpike(K, a)),
        ("SoftSign", lambda a: SuperSpike(K / a, a / 2)),
        ("PiecewiseQuadratic", lambda a: Triangle(1 / (2 * a), a)),
    ],
)
def test_names_of_spikingjelly_with_other_meanings(spikingjelly: ModuleType, name: str, ours: Ours, alpha: float):
    assert_same(ours(alpha), gradient(getattr(spikingjelly, name)(alpha)), 1.0)


def test_the_pass_of_spikingjelly(spikingjelly: ModuleType):
    assert_same(StraightThrough(), gradient(spikingjelly.DeterministicPass()), 0.5)


@pytest.mark.parametrize("v_threshold", [1.0, 0.5])
@pytest.mark.parametrize("width", [0.25, 0.5, 2.0])
@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (
            lambda lib, w: lib.SingleExponential(grad_width=w, grad_scale=0.8),
            lambda w: Exponential(grad_width=w, grad_scale=0.8),
        ),
        (lambda lib, w: lib.Gaussian(sigma=w, grad_scale=0.8), lambda w: Gaussian(sigma=w, scale=0.8)),
        (lambda lib, w: lib.MultiGaussian(sigma=w, grad_scale=0.8), lambda w: MultiGaussian(sigma=w, scale=0.8)),
        (lambda lib, w: lib.MultiGaussian(sigma=w, h=0.4, s=3), lambda w: MultiGaussian(sigma=w, h=0.4, s=3)),
    ],
    ids=["SingleExponential", "Gaussian", "MultiGaussian", "MultiGaussian_h_s"],
)
def test_sinabs(sinabs: ModuleType, theirs: Theirs, ours: Ours, width: float, v_threshold: float):
    assert_same(ours(width), theirs(sinabs, width)(X + v_threshold, v_threshold), v_threshold)  # type: ignore[call-arg]


def test_the_box_of_sinabs_has_no_upper_edge(sinabs: ModuleType):
    theirs = sinabs.Heaviside(window=0.5)(X + 0.5, 0.5).double()
    ours = gradient(lambda x: spike(x, Rectangular(0.5 / 0.5, 1 / 0.5), 0.5))
    assert torch.equal(ours[X < 0.5], theirs[X < 0.5])
    assert (theirs[X > 0.5] == 2).all()
