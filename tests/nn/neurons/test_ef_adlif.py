"""EF-adLIF against a loop over the published update, by Euler-forward."""

from __future__ import annotations

import torch
from torch import Tensor

from snnlab.nn.neurons import AdLIF, EFAdLIF

from .agreement import assert_agrees, preset

T, B, N = 30, 3, 8


def test_the_preset_is_the_published_update() -> None:
    neuron = preset("ef_adlif", torch.float64, (N,))
    inner, weight = neuron.neuron, neuron.feedback.weight.detach()
    tau_u, tau_w, a, b = (torch.as_tensor(inner.value(name)).detach() for name in ("tau_mem", "tau_adapt", "a", "b"))
    alpha, beta = torch.exp(-1 / tau_u), torch.exp(-1 / tau_w)

    def published(x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        u = w = z = torch.zeros_like(x[0])
        spikes = []
        for x_t in x:
            before, fired = u, z
            u = alpha * before + (1 - alpha) * (x_t + fired @ weight.T - w)
            gap = u - 1.0
            z = (gap > 0).double() + (5.0 * 0.4 / 2 * torch.exp(-5.0 * gap.abs())).detach() * (gap - gap.detach())
            u = u * (1 - z.detach())
            w = beta * w + (1 - beta) * 65.0 * (a * before + b * fired)
            spikes.append(z)
        return torch.stack(spikes), (u, w)

    x = (torch.rand(T, B, N, dtype=torch.float64) * 30 - 6).requires_grad_()
    assert_agrees(neuron, published, x, state_fields=("v", "w"), tolerance=(1e-10, 1e-8))


def test_its_oscillation_grows_where_that_of_the_symplectic_method_decays() -> None:
    """Below the threshold both are linear; the eigenvalues of a step say which one is stable."""
    settings = {"tau_mem": 5.0, "tau_adapt": 60.0, "a": 1.0, "b": 0.0, "q": 120.0, "input_gain": "1-a"}
    x = torch.zeros(200, 1, 1, dtype=torch.float64)
    x[0] = 1e-30  # far below the threshold
    last = {kind: kind(1.0, **settings)(x)[1].v.abs().item() for kind in (AdLIF, EFAdLIF)}
    assert last[AdLIF] < 1e-31
    assert last[EFAdLIF] > 1e-25
    assert not EFAdLIF(1.0, a=0.5).dt_invariant
