"""The masked parallel spiking neuron, in pieces, and against SpikingJelly."""

from __future__ import annotations

import pytest
import torch

from snnlab.errors import ConfigError
from snnlab.nn.neurons.masked_psn import MaskedPSN

from ...refusals import assert_raises
from .agreement import BOTH, assert_agrees, noise, preset

T, B = 7, 3


def neuron(order: int = 3, masking: float = 1.0) -> MaskedPSN:
    torch.manual_seed(1)
    return MaskedPSN(num_steps=T, order=order, masking=masking).double()


def drive() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(T, B, 4, 5, dtype=torch.float64) * 5


def test_a_step_sees_the_last_ones_alone() -> None:
    x = drive().requires_grad_()
    weight = neuron().masked_weight()
    assert (weight != 0).sum(1).tolist() == [1, 2, 3, 3, 3, 3, 3]
    y, _ = neuron()(x)
    (gradient,) = torch.autograd.grad(y[4].sum(), x)
    assert gradient.flatten(1).any(1).tolist() == [False, False, True, True, True, False, False]


@pytest.mark.parametrize("order", [1, 3, 9])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_in_evaluation_pieces_equal_the_whole(order: int, size: int) -> None:
    one, x = neuron(order).eval(), drive()
    whole, last = one(x)
    outputs, state = [], one.initial_state(x[0])
    for chunk in x.split(size):
        y, state = one(chunk, state)
        outputs.append(y)
    assert whole.any()
    assert torch.equal(torch.cat(outputs), whole)
    assert all(torch.equal(a, b) for a, b in zip(state, last, strict=True))


def test_a_sample_that_ended_earlier_goes_on_at_its_own_step() -> None:
    one, x = neuron().eval(), drive()
    _, state = one(x[:4], lengths=torch.tensor([4, 2, 0]))
    assert state.step.tolist() == [4, 2, 0]
    y, state = one(x[4:6], state)
    for b, n in enumerate([4, 2, 0]):
        joined = torch.cat([x[:n, b : b + 1], x[4:6, b : b + 1]])
        assert torch.equal(y[:, b : b + 1], one(joined)[0][n:])


@pytest.mark.parametrize(("masking", "training"), [(1.0, True), (0.5, False)])
def test_pieces_are_refused_in_training_and_where_a_step_sees_later_ones(masking: float, training: bool) -> None:
    with assert_raises(ConfigError, "", "masked_psn", T, 2):
        neuron(masking=masking).train(training)(drive()[:2])


def test_more_steps_than_it_was_built_for_are_refused() -> None:
    one = neuron().eval()
    _, state = one(drive())
    with assert_raises(ConfigError, "", T, T + 1):
        one(drive()[:1], state)


@pytest.mark.peers
@BOTH
@pytest.mark.parametrize("masking", [0.0, 0.3, 1.0])
def test_it_is_spikingjellys_masked_psn(dtype: torch.dtype, batch: int, masking: float) -> None:
    library = pytest.importorskip("spikingjelly.activation_based.neuron")
    surrogate = pytest.importorskip("spikingjelly.activation_based.surrogate")
    theirs = library.MaskedPSN(8, 200, masking, surrogate.ATan(), step_mode="m").to(dtype)
    ours = preset("masked_psn", dtype, masking=masking)
    with torch.no_grad():
        ours.weight.copy_(theirs.weight)
        scale = 5.0  # a band of 8 weights alone is weak
        ours.weight.mul_(scale)
        theirs.weight.mul_(scale)
    pairs = [(ours.weight, theirs.weight), (ours.bias, theirs.bias)]
    assert_agrees(
        ours, lambda x: (theirs(x), ()), noise(dtype, batch, 0.0, 2.0), learned=pairs, state_fields=(), fused=False
    )
