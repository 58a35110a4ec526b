"""Recurrent neurons in rendered steps, against the plain loop.

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from equality import with_compiled
from loop_layers import DIALECTS, KINDS, RESETS, SHAPES, recurrent as build
from loops import SURROGATES, assert_equals_loop, drive, nonzero_state, outcome
from torch import Tensor

from snnlab import threads
from snnlab.errors import ConfigError, SnnlabError
from snnlab.kernels import recurrent_loops
from snnlab.nn import NEURONS
from snnlab.nn.neurons.recurrent import DenseFeedback, Recurrent

from ..marks import mostly_long
from ..refusals import assert_raises

T, B = 13, 4
LENGTHS = torch.tensor([0, 1, T, 6])


def runs_rendered_steps(rec: Recurrent, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Return whether rendered steps run it."""
    called: list[bool] = []
    real = recurrent_loops.run
    with monkeypatch.context() as patch:
        patch.setattr(recurrent_loops, "run", lambda *given, **more: called.append(True) or real(*given, **more))
        rec(x)
    return bool(called)


# Each dialect with one feedback, number of learned values, precision and surrogate gradient, so that all pairs meet.
CASES = [
    pytest.param(
        *dialect, list(SHAPES)[at % 2], ("", "neuron")[at // 2 % 2], at % 4, id=f"{'-'.join(map(str, dialect))}"
    )
    for at, dialect in enumerate(DIALECTS)
]


@pytest.mark.parametrize(
    ("kind", "reset", "detach", "feedback", "per", "choice"), with_compiled(mostly_long(CASES, 25), 2, 3)
)
def test_it_equals_the_plain_loop(kind: str, reset: str, detach: bool, feedback: str, per: str, choice: int) -> None:
    dtype, surrogate = (torch.float32, torch.float64)[choice % 2], list(SURROGATES.values())[choice]
    rec = build(kind, feedback, per=per, detach_reset=detach, surrogate=surrogate, **RESETS[reset])
    rec, x = rec.to(dtype), drive(T, B, *SHAPES[feedback], dtype=dtype)
    assert outcome(rec, "reference", x).outputs["y"].any()
    assert_equals_loop(rec, x, nonzero_state(rec, x), LENGTHS)
    assert_equals_loop(rec, x)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_it_equals_it_with_every_feedback(kind: str, bias: bool) -> None:
    feedback = list(SHAPES)[(list(KINDS).index(kind) + bias) % 2]
    rec = build(kind, feedback, per="layer", recurrent={"autapses": kind.startswith("cuba") == bias, "bias": bias})
    x = drive(T, B, *SHAPES[feedback])
    assert_equals_loop(rec, x, nonzero_state(rec, x), LENGTHS)


SIZES = [
    ("dense", (1, 2, 1)),
    ("dense", (3, 0, 5)),
    ("dense", (5, 2, 1031)),
    ("dense", (5, 3, 2, 3, 2)),
    ("conv", (5, 2, 3, 9)),
    ("conv", (2, 1, 2, 3, 4, 2)),
]


@pytest.mark.parametrize(("feedback", "shape"), SIZES)
def test_every_size_runs(feedback: str, shape: tuple[int, ...]) -> None:
    rec, x = build(list(KINDS)[SIZES.index((feedback, shape))], feedback, shape[2:]), drive(*shape)
    assert_equals_loop(rec, x, nonzero_state(rec, x))


@pytest.mark.parametrize(("kind", "feedback"), [("cuba_jump", "dense"), ("alif", "conv")])
def test_memory_with_channels_last_is_kept(kind: str, feedback: str) -> None:
    rec = build(kind, feedback, SHAPES["conv"], "channel")
    x = drive(T, B, *SHAPES["conv"]).flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, (T, B))
    assert_equals_loop(rec, x, lengths=LENGTHS)
    assert rec(x)[0].flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("cuba_decay", {"through": "y"}),
        ("alif", {"through": "state.s"}),
        ("li", {"through": "state.neuron"}),
        ("alif", {"through": "counts"}),
        ("alif", {"asks": "x"}),
        ("cuba_decay", {"asks": "feedback"}),
        ("li", {"asks": "feedback.bias"}),
        ("alif", {"asks": "neuron"}),
        ("cuba_decay", {"asks": "state.s"}),
        ("alif", {"asks": "state.neuron"}),
        ("cuba_decay", {"count": False}),
    ],
    ids=str,
)
def test_any_output_passes_a_gradient_and_any_input_takes_one(kind: str, options: dict[str, Any]) -> None:
    rec, x = build(kind, per="neuron", recurrent={"bias": True}), drive(T, B, 7)
    assert_equals_loop(rec, x, nonzero_state(rec, x), LENGTHS, **options)


@pytest.mark.parametrize("frozen", ["weight", "all"])
def test_a_feedback_that_is_not_learned_takes_no_gradient(frozen: str) -> None:
    rec, x = build(recurrent={"bias": True}, per="layer"), drive(T, B, 7)
    for name, parameter in rec.named_parameters():
        parameter.requires_grad_(frozen == "weight" and name != "feedback.weight")
    y, _ = rec(x)
    assert y.requires_grad == (frozen == "weight")
    if frozen == "weight":
        y.sum().backward()
        assert rec.feedback.weight.grad is None
        assert rec.feedback.bias is not None
        assert rec.feedback.bias.grad is not None
    check_frozen = drive(T, B, 7).requires_grad_()
    rec(check_frozen)[0].sum().backward()
    found = check_frozen.grad
    rec.neuron.backend = "reference"  # type: ignore[assignment]
    again = drive(T, B, 7).requires_grad_()
    rec(again)[0].sum().backward()
    assert found is not None
    assert again.grad is not None
    torch.testing.assert_close(found, again.grad, rtol=0, atol=1e-4 * float(again.grad.abs().max()))


