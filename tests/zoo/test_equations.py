"""The zoo's recurrent networks equal loops over their authors' equations, on outputs and gradients.

Axes: T steps, B samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from snnlab.nn.network import Network

from .networks import NETWORKS

STEPS, SAMPLES = 12, 3
Weights = dict[str, Tensor]


def spike(gap: Tensor, slope: Tensor) -> Tensor:
    """Return whether gap > 0, with `slope` as its derivative."""
    return (gap > 0).to(gap.dtype) + slope.detach() * (gap - gap.detach())


def between(stored: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * stored.sigmoid()


def integrate(x: Tensor, factor: Tensor | float) -> Tensor:
    """Return leaky integrators, u = factor u + (1 - factor) x."""
    u, outputs = torch.zeros_like(x[0]), []
    for x_t in x:
        u = factor * u + (1 - factor) * x_t
        outputs.append(u)
    return torch.stack(outputs)


def normalize(x: Tensor, w: Weights, name: str) -> Tensor:
    y = F.batch_norm(x.flatten(0, 1), None, None, w[f"{name}.weight"], w[f"{name}.bias"], training=True)
    return y.unflatten(0, x.shape[:2])


def radlif_layer(x: Tensor, w: Weights, name: str) -> Tensor:
    """Bittar and Garner's RadLIF, from states of 0."""
    ranges = {
        "beta": (math.exp(-1 / 5), math.exp(-1 / 25)),
        "rho": (math.exp(-1 / 30), math.exp(-1 / 120)),
        "a": (-1.0, 1.0),
        "b": (0.0, 2.0),
    }
    alpha, beta, a, b = (between(w[f"{name}.neuron.learned.{key}"], *ends) for key, ends in ranges.items())
    feedback = w[f"{name}.feedback.weight"]
    feedback = feedback * (1 - torch.eye(len(feedback), dtype=x.dtype))
    u = adaptation = s = torch.zeros_like(x[0])
    spikes = []
    for x_t in x:
        adaptation = beta * adaptation + a * u + b * s
        u = alpha * (u - s) + (1 - alpha) * (x_t + s @ feedback.T - adaptation)
        s = spike(u - 1.0, ((u - 1.0).abs() < 0.5).to(x.dtype))
        spikes.append(s)
    return torch.stack(spikes)


def radlif(x: Tensor, w: Weights) -> Tensor:
    for n in (1, 2):
        x = radlif_layer(normalize(x @ w[f"fc{n}.weight"].T, w, f"norm{n}"), w, f"lif{n}")
    return integrate(normalize(x @ w["out.weight"].T, w, "norm3"), w["readout.learned.beta"].sigmoid())


def adlif_layer(x: Tensor, w: Weights, name: str) -> Tensor:
    """Baronig et al.'s SE-adLIF."""
    ranges = {"tau_mem": (5.0, 25.0), "tau_adapt": (60.0, 300.0), "a": (0.0, 1.0), "b": (0.0, 2.0)}
    tau_u, tau_w, a, b = (between(w[f"{name}.neuron.learned.{key}"], *ends) for key, ends in ranges.items())
    alpha, beta, q = torch.exp(-1 / tau_u), torch.exp(-1 / tau_w), 120.0
    u = adaptation = z = torch.zeros_like(x[0])
    spikes = []
    for x_t in x:
        u = alpha * u + (1 - alpha) * (x_t + z @ w[f"{name}.feedback.weight"].T - adaptation)
        z = spike(u - 1.0, 0.4 * 5.0 / 2.0 * torch.exp(-5.0 * (u - 1.0).abs()))
        u = u * (1 - z.detach())
        adaptation = beta * adaptation + (1 - beta) * q * (a * u + b * z)
        spikes.append(z)
    return torch.stack(spikes)


def adlif(x: Tensor, w: Weights) -> Tensor:
    for n in range(1, 3 if "fc2.weight" in w else 2):
        x = adlif_layer(F.linear(x, w[f"fc{n}.weight"], w[f"fc{n}.bias"]), w, f"lif{n}")
    return integrate(F.linear(x, w["out.weight"], w["out.bias"]), math.exp(-1 / 15))


def network(name: str) -> Network:
    """Return a network with fewer neurons and no dropout, whose input weights make its neurons spike."""
    torch.manual_seed(0)
    settings = ("drop{}.p=0", "fc{}.out_features=64")
    layers = range(1, 2 if "small" in name else 3)
    built = NETWORKS[name].build(*(f"model.layers.{text.format(n)}" for n in layers for text in settings))
    with torch.no_grad():
        for key, value in built.network.named_parameters():
            if key.startswith("fc"):
                value.mul_(40.0)
            elif key.startswith("norm"):
                value.uniform_(1.0, 3.0)
    return built.network.double()


@pytest.mark.parametrize(
    ("name", "equations"),
    [
        pytest.param("mlp_radlif", radlif, marks=pytest.mark.slow),
        pytest.param("mlp_adlif", adlif, marks=pytest.mark.slow),
        ("mlp_adlif_small", adlif),
    ],
)
def test_it_equals_a_loop_over_the_equations(name: str, equations: Callable[[Tensor, Weights], Tensor]) -> None:
    ours = network(name)
    assert ours.built_from is not None
    x = (torch.rand(STEPS, SAMPLES, *ours.built_from.in_shape, dtype=torch.float64) < 0.2).double()
    counts: dict[str, Tensor] = {}
    y, _ = ours(x, counts=counts)
    leaves = {key: value.detach().clone().requires_grad_() for key, value in ours.named_parameters()}
    expected = equations(x, leaves)
    torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-9)
    for layer, count in counts.items():
        assert 0.02 < count.mean() / STEPS < 0.6, layer
    weights = torch.randn_like(expected)
    found = torch.autograd.grad((y * weights).sum(), list(ours.parameters()))
    others = torch.autograd.grad((expected * weights).sum(), list(leaves.values()))
    for key, grad, other in zip(leaves, found, others, strict=True):
        torch.testing.assert_close(grad, other, rtol=0, atol=1e-6 * float(other.abs().max()), msg=key)
