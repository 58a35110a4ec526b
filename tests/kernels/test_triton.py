"""The Triton kernel in Triton's interpreter, on the CPU, and compiled where there is a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cases
import pytest
import torch
from cases import EXACT, INTEGRATING, LEARNED, SPIKING, Case, build, pairwise
from equality import CASES, check, dialects, plain, title
from interpreter import interpreted, triton_cuda, triton_numbers
from torch import Tensor

from snnlab.errors import SnnlabError
from snnlab.nn.surrogate import Rectangular, Surrogate

run = triton_cuda.run

INTEGRATOR: dict[str, Any] = {name: LEARNED[name] for name in INTEGRATING if name in LEARNED} | {"T": 5, "kind": "li"}
BASE: dict[str, Any] = LEARNED | {"T": 5, "kind": "jump", "reset": ("subtract", False), "detach": False}


def _params() -> Iterator[Any]:
    # Few steps, since each takes a thousand times as long as on a GPU; 500 neurons are two blocks, one of them partly
    # filled.
    for choice in dialects(EXACT | {"T": 5, "shape": "image"}, threshold=SPIKING["threshold"]):
        yield pytest.param(partial(build, choice, exact=True), id="exact-" + title(choice, tuple(choice)[-4:]))
    for choice in dialects(LEARNED | {"T": 5}):
        yield pytest.param(partial(build, choice), id="learned-" + title(choice, tuple(choice)[-3:]))
    for axes in (SPIKING, INTEGRATING):
        for choice in pairwise({**axes, "T": [5, 1]}):
            yield pytest.param(partial(build, choice), id=title(choice, choice))


class Quartic(Surrogate):
    """A user's own bell."""

    def bell(self, x: Tensor) -> Tensor:
        return 1.0 / (x**4 + 1.0)


@interpreted
@pytest.mark.parametrize("case", list(_params()))
def test_it_equals_the_plain_loop(case: Any) -> None:
    check(run, case())


@interpreted
@pytest.mark.parametrize("reset", SPIKING["reset"], ids=str)
def test_a_surrogate_of_the_users_own_equals_the_plain_loop(reset: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cases.SURROGATES, "Quartic", Quartic())
    check(run, build(BASE | {"surrogate": "Quartic", "reset": reset}))


@interpreted
def test_a_subclass_of_a_known_surrogate_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Squared(type(cases.SURROGATES["Triangle"])):
        def bell(self, x: Tensor) -> Tensor:
            return super().bell(x).square()

    monkeypatch.setitem(cases.SURROGATES, "Squared", Squared())
    check(run, build(BASE | {"surrogate": "Squared"}))


@interpreted
def test_the_edge_of_a_box_is_half_as_high(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cases.SURROGATES, "Box", Rectangular(alpha=1.0))
    dialect = {"kind": "lif", "reset": ("none", False), "detach": True, "threshold": "strict"}
    check(run, build(EXACT | dialect | {"surrogate": "Box"}, exact=True))


@interpreted
@pytest.mark.parametrize("choice", [BASE, INTEGRATOR], ids=["spiking", "integrating"])
def test_outputs_lie_as_an_input_that_the_kernel_cannot_walk_through(choice: dict[str, Any]) -> None:
    case = build(choice)
    batch_first = case.x.transpose(0, 1).contiguous().transpose(0, 1)
    check(run, case._replace(x=batch_first))
    assert _run(case._replace(x=batch_first)).y.stride() == batch_first.stride()
    check(run, case._replace(x=case.x.repeat_interleave(2, -1)[..., ::2]))


@interpreted
def test_the_state_may_lie_otherwise_than_the_input() -> None:
    case = build(BASE | {"shape": "channels_last"})
    check(run, case._replace(v=case.v.contiguous()))


