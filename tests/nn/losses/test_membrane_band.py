"""Membranes outside a band: the cost and its gradient compared with an explicit loop, for each way to run a network.

Axes: T steps, B samples.
"""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn import build_network
from snnlab.nn.losses import LossContext, MembraneBand
from snnlab.nn.neurons.base import Neuron, set_backend
from snnlab.nn.record import record
from snnlab.nn.tbptt import run_windows

from ...refusals import assert_raises, assert_text_has
from .conftest import HIDDEN, INPUTS, LENGTHS, SPIKING, B, K, T, make_context

LOWER, UPPER = -0.4, 1.3
BETA, THRESHOLD = 0.8, 0.5
X = torch.rand(T, B, INPUTS, generator=torch.Generator().manual_seed(1))


def network(neuron: dict[str, Any], backend: Any = "auto") -> tuple[Any, MembraneBand]:
    node = {"beta": BETA, "v_threshold": THRESHOLD, **neuron}
    layers = {
        "fc": {"type": "linear", "out_features": HIDDEN, "bias": False},
        "lif": node,
        "pool": {"type": "identity"},
    }
    torch.manual_seed(0)
    built = build_network(layers, in_shape=(INPUTS,), dt=2.0, num_steps=T)
    with torch.no_grad():
        built.network.get_parameter("fc.weight").mul_(3)
    set_backend(built.network, backend)
    part = MembraneBand(lower=LOWER, upper=UPPER, layers=["lif"])
    part.bind(LossContext(built, (INPUTS,), 2.0, T, K))
    return built.network, part


def outside(u: Tensor) -> Tensor:
    held = u / THRESHOLD
    return torch.clamp(LOWER - held, min=0) ** 2 + torch.clamp(held - UPPER, min=0) ** 2


def by_hand(weight: Tensor, reset: str, steps: int = T) -> Tensor:
    """Return the cost of a leaky neuron with a detached reset; its gradient stops after `steps` steps."""
    v, each = torch.zeros(B, HIDDEN), torch.zeros(B)
    for t, x in enumerate(X @ weight.T):
        v = v.detach() if t % steps == 0 else v
        u = BETA * v + x
        s = (u.detach() >= THRESHOLD).float()
        v = u - s * THRESHOLD if reset == "subtract" else (1 - s) * u
        each = each + torch.where(t < LENGTHS, outside(u).mean(1), 0)
    return (each / LENGTHS).mean()


def gradients(net: Any, part: MembraneBand, run: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
    counts: dict[str, Tensor] = {}
    (run or net)(X.to(net.fc.weight.dtype), lengths=LENGTHS, counts=counts)
    cost = part(X, LENGTHS, LENGTHS, counts)[0]
    cost.backward()
    return cost.detach(), {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("reset", ["subtract", "value"])
@pytest.mark.parametrize(("backend", "segments", "window"), [("auto", 0, T), ("reference", 2, T), ("auto", 0, 4)])
def test_value_and_gradient_are_those_of_a_loop_written_out(
    reset: str, backend: str, segments: int, window: int
) -> None:
    net, part = network({"type": "lif", "reset": reset}, backend)
    if segments:
        net.configure(checkpoint_segments=segments)
    found, grads = gradients(net, part, lambda x, **more: run_windows(net, x, window, **more))
    weight = net.fc.weight.detach().clone().requires_grad_()
    expected = by_hand(weight, reset, window)
    expected.backward()
    assert weight.grad is not None
    assert weight.grad.abs().sum() > 0
    torch.testing.assert_close(found, expected.detach())
    torch.testing.assert_close(grads["fc.weight"], weight.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "neuron",
    [
        {"type": "lif", "learn": ["v_threshold"], "detach_reset": False},
        {"type": "lif", "recurrent": True},
        {"type": "lif", "reset_delay": True},
        {"type": "alif", "recurrent": True},
    ],
    ids=["learned_threshold", "recurrent", "delayed_reset", "adaptive"],
)
def test_every_kernel_gives_the_gradient_of_the_plain_loop(neuron: dict[str, Any]) -> None:
    (expected, plain), (found, grads) = (gradients(*network(neuron, backend)) for backend in ("reference", "auto"))
    torch.testing.assert_close(found, expected)
    assert plain.keys() == grads.keys()
    for name, grad in grads.items():
        assert grad.abs().sum() > 0, name
        torch.testing.assert_close(grad, plain[name], rtol=1e-5, atol=1e-7)


def test_a_learned_threshold_has_the_gradient_of_its_differences() -> None:
    net, part = network({"type": "lif", "learn": ["v_threshold"], "reset": "none"}, "reference")
    parameter, values = net.double().get_parameter("lif.learned.v_threshold"), []
    grad = gradients(net, part)[1]["lif.learned.v_threshold"].clone()
    for change in (1e-4, -2e-4):
        with torch.no_grad():
            parameter.add_(change)
        values.append(gradients(net, part)[0])
    torch.testing.assert_close((values[0] - values[1]) / 2e-4, grad, rtol=1e-5, atol=1e-8, check_dtype=False)


def test_only_the_loss_gets_counts_other_than_spikes() -> None:
    net, part = network({"type": "lif"})
    counts: dict[str, Tensor] = {}
    net(X, lengths=LENGTHS, counts=counts)
    assert set(counts) == {"lif", f"lif.{part.cost.key}"}
    assert set(record(net, X, lengths=LENGTHS).spikes) == {"lif"}
    net(X, lengths=LENGTHS)  # without counts the hook does nothing


def test_the_log_says_at_the_first_training_batch_that_steps_take_longer(caplog: pytest.LogCaptureFixture) -> None:
    net, part = network({"type": "lif"})
    with caplog.at_level(logging.INFO):
        gradients(net, part.eval())
        assert not caplog.records
        part.train()
        for _ in range(2):
            gradients(net, part)
    (logged,) = caplog.records
    assert_text_has(logged.getMessage(), "lif", "loop")


class _Closed(Neuron):
    """A neuron that does not call `spike`."""

    def coefficients(self) -> None:
        return None

    def initial_state(self, x: Tensor) -> tuple[Tensor]:
        return (x,)

    def step(self, x: Tensor, state: tuple[Tensor], coefficients: None) -> tuple[Tensor, tuple[Tensor]]:
        return (x > 0).to(x.dtype), state


@pytest.mark.parametrize(
    ("settings", "fragments"),
    [
        ({}, ("lower", "upper")),
        ({"lower": 0.5, "upper": 0.5}, ("lower", 0.5)),
        ({"lower": 1.0}, ("lower", 1)),
        ({"upper": 0.0}, ("upper", 0)),
        ({"upper": 2.0, "layers": ["lif2"]}, ("layers", "lif2", "lif")),
        ({"upper": 2.0}, ("layers", "last")),
        ({"upper": 2.0, "layers": ["psn"]}, ("layers", "psn")),
    ],
)
def test_invalid_settings_are_rejected(settings: dict[str, Any], fragments: tuple) -> None:
    context = make_context(SPIKING | {"psn": {"type": "psn"}})
    context.built.network.last = _Closed()
    with assert_raises(ConfigError, *fragments):
        MembraneBand(**settings).bind(context)
