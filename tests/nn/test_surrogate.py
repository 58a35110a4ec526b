from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn import SURROGATES
from snnlab.nn.surrogate import Atan, Sigmoid, SuperSpike, Surrogate, Triangle, as_surrogate, spike

X = torch.linspace(-3, 3, 61, dtype=torch.float64)
K = math.sqrt(2) - 1
LN = 2 * math.log(1 + math.sqrt(2))


@pytest.mark.parametrize("kind", list(SURROGATES))
def test_every_bell_has_its_peak_and_its_half_width(kind: str) -> None:
    bell = SURROGATES.build(kind, {"width": 0.4, "height": 0.7}, "surrogate")
    at = bell.derivative(torch.tensor([0.0, 0.4 * 1.5, -0.4 * 1.5], dtype=torch.float64), 1.5)
    torch.testing.assert_close(at, torch.tensor([0.7, 0.35, 0.35], dtype=torch.float64))


@pytest.mark.parametrize("kind", list(SURROGATES))
def test_every_bell_falls_from_its_centre(kind: str) -> None:
    at = SURROGATES.get(kind, "").shape(X[X >= 0])  # pyright: ignore[reportFunctionMemberAccess]
    assert (at.diff() <= 0).all()
    assert (at >= 0).all()


@pytest.mark.parametrize("alpha", [0.5, 2.0, 4.0, 25.0])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            lambda a: Atan(2 / (math.pi * a), a / 2),
            lambda x, a: (a / 2) / (1 + (math.pi / 2 * a * x) ** 2),  # snnTorch's and SpikingJelly's ATan
        ),
        (lambda a: SuperSpike(K / a, 1.0), lambda x, a: 1 / (a * x.abs() + 1) ** 2),  # Norse; fast_sigmoid
        (
            lambda a: Sigmoid(LN / a, a / 4),
            lambda x, a: a * torch.sigmoid(a * x) * (1 - torch.sigmoid(a * x)),  # SpikingJelly's Sigmoid
        ),
        (lambda a: Triangle(0.5, a), lambda x, a: a * (1 - x.abs()).clamp(min=0)),  # Norse's triangle
    ],
)
def test_the_libraries_formulas_are_met(
    ours: Callable[[float], Surrogate], theirs: Callable[[Tensor, float], Tensor], alpha: float
) -> None:
    torch.testing.assert_close(ours(alpha).derivative(X, 1.0), theirs(X, alpha), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("strict", "at_threshold"), [(False, 1.0), (True, 0.0)])
def test_a_spike_is_a_step_and_passes_the_bell_back(strict: bool, at_threshold: float) -> None:
    distance = torch.tensor([-0.5, 0.0, 0.5], dtype=torch.float64, requires_grad=True)
    s = spike(distance, Atan(0.25, 2.0), 2.0, strict=strict)
    assert s.tolist() == [0.0, at_threshold, 1.0]
    s.backward(torch.tensor([1.0, 1.0, 3.0], dtype=torch.float64))
    assert distance.grad is not None
    torch.testing.assert_close(distance.grad, torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))


@pytest.mark.parametrize("name", ["width", "height"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_sizes_must_be_positive(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be > 0, got {value}"):
        Atan(**{name: value})


def test_a_yaml_node_becomes_a_surrogate() -> None:
    built = as_surrogate({"type": "triangle", "width": 0.5})
    assert repr(built) == "Triangle(width=0.5, height=1)"
    assert type(as_surrogate({"width": 0.5})) is Atan
    assert as_surrogate(built) is built


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"type": "atn"}, r"^surrogate\.type: there is no surrogate 'atn'. Did you mean 'atan'\?"),
        ({"alpha": 2.0}, r"^surrogate: unknown setting 'alpha'; atan takes width \(thresholds\), height\."),
        ({"width": -1.0}, r"^surrogate: width must be > 0, got -1.0"),
    ],
)
def test_mistakes_in_the_node_are_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        as_surrogate(given)


@pytest.mark.parametrize("given", ["atan", 5])
def test_what_is_no_node_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match=r"surrogate is a mapping such as {type: atan, width: 0\.3}, got"):
        as_surrogate(given)