@interpreted
@pytest.mark.parametrize(
    "choice",
    [BASE | {"kind": "lif", "v_reset": 0.0, "reset": ("value", False)}, INTEGRATOR],
    ids=["spiking", "integrating"],
)
def test_zero_keeps_its_sign(choice: dict[str, Any]) -> None:
    case = build(choice | {"learn": "none", "leak": 0.0})
    case = case._replace(x=-torch.zeros_like(case.x), v=-torch.zeros_like(case.v))
    assert _run(case).v.signbit().all()
    assert _run(case, plain(case.neuron)).v.signbit().all()


@interpreted
@pytest.mark.parametrize("enabled", [True, False])
def test_nothing_is_kept_where_no_gradient_is_wanted(enabled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(triton_cuda, "launch", lambda *_, **parts: given.update(parts))
    with torch.set_grad_enabled(enabled):
        _run(build(BASE | {"learn": "none"}))
    assert given["y"] is not None
    assert given["u"] is None
    assert given["j"] is None


@interpreted
def test_a_second_derivative_is_refused() -> None:
    case = build(BASE)
    x = case.x.requires_grad_()
    with pytest.raises(SnnlabError, match="backend: reference"):
        torch.autograd.grad(_run(case).v.sum(), x, create_graph=True)


@interpreted
def test_a_second_backward_through_the_same_graph_gives_the_same() -> None:
    case = build(BASE)
    x = case.x.requires_grad_()
    v = _run(case).v.sum()
    once, again = (torch.autograd.grad(v, x, retain_graph=True)[0] for _ in range(2))
    assert once.any()
    assert torch.equal(once, again)


@interpreted
def test_an_output_changed_in_place_is_refused_where_its_gradient_needs_it() -> None:
    case = build(INTEGRATOR)
    y = _run(case, train=True).y
    loss = y.sum()
    y.detach().zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@interpreted
@pytest.mark.parametrize("part", ["v", "i"])
def test_a_state_of_another_precision_is_refused(part: str) -> None:
    case = build(BASE)
    with pytest.raises(ValueError, match=f"state {part} has to be as a step of x, torch.float64"):
        _run(case._replace(**{part: getattr(case, part).float()}))


@interpreted
def test_lengths_that_are_not_those_of_the_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="lengths have to be whole numbers"):
        _run(build(BASE)._replace(lengths=torch.tensor([1])))


@interpreted
def test_a_neuron_first_run_for_inference_can_be_trained_later() -> None:
    triton_numbers._constants.cache_clear()
    case = build(BASE | {"learn": "none"})
    with torch.inference_mode():
        _run(case)
    check(run, case)


def test_compiled_for_a_gpu_no_dialect_contracts_a_product(tmp_path: Path) -> None:
    script = Path(__file__).with_name("triton_ahead.py")
    root = Path(__file__).parents[3]
    env = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("if allowed") > 0
    assert len(found) == 22
    assert set(found.values()) == {0}


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
def test_compiled_it_equals_the_plain_loop(case: Any) -> None:
    check(run, _on_gpu(case()))


@pytest.mark.gpu
def test_compiled_gradients_are_the_same_in_each_run() -> None:
    case = _on_gpu(build(BASE | {"shape": "flat", "dtype": torch.float32, "T": 63}))

    def gradients() -> list[Tensor]:
        return list(torch.autograd.grad(_run(case, train=True).y.sum(), list(case.neuron.parameters())))

    assert all(torch.equal(*pair) for pair in zip(gradients(), gradients(), strict=True))


def _run(case: Case, kernel: Any = run, *, train: bool = False) -> Any:
    """Run a case; through a neuron's own parameters where they are to be trained."""
    k = case.neuron.coefficients()
    k = k._replace(**{name: _number(value, case, train) for name, value in k._asdict().items()})
    return kernel(case.x, case.v, case.i, k, case.neuron.rule(), case.lengths)


def _number(value: Any, case: Case, train: bool) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.to(case.x.dtype) if train else value.detach().to(case.x.dtype)


def _on_gpu(case: Case) -> Case:
    moved = {name: part.cuda() for name, part in case._asdict().items() if isinstance(part, Tensor)}
    return case._replace(neuron=case.neuron.cuda(), **moved)
