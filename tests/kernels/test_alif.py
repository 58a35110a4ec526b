"""The rendered loops of the neuron with an adaptive threshold, against the plain loop.

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from loop_layers import ALIF_RESETS as RESETS, alif as build
from loops import SURROGATES, assert_equals_loop, drive, nonzero_state, outcome
from torch import Tensor

from snnlab import threads
from snnlab.errors import SnnlabError
from snnlab.nn.neurons import ALIFState

from ..refusals import assert_raises

T, B = 17, 4
LENGTHS = torch.tensor([0, 1, T, 8])


PER, DTYPES = ("", "layer", "channel", "neuron"), (torch.float32, torch.float64)
CHOICES = [*itertools.product(RESETS, [True, False], PER, DTYPES)]
SETTINGS = [*itertools.product(SURROGATES, ["inclusive", "strict"], [1.0, 0.7, "1-a", "average"])]


@pytest.mark.parametrize(("reset", "detach", "per", "dtype"), CHOICES, ids=str)
def test_it_equals_the_plain_loop(reset: str, detach: bool, per: str, dtype: torch.dtype) -> None:
    # Two settings each, so that every reset has all of them.
    group, number = divmod(CHOICES.index((reset, detach, per, dtype)), 16)
    assert_equals_with(SETTINGS[(number + 5 * group) % 16 :: 16], reset, detach, per, dtype)


@pytest.mark.slow
@pytest.mark.parametrize(("reset", "detach", "per", "dtype"), CHOICES, ids=str)
def test_it_equals_the_plain_loop_with_all_settings(reset: str, detach: bool, per: str, dtype: torch.dtype) -> None:
    assert_equals_with(SETTINGS, reset, detach, per, dtype)


def assert_equals_with(
    settings: list[tuple[str, str, Any]], reset: str, detach: bool, per: str, dtype: torch.dtype
) -> None:
    """Compare it with the plain loop for surrogate gradients, thresholds and gains."""
    for surrogate, threshold, gain in settings:
        neuron = build(
            reset,
            per=per,
            detach_reset=detach,
            surrogate=SURROGATES[surrogate],
            threshold=threshold,
            input_gain=gain,
        )
        x = drive(T, B, 7, dtype=dtype) * (3.0 if gain == "1-a" else 1.0)
        assert outcome(neuron, "reference", x).outputs["y"].any()
        assert_equals_loop(neuron, x, nonzero_state(neuron, x), LENGTHS)
        assert_equals_loop(neuron, x)


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("per", ["", "neuron"])
@pytest.mark.parametrize(
    "shape",
    [(1, 3, 1), (T, 2, 1025), (5, 0, 6), (5, 4), (5, 4, 3, 5, 7), (2, 1, 2049)],
    ids=lambda s: "x".join(map(str, s)),
)
def test_every_size_runs(shape: tuple[int, ...], per: str, reset: str, detach: bool) -> None:
    own = "layer" if per and not shape[2:] else per
    neuron, x = build(reset, shape[2:], own, detach_reset=detach), drive(*shape)
    assert_equals_loop(neuron, x, nonzero_state(neuron, x))


@pytest.mark.parametrize("reset", RESETS)
def test_memory_with_channels_last_is_kept(reset: str) -> None:
    neuron = build(reset, (2, 5, 3), "neuron", detach_reset=False)
    x = drive(T, B, 2, 5, 3).flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, (T, B))
    assert_equals_loop(neuron, x, lengths=LENGTHS)
    y, _ = neuron(x)
    assert y.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("per", ["", "channel"])
def test_a_layer_with_some_adaptive_neurons_equals_the_plain_loop(per: str) -> None:
    neuron = build("adapted", per=per, adaptive=3, in_shape=(7,), detach_reset=False)
    x = drive(T, B, 7)
    assert_equals_loop(neuron, x, nonzero_state(neuron, x), LENGTHS)


def test_an_input_with_gaps_in_memory_runs() -> None:
    assert_equals_loop(build(), drive(T, B, 14)[..., ::2], lengths=LENGTHS)


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize(
    "options",
    [
        {"through": "y"},
        {"through": "state.v"},
        {"through": "state.w"},
        {"through": "counts"},
        {"asks": "x"},
        {"asks": "learned"},
        {"asks": "state"},
        {"count": False},
    ],
    ids=str,
)
def test_any_output_passes_a_gradient_and_any_input_takes_one(reset: str, options: dict[str, Any]) -> None:
    neuron, x = build(reset, per="neuron", detach_reset=False), drive(T, B, 7, dtype=torch.float64)
    assert_equals_loop(neuron, x, nonzero_state(neuron, x), LENGTHS, **options)


@pytest.mark.parametrize("reset", RESETS)
def test_without_gradients_the_outputs_are_the_same(reset: str) -> None:
    neuron, x = build(reset), drive(T, B, 7)
    with_graph = outcome(neuron, "numba", x, lengths=LENGTHS).outputs
    with torch.no_grad():
        y, (v, w) = neuron(x, lengths=LENGTHS)
    for part, name in ((y, "y"), (v, "state.v"), (w, "state.w")):
        assert not part.requires_grad
        assert torch.equal(part, with_graph[name])


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("per", ["", "neuron"])
def test_the_number_of_threads_changes_nothing(count: int, per: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "MIN_VALUES", 0)
    neuron, x = build("adapted", (1500,), per, detach_reset=False), drive(T, 3, 1500)
    alone = outcome(neuron, "numba", x)
    torch.set_num_threads(count)
    shared = outcome(neuron, "numba", x)
    for one, other in zip(alone, shared, strict=True):
        assert all(torch.equal(part, other[name]) for name, part in one.items())


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("reset", RESETS)
def test_a_second_backward_pass_gives_the_same(reset: str, surrogate: str) -> None:
    neuron = build(reset, per="neuron", detach_reset=False, surrogate=SURROGATES[surrogate])
    x = drive(T, B, 7).requires_grad_()
    loss = neuron(x, lengths=LENGTHS)[0].square().sum()
    inputs = [x, *neuron.parameters()]
    first = torch.autograd.grad(loss, inputs, retain_graph=True)
    for one, other in zip(first, torch.autograd.grad(loss, inputs), strict=True):
        assert one.any()
        assert torch.equal(one, other)


def test_a_second_derivative_is_refused() -> None:
    x = drive(T, B, 7).requires_grad_()
    with assert_raises(SnnlabError, "", "derivatives"):
        torch.autograd.grad(build()(x)[0].sum(), x, create_graph=True)


def test_its_spikes_may_be_changed_in_place() -> None:
    def gradient(change: Callable[[Tensor], Tensor]) -> Tensor:
        x = drive(T, B, 7).requires_grad_()
        change(build()(x)[0]).sum().backward()
        assert x.grad is not None
        return x.grad

    assert torch.equal(gradient(lambda y: y.mul_(2.0)), gradient(lambda y: y.mul(2.0)))


@pytest.mark.parametrize("change", ["x"])
def test_changes_of_saved_tensors_are_detected(change: str) -> None:
    neuron = build("adapted", per="neuron", input_gain="1-a")
    x = drive(T, B, 7).requires_grad_() * 1.0
    y, _ = neuron(x)
    loss = y.sum()
    with torch.no_grad():
        {"x": x, "y": y}[change].mul_(2.0)
    with assert_raises(RuntimeError, "operation"):
        loss.backward()


@pytest.mark.parametrize("part", ["v", "w"])
def test_a_state_of_another_precision_or_shape_is_refused(part: str) -> None:
    neuron, x = build(), drive(T, B, 7)
    for wrong in (torch.zeros(B, 7, dtype=torch.float64), torch.zeros(1, 7)):
        state = ALIFState(torch.zeros(B, 7), torch.zeros(B, 7))._replace(**{part: wrong})
        with pytest.raises(ValueError, match=rf"state {part}\b.*torch\.float32"):
            neuron(x, state)


def test_lengths_that_are_not_those_of_the_samples_are_refused() -> None:
    with assert_raises(ValueError, 4):
        build()(drive(T, B, 7), lengths=torch.tensor([4, 5]))