@pytest.mark.parametrize(("kind", "feedback"), [("cuba_decay", "dense"), ("alif", "conv")])
def test_without_gradients_the_outputs_are_the_same(kind: str, feedback: str) -> None:
    rec, x = build(kind, feedback), drive(T, B, *SHAPES[feedback])
    with_graph = outcome(rec, "numba", x, lengths=LENGTHS).outputs
    with torch.no_grad():
        y, state = rec(x, lengths=LENGTHS)
    assert not y.requires_grad
    assert torch.equal(y, with_graph["y"])
    assert torch.equal(state.s, with_graph["state.s"])
    assert torch.equal(state.neuron.v, with_graph["state.neuron.v"])


@pytest.mark.long
@pytest.mark.compiled
def test_the_number_of_threads_of_the_steps_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rec, x = build("alif", per="neuron"), drive(T, B, 7)
    alone = outcome(rec, "numba", x)
    monkeypatch.setattr(threads, "MIN_VALUES", 0)
    torch.set_num_threads(2)
    shared = outcome(rec, "numba", x)
    for one, other in zip(alone, shared, strict=True):
        assert all(torch.equal(part, other[name]) for name, part in one.items())


@pytest.mark.parametrize(
    ("feedback", "reset", "surrogate"), [("dense", "late_value", "Atan"), ("conv", "subtract", "Triangle")]
)
def test_a_second_backward_pass_gives_the_same(feedback: str, reset: str, surrogate: str) -> None:
    rec = build("cuba_decay", feedback, per="neuron", surrogate=SURROGATES[surrogate], **RESETS[reset])
    x = drive(T, B, *SHAPES[feedback]).requires_grad_()
    loss = rec(x, lengths=LENGTHS)[0].square().sum()
    inputs = [x, *(p for name, p in rec.named_parameters() if "v_leak" not in name)]
    first = torch.autograd.grad(loss, inputs, retain_graph=True)
    for one, other in zip(first, torch.autograd.grad(loss, inputs), strict=True):
        assert torch.equal(one, other)


def test_a_second_derivative_is_refused() -> None:
    x = drive(T, B, 7).requires_grad_()
    with assert_raises(SnnlabError, "", "reference"):
        torch.autograd.grad(build()(x)[0].sum(), x, create_graph=True)


def test_changes_of_saved_spikes_are_detected() -> None:
    y, _ = build()(drive(T, B, 7))
    with torch.no_grad():
        y.mul_(2.0)
    with assert_raises(RuntimeError, "operation"):
        y.sum().backward()


def test_spikes_that_are_not_saved_may_be_changed_in_place() -> None:
    def gradient(change: Callable[[Tensor], Tensor]) -> Tensor:
        x = drive(T, B, 7).requires_grad_()
        change(build().requires_grad_(False)(x)[0]).sum().backward()
        assert x.grad is not None
        return x.grad

    assert torch.equal(gradient(lambda y: y.mul_(2.0)), gradient(lambda y: y.mul(2.0)))


def test_a_hook_on_the_feedback_takes_the_plain_loop_and_is_called_at_each_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rec, x, seen = build(), drive(T, B, 7), []
    assert runs_rendered_steps(rec, x, monkeypatch)
    expected = rec(x)[0]
    hook = rec.feedback.register_forward_hook(lambda *_: seen.append(True))
    assert not runs_rendered_steps(rec, x, monkeypatch)
    assert len(seen) == T
    assert torch.equal(rec(x)[0], expected)
    hook.remove()
    assert runs_rendered_steps(rec, x, monkeypatch)


def test_a_user_defined_feedback_takes_the_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    class Doubled(DenseFeedback):
        def forward(self, s: Tensor, weights: Any) -> Tensor:
            return 2.0 * super().forward(s, weights)

    rec, x = Recurrent(build().neuron, Doubled((7,))), drive(T, B, 7)
    assert not runs_rendered_steps(rec, x, monkeypatch)
    assert_equals_loop(rec, x, backend="auto")
    rec.backend = rec.neuron.backend = "numba"
    with assert_raises(ConfigError, "backend", "feedback"):
        rec(x)


def test_other_neurons_take_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    rec, x = NEURONS.build("adlif", {"recurrent": True}, "n", in_shape=(7,), dt=1.0), drive(T, B, 7)
    assert runs_rendered_steps(rec, x, monkeypatch)
    assert_equals_loop(rec, x, nonzero_state(rec, x), LENGTHS)


@pytest.mark.parametrize(("kind", "part"), [("cuba_jump", "i"), ("alif", "w"), ("lif", "v")])
def test_a_state_of_another_precision_or_shape_is_refused(kind: str, part: str) -> None:
    rec, x = build(kind), drive(T, B, 7)
    state = rec.initial_state(x[0])
    for wrong in (torch.zeros(B, 7, dtype=torch.float64), torch.zeros(1, 7)):
        for given, name in (
            (state._replace(neuron=state.neuron._replace(**{part: wrong})), part),
            (state._replace(s=wrong), "s"),
        ):
            with pytest.raises(ValueError, match=rf"state {name}\b.*torch\.float32"):
                rec(x, given)
