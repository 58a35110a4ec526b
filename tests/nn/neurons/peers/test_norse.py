"""The presets named after Norse, compared with Norse 1.1.

Norse 1.1.0 ignores the alpha of its SuperSpike (releases up to 1.0.0 and the main branch honour it): its gradients are
compared with ours at alpha = 1, and ours at the preset's alpha with the formula.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from comparison import assert_agree, assert_agree_on_ties
from presets import Drive, Run, build, dyadic, library, noise, run, stacked, unrolled
from torch import Tensor, nn
from torch.nn import functional

pytestmark = pytest.mark.peers

ALPHA_1 = {"type": "superspike", "alpha": 1.0}
BETA_SYN = 1 - 1 / 5  # Norse stores the current after its decay, snnlab before


@pytest.fixture(scope="module")
def norse() -> Any:
    return library("norse.torch")


def parameters(kind: Any, dtype: torch.dtype, **changes: Any) -> Any:
    """Return Norse's parameters of a kind in this precision; its modules do not convert them."""
    given = {**kind()._asdict(), **changes}
    return kind(**{name: p.to(dtype) if isinstance(p, Tensor) else p for name, p in given.items()})


def lif(norse: Any, drive: Drive, b: float = BETA_SYN, **changes: Any) -> Run:
    cell = norse.LIFCell(parameters(norse.LIFParameters, drive.x.dtype, **changes))
    outputs, states = unrolled(cell, drive.x, norse.LIFFeedForwardState(v=drive.v, i=b * drive.i))
    return Run(torch.stack(outputs), stacked(states, "v"), stacked(states, "i") / b)


def lif_box(norse: Any, drive: Drive, **changes: Any) -> Run:
    cell = norse.LIFBoxCell(parameters(norse.LIFBoxParameters, drive.x.dtype, **changes))
    outputs, states = unrolled(cell, drive.x, norse.LIFBoxFeedForwardState(v=drive.v))
    return Run(torch.stack(outputs), stacked(states, "v"))


def li(norse: Any, drive: Drive, b: float = BETA_SYN, **changes: Any) -> Run:
    cell = norse.LICell(parameters(norse.LIParameters, drive.x.dtype, **changes))
    outputs, states = unrolled(cell, drive.x, norse.LIState(v=drive.v, i=b * drive.i))
    return Run(torch.stack(outputs), stacked(states, "v"), stacked(states, "i") / b)


def test_norse_lif(norse: Any, dtype: torch.dtype) -> None:
    drive = noise(dtype, 0.2, 0.8)
    assert_agree("norse_lif", run(build("norse_lif", dtype, surrogate=ALPHA_1), drive), lif(norse, drive), drive)


def test_norse_lif_box(norse: Any, dtype: torch.dtype) -> None:
    drive = noise(dtype, 0.6, 2.0)
    assert_agree(
        "norse_lif_box", run(build("norse_lif_box", dtype, surrogate=ALPHA_1), drive), lif_box(norse, drive), drive
    )


def test_norse_lif_box_with_reset_by_subtraction(norse: Any, dtype: torch.dtype) -> None:
    drive = noise(dtype, 0.6, 2.0)
    theirs = lif_box(norse, drive, reset_method=library("norse.torch.functional.reset").reset_subtract)
    ours = run(build("norse_lif_box", dtype, surrogate=ALPHA_1, reset="subtract"), drive)
    assert_agree("norse_lif_box reset_subtract", ours, theirs, drive)


def test_norse_li(norse: Any, dtype: torch.dtype) -> None:
    drive = noise(dtype, 0.2, 0.8)
    assert_agree("norse_li", run(build("norse_li", dtype), drive), li(norse, drive), drive, spiking=False)


def test_norse_leaves_neurons_at_the_threshold_silent(norse: Any) -> None:
    drive = dyadic()
    two_steps = torch.tensor(500.0)
    theirs = lif(norse, drive, b=0.5, tau_mem_inv=two_steps, tau_syn_inv=two_steps)
    assert_agree_on_ties("norse_lif", theirs, drive, tau_mem="2 steps", tau_syn="2 steps")
    assert_agree_on_ties("norse_lif_box", lif_box(norse, drive, tau_mem_inv=two_steps), drive, tau_mem="2 steps")


def test_norse_1_1_ignores_alpha(norse: Any) -> None:
    gradients = []
    for alpha in (1.0, 100.0):
        # After one step v = x / 10, which lies 0.1 below the threshold.
        x = torch.tensor(9.0, requires_grad=True)
        cell = norse.LIFCell(parameters(norse.LIFParameters, x.dtype, alpha=torch.tensor(alpha)))
        y, _ = cell(x, norse.LIFFeedForwardState(v=torch.tensor(0.0), i=torch.tensor(0.0)))
        gradients.append(10 * torch.autograd.grad(y, x)[0].item())
    honest = [1 / (1 + alpha * 0.1) ** 2 for alpha in (1.0, 100.0)]
    assert gradients == [pytest.approx(honest[0])] * 2
    assert gradients[1] > 99 * honest[1]


