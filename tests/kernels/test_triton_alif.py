"""The Triton kernels of the neuron with an adaptive threshold, against the plain loop.

They run in Triton's interpreter, on the CPU, and compiled where there is a GPU.

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from interpreter import DEVICE, GPU, interpreted, triton_alif, triton_cells
from loop_layers import ALIF_RESETS, alif
from loops import SURROGATES, drive, outcome, started
from loops import check as check_loops
from snnlab.nn.kernels import ops
from torch import Tensor

from snnlab.errors import SnnlabError
from snnlab.nn.neurons import ALIF, ALIFState
from snnlab.nn.neurons.spiking import Threshold

T, B = 7, 4
LENGTHS = torch.tensor([0, 1, T, 4])
check = partial(check_loops, backend="triton")


def build(reset: str = "subtract", *given: Any, backend: Any = "auto", **settings: Any) -> Any:
    neuron = alif(reset, *given, **settings)
    neuron.backend = backend
    return neuron


@pytest.fixture(autouse=True)
def _on_any_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the backend triton be chosen where there is no GPU, too."""
    if not GPU:
        monkeypatch.setattr(ops, "resolve", lambda backend, *_: backend)


def _choices() -> Iterator[Any]:
    """Yield all resets with all owners of learned numbers, and the other settings in turn."""
    others = itertools.cycle(itertools.product(SURROGATES, ["inclusive", "strict"], [1.0, "average", 0.7, "1-a"]))
    dtypes = itertools.cycle([torch.float32, torch.float32, torch.float64])
    for reset, detach, per in itertools.product(ALIF_RESETS, [True, False], ["", "layer", "channel", "neuron"]):
        surrogate, threshold, gain = next(itertools.islice(others, 2, None))  # each with each other in turn
        dialect = {"surrogate": SURROGATES[surrogate], "threshold": threshold, "input_gain": gain}
        own = {"reset": reset, "detach_reset": detach, "per": per}
        yield pytest.param(own | dialect, next(dtypes), id=f"{reset}-{detach}-{per}-{surrogate}-{threshold}-{gain}")


CHOICES = list(_choices())


@interpreted
@pytest.mark.parametrize(("settings", "dtype"), CHOICES)
def test_it_equals_the_plain_loop(settings: dict[str, Any], dtype: torch.dtype) -> None:
    neuron, x = build(**settings), drive(T, B, 7, dtype=dtype) * (3.0 if settings["input_gain"] == "1-a" else 1.5)
    assert outcome(neuron, "reference", x).outputs["y"].any()
    check(neuron, x, started(neuron, x), LENGTHS)
    check(neuron, x)


@interpreted
@pytest.mark.parametrize("reset", ALIF_RESETS)
@pytest.mark.parametrize("shape", [(1, 3, 1), (5, 2, 300), (5, 0, 6), (5, 4), (5, 3, 3, 5, 7)], ids=str)
def test_every_size_runs(shape: tuple[int, ...], reset: str) -> None:
    neuron, x = build(reset, shape[2:], "neuron" if shape[2:] else "layer", detach_reset=False), drive(*shape)
    check(neuron, x, started(neuron, x))


@interpreted
@pytest.mark.parametrize("reset", ALIF_RESETS)
def test_memory_with_channels_last_is_kept(reset: str) -> None:
    neuron = build(reset, (2, 5, 3), "neuron", detach_reset=False)
    x = drive(T, B, 2, 5, 3).flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, (T, B))
    check(neuron, x, started(neuron, x), LENGTHS)
    assert neuron(x)[0].flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


@interpreted
@pytest.mark.parametrize("per", ["", "channel"])
def test_a_layer_of_which_a_part_adapts_equals_the_plain_loop(per: str) -> None:
    neuron, x = build("adapted", per=per, adaptive=3, in_shape=(7,), detach_reset=False), drive(T, B, 7)
    check(neuron, x, started(neuron, x), LENGTHS)


@interpreted
def test_an_input_with_gaps_in_memory_runs() -> None:
    check(build(), drive(T, B, 14)[..., ::2], lengths=LENGTHS)


@interpreted
@pytest.mark.parametrize("reset", ALIF_RESETS)
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
    check(neuron, x, started(neuron, x), LENGTHS, **options)


@interpreted
def test_a_membrane_at_its_risen_threshold_spikes_only_where_that_is_inclusive() -> None:
    cases: list[tuple[Threshold, float]] = [("inclusive", 1.0), ("strict", 0.0)]
    for threshold, spikes in cases:
        neuron = ALIF(beta=0.5, rho=0.5, adaptation=0.5, v_threshold=1.0, threshold=threshold)
        neuron.backend = "triton"
        y, _ = neuron(torch.full((1, 1, 3), 1.5), ALIFState(torch.zeros(1, 3), torch.ones(1, 3)))
        assert y.eq(spikes).all()


