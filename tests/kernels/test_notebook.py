"""A neuron defined in a notebook cell, whose code is in no file, is fused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import __main__
from snnlab.kernels.function import Kernel, kernel_for
from snnlab.nn import LI, Network
from snnlab.nn.neurons.base import set_backend

pytestmark = pytest.mark.compiled

# Two time constants, a learned threshold, a soft reset: unlike any of our neurons.
CELL = """
from typing import NamedTuple

import torch
from torch import nn

from snnlab.nn import Neuron
from snnlab.nn.surrogate import Atan, spike

SLOW = 0.9


class TwoTimesState(NamedTuple):
    fast: torch.Tensor
    slow: torch.Tensor


class TwoTimes(Neuron):
    def __init__(self):
        super().__init__()
        self.surrogate = Atan()
        self.level = nn.Parameter(torch.tensor(0.6))

    def coefficients(self):
        return 0.6, self.level

    def initial_state(self, x):
        return TwoTimesState(torch.zeros_like(x), torch.zeros_like(x))

    def step(self, x, state, k):
        a, level = k
        fast, slow = a * state.fast + x, SLOW * state.slow + (1 - SLOW) * x
        s = spike(fast + slow - level, self.surrogate, 1.0)
        return s, TwoTimesState(fast - s.detach() * level, slow)
"""


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the namespace of a notebook after a cell: that of `__main__`, and no file has the code."""
    names = __main__.__dict__
    for name in ("NamedTuple", "torch", "nn", "Neuron", "Atan", "spike", "SLOW", "TwoTimesState", "TwoTimes"):
        monkeypatch.setitem(names, name, None)
    exec(compile(CELL, "<cell 1>", "exec"), names)
    return names


@pytest.mark.long
def test_it_trains_by_rendered_loops_and_as_the_plain_loop_does(cell: dict[str, Any]) -> None:
    target = torch.randint(4, (16,))
    x = torch.rand(20, 16, 10) * (1 + target[:, None] * torch.linspace(0, 1, 10))

    def trained(backend: Any) -> tuple[list[float], torch.Tensor]:
        torch.manual_seed(0)
        net = Network({"fc": nn.Linear(10, 32), "own": cell["TwoTimes"](), "out": nn.Linear(32, 4), "readout": LI(1.0)})
        set_backend(net, backend)
        optimizer, losses = torch.optim.Adam(net.parameters(), lr=0.02), []
        for _ in range(30):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x)[0].mean(0), target)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses, net.get_parameter("own.level").detach()

    losses, level = trained("numba")
    assert losses[-1] < 0.6 * losses[0]
    assert level != 0.6
    expected, of_expected = trained("reference")
    assert losses == pytest.approx(expected, rel=1e-3)
    torch.testing.assert_close(level, of_expected, rtol=1e-3, atol=1e-4)


def test_a_constant_that_a_later_cell_changes_is_another_neuron(cell: dict[str, Any]) -> None:
    neuron = cell["TwoTimes"]()
    x = torch.rand(5, 2, 3, requires_grad=True)
    for slow in (0.9, 0.2):
        exec(compile(f"SLOW = {slow}", "<cell 2>", "exec"), cell)
        state = neuron.initial_state(x[0])
        assert isinstance(kernel_for(neuron.step, x, state, neuron.coefficients()), Kernel)
        _, (_, after) = neuron(x)
        expected = torch.zeros(2, 3)
        for x_t in x:
            expected = slow * expected + (1 - slow) * x_t
        torch.testing.assert_close(after, expected)
