"""Recurrent neurons by Triton kernels, a launch a step, against the plain loop.

They run in Triton's interpreter, on the CPU, and compiled where there is a GPU.

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from interpreter import DEVICE, GPU, interpreted, triton_cells, triton_recurrent
from loop_layers import DIALECTS, KINDS, RESETS, SHAPES, SPIKING, recurrent
from loops import SURROGATES, drive, outcome, started
from loops import check as check_loops
from snnlab.nn.kernels import ops
from torch import Tensor

from snnlab.errors import SnnlabError
from snnlab.nn import NEURONS
from snnlab.nn.neurons.recurrent import Recurrent

T, B = 5, 3
LENGTHS = torch.tensor([0, T, 2])
check = partial(check_loops, backend="triton")


def build(*given: Any, **settings: Any) -> Recurrent:
    rec = recurrent(*given, **settings)
    rec.neuron.backend = "triton"  # type: ignore[assignment]
    return rec


@pytest.fixture(autouse=True)
def _on_any_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the backend triton be chosen where there is no GPU, too."""
    if not GPU:
        monkeypatch.setattr(ops, "resolve", lambda backend, *_: backend)


@interpreted
@pytest.mark.parametrize("per", ["", "neuron"])
@pytest.mark.parametrize("feedback", SHAPES)
@pytest.mark.parametrize(("kind", "reset", "detach"), DIALECTS)
def test_it_equals_the_plain_loop(kind: str, reset: str, detach: bool, feedback: str, per: str) -> None:
    # Two bells here, and two where the feedback or what learns is another.
    dtypes, other = (torch.float32, torch.float32, torch.float64, torch.float64), (feedback == "conv") ^ (per == "")
    for dtype, surrogate in list(zip(dtypes, SURROGATES.values(), strict=True))[other::2]:
        rec = build(kind, feedback, per=per, detach_reset=detach, surrogate=surrogate, **RESETS[reset])
        rec, x = rec.to(dtype), drive(T, B, *SHAPES[feedback], dtype=dtype) * 1.5
        assert outcome(rec, "reference", x).outputs["y"].any()
        check(rec, x, started(rec, x), LENGTHS)


@interpreted
@pytest.mark.parametrize(("kind", "reset"), [("cuba_jump", "late_value"), ("alif", "adapted"), ("li", "")])
def test_it_equals_it_from_rest_and_without_lengths(kind: str, reset: str) -> None:
    rec, x = build(kind, per="layer", **RESETS.get(reset, {})), drive(T, B, 7)
    check(rec, x)


@interpreted
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("autapses", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_it_equals_it_with_every_feedback(kind: str, autapses: bool, bias: bool) -> None:
    rec = build(kind, per="layer", recurrent={"autapses": autapses, "bias": bias})
    x = drive(T, B, 7)
    check(rec, x, started(rec, x), LENGTHS)


@interpreted
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("feedback", "shape"), [("dense", (1, 2, 1)), ("dense", (3, 0, 5)), ("dense", (3, 2, 300)), ("conv", (5, 2, 3, 9))]
)
def test_every_size_runs(kind: str, feedback: str, shape: tuple[int, ...]) -> None:
    rec, x = build(kind, feedback, shape[2:]), drive(*shape)
    check(rec, x, started(rec, x))


@interpreted
@pytest.mark.parametrize("kind", KINDS)
def test_memory_with_channels_last_is_kept(kind: str) -> None:
    rec = build(kind, "conv", per="channel")
    x = drive(T, B, *SHAPES["conv"]).flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, (T, B))
    check(rec, x, lengths=LENGTHS)
    assert rec(x)[0].flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


@interpreted
def test_an_input_with_gaps_in_memory_runs() -> None:
    check(build(), drive(T, B, 14)[..., ::2], lengths=LENGTHS)


@interpreted
@pytest.mark.parametrize("kind", ["cuba_decay", "alif", "li"])
@pytest.mark.parametrize(
    "options",
    [
        {"through": "y"},
        {"through": "state.s"},
        {"through": "state.neuron"},
        {"asks": "x"},
        {"asks": "feedback"},
        {"asks": "neuron"},
        {"asks": "state.s"},
        {"asks": "state.neuron"},
        {"count": False},
    ],
    ids=str,
)
def test_any_output_passes_a_gradient_and_any_input_takes_one(kind: str, options: dict[str, Any]) -> None:
    rec, x = build(kind, per="neuron", recurrent={"bias": True}), drive(T, B, 7)
    check(rec, x, started(rec, x), LENGTHS, **options)


@interpreted
@pytest.mark.parametrize("kind", SPIKING)
def test_counts_pass_gradients(kind: str) -> None:
    rec, x = build(kind), drive(T, B, 7)
    check(rec, x, started(rec, x), LENGTHS, through="counts")


@interpreted
@pytest.mark.parametrize("kind", KINDS)
def test_without_gradients_the_outputs_are_the_same(kind: str) -> None:
    rec, x = build(kind), drive(T, B, 7)
    with_graph = outcome(rec, "triton", x, lengths=LENGTHS).outputs
    with torch.no_grad():
        y, state = rec(x, lengths=LENGTHS)
    assert not y.requires_grad
    assert torch.equal(y, with_graph["y"])
    assert torch.equal(state.s, with_graph["state.s"])
    assert torch.equal(state.neuron.v, with_graph["state.neuron.v"])