@interpreted
def test_nothing_is_kept_where_no_gradient_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(triton_cells, "launch", lambda *_, **parts: given.update(parts))
    neuron = build("adapted", backend="triton")
    for enabled in (True, False):
        with torch.set_grad_enabled(enabled):
            neuron(drive(T, B, 7))
        assert given["y"] is not None
        assert given["gaps"] is given["vs"] is given["ws"] is given["count"] is None


@interpreted
@pytest.mark.parametrize("reset", ALIF_RESETS)
def test_without_gradients_the_outputs_are_the_same(reset: str) -> None:
    neuron, x = build(reset), drive(T, B, 7)
    with_graph = outcome(neuron, "triton", x, lengths=LENGTHS).outputs
    with torch.no_grad():
        y, (v, w) = neuron(x, lengths=LENGTHS)
    for part, name in ((y, "y"), (v, "state.v"), (w, "state.w")):
        assert not part.requires_grad
        assert torch.equal(part, with_graph[name])


@interpreted
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_a_second_backward_pass_gives_the_same(surrogate: str) -> None:
    neuron = build("value", per="neuron", detach_reset=False, surrogate=SURROGATES[surrogate], backend="triton")
    x = drive(T, B, 7).requires_grad_()
    loss = neuron(x, lengths=LENGTHS)[0].square().sum()
    inputs = [x, *neuron.parameters()]
    first = torch.autograd.grad(loss, inputs, retain_graph=True)
    for one, other in zip(first, torch.autograd.grad(loss, inputs), strict=True):
        assert one.any()
        assert torch.equal(one, other)


@interpreted
def test_lengths_may_be_changed_before_the_way_back() -> None:
    def gradient(change: Callable[[Tensor], Tensor]) -> Tensor:
        x, lengths = drive(T, B, 7).requires_grad_(), LENGTHS.clone()
        loss = build(backend="triton")(x, lengths=lengths)[0].sum()
        change(lengths)
        return torch.autograd.grad(loss, x)[0]

    expected = gradient(lambda lengths: lengths)
    assert expected.any()
    assert torch.equal(gradient(lambda lengths: lengths.zero_()), expected)


@interpreted
def test_a_second_derivative_is_refused() -> None:
    x = drive(T, B, 7).requires_grad_()
    with pytest.raises(SnnlabError, match="set backend: reference for second derivatives"):
        torch.autograd.grad(build(backend="triton")(x)[0].sum(), x, create_graph=True)


@interpreted
def test_its_spikes_may_be_changed_in_place() -> None:
    def gradient(change: Callable[[Tensor], Tensor]) -> Tensor:
        x = drive(T, B, 7).requires_grad_()
        change(build("adapted", backend="triton", detach_reset=False)(x)[0]).sum().backward()
        assert x.grad is not None
        return x.grad

    assert torch.equal(gradient(lambda y: y.mul_(2.0)), gradient(lambda y: y.mul(2.0)))


@interpreted
def test_an_input_that_the_way_back_needs_cannot_be_changed_unnoticed() -> None:
    x = drive(T, B, 7).requires_grad_() * 1.0
    loss = build(per="neuron", input_gain="1-a", backend="triton")(x)[0].sum()
    with torch.no_grad():
        x.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@interpreted
@pytest.mark.parametrize("part", ["v", "w"])
def test_a_state_of_another_precision_or_shape_is_refused(part: str) -> None:
    neuron, x = build(backend="triton"), drive(T, B, 7)
    for wrong in (torch.zeros(B, 7, dtype=torch.float64), torch.zeros(1, 7)):
        state = ALIFState(torch.zeros(B, 7), torch.zeros(B, 7))._replace(**{part: wrong})
        with pytest.raises(ValueError, match=f"the state {part} has to be as a step of x, torch.float32"):
            neuron(x, state)


@interpreted
def test_lengths_that_are_not_those_of_the_samples_are_refused() -> None:
    with pytest.raises(ValueError, match=r"lengths have to be whole numbers of shape \(4,\)"):
        build(backend="triton")(drive(T, B, 7), lengths=torch.tensor([4, 5]))


@interpreted
def test_a_class_made_from_it_takes_the_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(ALIF):
        pass

    def refuse(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(triton_alif, "run", refuse)
    own = Own(1.0)
    own.backend = "triton"
    assert own(drive(T, B, 7) * 3.0)[0].any()
    with pytest.raises(AssertionError):
        build(backend="triton")(drive(T, B, 7))


@pytest.mark.gpu
@pytest.mark.parametrize(("settings", "dtype"), CHOICES)
def test_compiled_it_equals_the_plain_loop(settings: dict[str, Any], dtype: torch.dtype) -> None:
    neuron = build(**settings, shape=(300,)).to(DEVICE)
    x = drive(63, B, 300, dtype=dtype).to(DEVICE) * (3.0 if settings["input_gain"] == "1-a" else 1.5)
    check(neuron, x, started(neuron, x), torch.tensor([0, 1, 63, 20]))
    check(neuron, x)
