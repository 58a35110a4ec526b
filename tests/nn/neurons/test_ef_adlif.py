"""EF-adLIF against a loop over the published update, by Euler-forward."""

from __future__ import annotations

from typing import Any

import torch
import yaml

from snnlab.config.folders import config_folder
from snnlab.nn import NEURONS
from snnlab.nn.neurons import AdLIF, EFAdLIF

T, B, N = 30, 3, 8


def test_the_preset_is_the_published_update() -> None:
    settings = yaml.safe_load((config_folder() / "neuron" / "ef_adlif.yaml").read_text(encoding="utf-8"))
    neuron: Any = NEURONS.build(settings.pop("type"), settings, "n", dt=1.0, in_shape=(N,)).double()
    inner = neuron.neuron
    torch.manual_seed(0)
    x = (torch.rand(T, B, N, dtype=torch.float64) * 30 - 6).requires_grad_()
    tau_u, tau_w, a, b = (torch.as_tensor(inner.value(name)).detach() for name in ("tau_mem", "tau_adapt", "a", "b"))
    alpha, beta, weight = torch.exp(-1 / tau_u), torch.exp(-1 / tau_w), neuron.feedback.weight.detach()
    u = w = z = torch.zeros(B, N, dtype=torch.float64)
    spikes = []
    for x_t in x:
        before, fired = u, z
        u = alpha * before + (1 - alpha) * (x_t + fired @ weight.T - w)
        gap = u - 1.0
        z = (gap > 0).double() + (5.0 * 0.4 / 2 * torch.exp(-5.0 * gap.abs())).detach() * (gap - gap.detach())
        u = u * (1 - z.detach())
        w = beta * w + (1 - beta) * 65.0 * (a * before + b * fired)
        spikes.append(z)
    s, (_, state) = neuron(x)
    expected = torch.stack(spikes)
    assert 30 < s.sum() < s.numel() - 30
    torch.testing.assert_close(s, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(state.w, w, rtol=1e-10, atol=1e-10)
    weights = torch.rand(T, B, N, dtype=torch.float64)
    ours, theirs = (torch.autograd.grad((y * weights).sum(), x, retain_graph=True)[0] for y in (s, expected))
    assert theirs.any()
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


def test_its_oscillation_grows_where_that_of_the_symplectic_method_decays() -> None:
    """Below the threshold both are linear; the eigenvalues of a step say which one is stable."""
    settings = {"tau_mem": 5.0, "tau_adapt": 60.0, "a": 1.0, "b": 0.0, "q": 120.0, "input_gain": "1-a"}
    x = torch.zeros(200, 1, 1, dtype=torch.float64)
    x[0] = 1e-30  # far below the threshold
    last = {kind: kind(1.0, **settings)(x)[1].v.abs().item() for kind in (AdLIF, EFAdLIF)}
    assert last[AdLIF] < 1e-31
    assert last[EFAdLIF] > 1e-25
    assert not EFAdLIF(1.0, a=0.5).dt_invariant