@interpreted
@pytest.mark.parametrize("kind", ["cuba_jump", "alif"])
def test_a_step_is_one_launch_forward_and_one_back(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launches: list[str] = []
    real = triton_cells.launch
    monkeypatch.setattr(
        triton_cells, "launch", lambda kernel, *given, **parts: launches.append("") or real(kernel, *given, **parts)
    )
    loss = build(kind)(drive(T, B, 7).requires_grad_())[0].sum()
    assert len(launches) == T
    loss.backward()
    assert len(launches) == 2 * T


@interpreted
@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("reset", ["subtract", "late_value"])
def test_a_second_backward_pass_gives_the_same(reset: str, surrogate: str) -> None:
    rec = build("cuba_decay", per="neuron", surrogate=SURROGATES[surrogate], **RESETS[reset])
    x = drive(T, B, 7).requires_grad_()
    loss = rec(x, lengths=LENGTHS)[0].square().sum()
    inputs = [x, *(p for name, p in rec.named_parameters() if "v_leak" not in name)]
    first = torch.autograd.grad(loss, inputs, retain_graph=True)
    for one, other in zip(first, torch.autograd.grad(loss, inputs), strict=True):
        assert one.any()
        assert torch.equal(one, other)


@interpreted
def test_lengths_may_be_changed_before_the_way_back() -> None:
    def gradient(change: Callable[[Tensor], Tensor]) -> Tensor:
        x, lengths = drive(T, B, 7).requires_grad_(), LENGTHS.clone()
        loss = build()(x, lengths=lengths)[0].sum()
        change(lengths)
        return torch.autograd.grad(loss, x)[0]

    expected = gradient(lambda lengths: lengths)
    assert expected.any()
    assert torch.equal(gradient(lambda lengths: lengths.zero_()), expected)


@interpreted
@pytest.mark.parametrize("kind", ["lif", "alif"])
def test_a_second_derivative_is_refused(kind: str) -> None:
    x = drive(T, B, 7).requires_grad_()
    with pytest.raises(SnnlabError, match="set backend: reference for second derivatives"):
        torch.autograd.grad(build(kind)(x)[0].sum(), x, create_graph=True)


@interpreted
def test_spikes_that_the_way_back_needs_cannot_be_changed_unnoticed() -> None:
    y, _ = build()(drive(T, B, 7))
    with torch.no_grad():
        y.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@interpreted
def test_spikes_that_it_does_not_need_may_be_changed_in_place() -> None:
    def gradient(change: Callable[[Tensor], Tensor]) -> Tensor:
        x = drive(T, B, 7).requires_grad_()
        change(build().requires_grad_(False)(x)[0]).sum().backward()
        assert x.grad is not None
        return x.grad

    assert torch.equal(gradient(lambda y: y.mul_(2.0)), gradient(lambda y: y.mul(2.0)))


@interpreted
def test_neurons_without_kernels_and_a_hook_on_the_feedback_take_the_plain_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(triton_recurrent, "run", refuse)
    x = drive(T, B, 7)
    with pytest.raises(AssertionError):
        build()(x)
    hooked, other = build(), NEURONS.build("adlif", {"recurrent": True}, "n", in_shape=(7,), dt=1.0)
    other.neuron.backend = "triton"
    seen: list[bool] = []
    hooked.feedback.register_forward_hook(lambda *_: seen.append(True))
    for rec in (hooked, other):
        assert rec(x)[0].shape == x.shape
    assert len(seen) == T


@interpreted
@pytest.mark.parametrize(("kind", "part"), [("cuba_jump", "i"), ("alif", "w"), ("lif", "v")])
def test_a_state_of_another_precision_or_shape_is_refused(kind: str, part: str) -> None:
    rec, x = build(kind), drive(T, B, 7)
    state = rec.initial_state(x[0])
    for wrong in (torch.zeros(B, 7, dtype=torch.float64), torch.zeros(1, 7)):
        given = state._replace(neuron=state.neuron._replace(**{part: wrong}))
        with pytest.raises(ValueError, match=f"the state {part} has to be as a step of x, torch.float32"):
            rec(x, given)


@interpreted
def test_lengths_that_are_not_those_of_the_samples_are_refused() -> None:
    with pytest.raises(ValueError, match=r"lengths have to be whole numbers of shape \(3,\)"):
        build()(drive(T, B, 7), lengths=torch.tensor([4, 5]))


@pytest.mark.gpu
@pytest.mark.parametrize("per", ["", "neuron"])
@pytest.mark.parametrize(("kind", "reset", "detach"), DIALECTS)
def test_compiled_it_equals_the_plain_loop(kind: str, reset: str, detach: bool, per: str) -> None:
    for dtype, surrogate in zip((torch.float32, torch.float64) * 2, SURROGATES.values(), strict=True):
        rec = build(kind, shape=(37,), per=per, detach_reset=detach, surrogate=surrogate, **RESETS[reset])
        rec, x = rec.to(DEVICE, dtype), drive(13, B, 37, dtype=dtype).to(DEVICE)
        check(rec, x, started(rec, x), torch.tensor([0, 13, 6]))
        check(rec, x)