def superspike(distance: Tensor, alpha: float = 100.0) -> Tensor:
    """Return the spikes of Norse's formula, with ds/du = 1 / (1 + alpha |u - v_threshold|)^2."""
    smooth = distance / (1 + alpha * distance.abs())
    return (distance > 0).to(distance.dtype) + (smooth - smooth.detach())


def formula(drive: Drive, *, b: float = 0.0, w_rec: Tensor | None = None, x: Tensor | None = None) -> Run:
    """Return what Norse's equations give, written as a loop; without a synapse where b is 0."""
    v, i, s = drive.v, drive.i, torch.zeros_like(drive.v)
    outputs, membranes = [], []
    for x_t in drive.x if x is None else x:
        feedback = 0.0 if w_rec is None else functional.linear(s, w_rec)
        i = x_t + (b * i if b else 0.0) + feedback
        u = v + (i - v) / 10
        s = superspike(u - 1)
        v = (1 - (s if w_rec is None else s.detach())) * u
        outputs.append(s)
        membranes.append(v)
    return Run(torch.stack(outputs), torch.stack(membranes))


@pytest.mark.long
def test_norse_lif_has_the_gradient_of_norses_formula() -> None:
    drive = noise(torch.float64, 0.2, 0.8)
    assert_agree(
        "norse_lif by formula", run(build("norse_lif", torch.float64), drive), formula(drive, b=BETA_SYN), drive
    )


@pytest.mark.slow
def test_norse_lif_box_has_the_gradient_of_norses_formula() -> None:
    drive = noise(torch.float64, 0.6, 2.0)
    assert_agree("norse_lif_box by formula", run(build("norse_lif_box", torch.float64), drive), formula(drive), drive)


class Layer(NamedTuple):
    """Our recurrent layer: a linear layer without bias, then the neurons."""

    front: nn.Linear
    neuron: Any

    @property
    def learned(self) -> tuple[Tensor, Tensor]:
        """The weights, of the input and of the feedback."""
        return self.front.weight, self.neuron.feedback.weight

    def run(self, drive: Drive) -> Run:
        """Return the run of our layer."""
        return run(self.neuron, drive, self.front(drive.x), self.learned)


@pytest.fixture
def layer(dtype: torch.dtype) -> Layer:
    """Return 100 neurons with 20 inputs, with the gradient of Norse 1.1."""
    return Layer(
        nn.Linear(20, 100, bias=False).to(dtype), build("norse_lif_recurrent", dtype, (100,), surrogate=ALPHA_1)
    )


def recurrent_drive(dtype: torch.dtype) -> Drive:
    drive = noise(dtype, 0.0, 1.0)
    return drive._replace(x=(2.0 * torch.randn(*drive.x.shape[:2], 20, dtype=dtype) + 0.5).requires_grad_())


def lif_recurrent(norse: Any, layer: Layer, drive: Drive) -> Run:
    w_rec = nn.Parameter(layer.neuron.feedback.weight.detach().clone())
    p = parameters(norse.LIFParameters, drive.x.dtype)
    cell = norse.LIFRecurrentCell(20, 100, p, input_weights=layer.front.weight, recurrent_weights=w_rec)
    start = norse.LIFState(z=torch.zeros_like(drive.v), v=drive.v, i=BETA_SYN * drive.i)
    outputs, states = unrolled(cell, drive.x, start)
    learned = (layer.front.weight, w_rec)
    return Run(torch.stack(outputs), stacked(states, "v"), stacked(states, "i") / BETA_SYN, learned)


def test_norse_lif_recurrent(norse: Any, dtype: torch.dtype, layer: Layer) -> None:
    drive = recurrent_drive(dtype)
    assert_agree("norse_lif_recurrent", layer.run(drive), lif_recurrent(norse, layer, drive), drive, coupled=True)


@pytest.mark.parametrize("dtype", [(torch.float64, 1)], indirect=True, ids=["small"])
def test_norse_lif_recurrent_has_the_gradient_of_norses_formula(dtype: torch.dtype, layer: Layer) -> None:
    drive = recurrent_drive(dtype)
    ours = layer._replace(neuron=build("norse_lif_recurrent", dtype, (100,)))
    x = functional.linear(drive.x, ours.front.weight)
    without = 1 - torch.eye(100, dtype=dtype)
    theirs = formula(drive, b=BETA_SYN, w_rec=ours.learned[1] * without, x=x)._replace(learned=ours.learned)
    assert_agree("norse_lif_recurrent by formula", ours.run(drive), theirs, drive, coupled=True)


def test_norse_lif_recurrent_starts_with_norses_weights(norse: Any) -> None:
    theirs = norse.LIFRecurrentCell(20, 300).recurrent_weights.detach()
    ours = build("norse_lif_recurrent", torch.float32, (300,)).feedback.weight.detach()
    assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.03)
    assert not theirs.diagonal().any()
    assert not ours.diagonal().any()
