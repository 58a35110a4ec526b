"""The kernel in PyTorch alone against the plain loop, what it keeps, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from cases import EXACT, LEARNED, Case, build
from equality import CASES, check
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from snnlab.errors import SnnlabError
from snnlab.nn.kernels import eager_steps
from snnlab.nn.kernels.eager import run
from snnlab.nn.kernels.rule import Run
from snnlab.nn.neurons.base import rounded

# Neurons of a block: all samples and steps together; two samples and one step of most; one sample.
SIZES = [eager_steps.BLOCK, 1100, 1]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", SIZES)
def test_it_equals_the_plain_loop_in_blocks_of_any_size(
    case: Callable[[], Case], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eager_steps, "BLOCK", size)
    check(run, case())


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
def test_it_equals_the_plain_loop_on_a_gpu(case: Callable[[], Case]) -> None:
    on_cpu = case()
    tensors = {name: part.cuda() for name, part in on_cpu._asdict().items() if isinstance(part, Tensor)}
    check(run, on_cpu._replace(neuron=on_cpu.neuron.cuda(), **tensors))


@pytest.mark.parametrize("kind", ["lif", "jump", "decay"])
@pytest.mark.parametrize("reset", [("value", True), ("subtract", False)])
@pytest.mark.parametrize("length", [0, 5])
def test_samples_that_all_end_early_leave_the_rest_alone(kind: str, reset: tuple[str, bool], length: int) -> None:
    case = build({**LEARNED, "kind": kind, "reset": reset, "detach": False})
    check(run, case._replace(lengths=torch.full((4,), length)))


def test_what_follows_a_samples_end_changes_nothing() -> None:
    case = _case(learn="mixed")
    changed = case.x.clone()
    changed[4:, 3] = 1e6
    (one, gradients), (other, others) = _with_gradients(case), _with_gradients(case._replace(x=changed))
    assert all(torch.equal(a, b) for a, b in zip([*one[:2], *gradients], [*other[:2], *others], strict=True))


@pytest.mark.parametrize(
    ("kind", "learn", "kept"),
    [("lif", "none", 1), ("jump", "none", 1), ("jump", "layer", 2), ("li", "none", 0), ("li", "layer", 1)],
)
def test_of_all_steps_it_keeps_the_membrane_and_with_a_learned_gain_or_decay_the_current(
    kind: str, learn: str, kept: int
) -> None:
    case = _case(kind=kind, learn=learn)
    assert len(_kept(case._replace(x=case.x.requires_grad_()))) == kept


@pytest.mark.parametrize("no_grad", [True, False])
@pytest.mark.parametrize("kind", ["jump", "li"])
def test_where_no_gradient_is_wanted_its_output_is_all_it_makes_for_all_steps(
    kind: str, no_grad: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eager_steps, "BLOCK", 1)
    case = _case(kind=kind)
    case.x.requires_grad_(no_grad)
    with torch.set_grad_enabled(not no_grad), _Used(case.x.numel()) as used:
        result = _run(case)
    assert not result.y.requires_grad
    assert used.storages == {part.untyped_storage().data_ptr() for part in (case.x, result.y)}


def test_without_a_graph_it_gives_the_same() -> None:
    case = _case(kind="jump")
    with torch.no_grad():
        one = _run(case)
    other = _run(case._replace(x=case.x.requires_grad_()))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None)


def test_a_graph_that_is_kept_gives_the_same_gradients_again() -> None:
    case = _case(kind="jump", learn="mixed")
    x = case.x.requires_grad_()
    y = _run(case).y
    first, second = (torch.autograd.grad(y.sum(), x, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_within_a_checkpoint_it_gives_the_same_gradients() -> None:
    case = _case(kind="jump", learn="mixed")
    x = case.x.requires_grad_()
    expected, found = _run(case).y, checkpoint(lambda: _run(case).y, use_reentrant=False)
    assert isinstance(found, Tensor)
    assert torch.equal(*(torch.autograd.grad(y.sum(), x)[0] for y in (expected, found)))


@pytest.mark.parametrize(
    "wrong", [{"lengths": torch.tensor([4])}, {"lengths": torch.tensor([4.5] * 4)}, {"v": torch.zeros(4, 500)}], ids=str
)
def test_lengths_and_states_that_do_not_fit_are_refused(wrong: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"ha(s|ve) to be"):
        _run(_case()._replace(**wrong))


@pytest.mark.parametrize("power", [1, 2])
def test_a_second_derivative_is_refused_whatever_the_loss(power: int) -> None:
    x = _case().x.requires_grad_()
    with pytest.raises(SnnlabError, match="backend: reference"):
        torch.autograd.grad(_run(_case()._replace(x=x)).v.pow(power).sum(), x, create_graph=True)


def test_nobody_counts_spikes_unasked() -> None:
    assert _run(_case(), count=False).n is None
    assert _run(_case(kind="li"), count=True).n is None


class _Used(TorchDispatchMode):
    """Collects the addresses of all memory of at least a number of elements that operations return."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.storages: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for part in tree_leaves(result):
            if isinstance(part, Tensor) and part.untyped_storage().nbytes() >= self.size * part.element_size():
                self.storages.add(part.untyped_storage().data_ptr())
        return result


def _case(**choice: Any) -> Case:
    """Return a case in double precision, of a LIF unless something else is chosen."""
    own: dict[str, Any] = {**EXACT, "kind": "lif", **choice}
    if not own["kind"].startswith("li_") and own["kind"] != "li":
        own |= {"reset": ("subtract", False), "detach": True, "threshold": "strict"}
    return build(own)


def _run(case: Case, count: bool = True) -> Run:
    k = rounded(case.neuron.coefficients(), case.x)
    return run(case.x, case.v, case.i, k, case.neuron.rule(), case.lengths, count)


def _with_gradients(case: Case) -> tuple[Run, tuple[Tensor, ...]]:
    inputs = [case.x.clone().requires_grad_(), *case.neuron.parameters()]
    result = _run(case._replace(x=inputs[0]))
    return result, torch.autograd.grad(result.y.sum() + result.v.square().sum(), inputs)


def _kept(case: Case) -> set[int]:
    """Return the addresses of what a run keeps of all its steps, beside its input."""
    packed: list[Tensor] = []
    with saved_tensors_hooks(lambda tensor: packed.append(tensor) or tensor, lambda tensor: tensor):
        _run(case)
    return {tensor.data_ptr() for tensor in packed if tensor.shape == case.x.shape} - {case.x.data_ptr()}
