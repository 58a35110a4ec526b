"""A traced step has the outputs of the step bit for bit, and the derivative of autograd, in double precision.

The rendered loops are run by Python here, which compiles nothing.

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml
from loops import assert_equals_loop, drive, nonzero_state, perturbed
from torch import Tensor

from snnlab.kernels import function, trace
from snnlab.kernels.trace import EXACT, StepGraph, Symbol, UntraceableError, with_slope
from snnlab.nn import LIF, NEURONS

from ..marks import mostly_long
from ..refusals import assert_raises

T, B = 5, 3
LENGTHS = torch.tensor([0, T, 2])
PRESETS = sorted((Path(__file__).parents[2] / "configs" / "neuron").glob("*.yaml"))


def product(**axes: Any) -> list[dict[str, Any]]:
    return [dict(zip(axes, options, strict=True)) for options in itertools.product(*axes.values())]


RESETS = product(reset=["subtract", "value"], reset_delay=[False, True], detach_reset=[True, False])
NO_DELAY = [{**each, "reset_delay": False} for each in RESETS[:2] + RESETS[4:6]]
TIMES = {"tau_mem": 6.0, "v_leak": 0.1, "v_threshold": 0.9}
SEVERAL: dict[str, Any] = {"tau_mem": "4 steps", "input_gain": "1-a", "spikes": "several", "detach_reset": False}
DIALECTS: list[tuple[str, dict[str, Any]]] = [
    *(("lif", TIMES | each | gain) for each in RESETS for gain in product(input_gain=[1.0, "average", "1-a"])),
    *(
        ("cuba_lif", TIMES | each | {"synapse": synapse, "input_gain": 0.7, "tau_syn": 4.0})
        for each in RESETS
        for synapse in ("jump_first", "decay_first")
    ),
    *(("iaf", {**each, "v_threshold": 0.9}) for each in RESETS),
    ("li", {"tau_mem": 6.0, "v_leak": 0.1}),
    *(
        ("cuba_li", {"tau_mem": 6.0, "tau_syn": 4.0, "synapse": s, "input_gain": 0.7})
        for s in ("jump_first", "decay_first")
    ),
    *(("alif", TIMES | {key: each[key] for key in ("reset", "detach_reset")}) for each in NO_DELAY),
    ("alif", TIMES | {"adapted_reset": True, "adaptive": 3, "detach_reset": False}),
    *(
        ("alif", TIMES | {"adapted_reset": True, "input_gain": g, "detach_reset": d})
        for g, d in itertools.product([1.0, "average"], [True, False])
    ),
    *(
        ("lsnn", TIMES | {"reset": r, "detach_reset": d})
        for r, d in itertools.product(["subtract", "value"], [True, False])
    ),
    *(
        ("adlif", {"tau_mem": 6.0, "a": 0.3, "b": 0.5, "coupling": c, "reset": r, "detach_reset": d})
        for c, r, d in itertools.product(["before_reset", "after_reset"], ["subtract", "value"], [True, False])
    ),
    *(("lif", SEVERAL | {"v_threshold": 0.4} | each) for each in product(floor=[None, -0.2])),
    ("cuba_lif", SEVERAL | {"synapse": "decay_first", "tau_syn": "3 steps", "v_threshold": 0.2}),
    *(("snntorch_alpha", {"reset": reset}) for reset in ("value", "subtract", "none")),
]


@pytest.mark.parametrize(
    ("kind", "settings"), mostly_long(DIALECTS, len(DIALECTS) // 2), ids=lambda given: str(given).replace("'", "")
)
def test_outputs_and_gradients_are_those_of_autograd(kind: str, settings: dict[str, Any]) -> None:
    per = ("", "layer", "neuron")[DIALECTS.index((kind, settings)) % 3]
    own = {"in_shape": (4,), "dt": 1.0}
    neuron = NEURONS.build(kind, dict(settings), "n", **own)
    if per and hasattr(neuron, "learnable"):
        neuron = NEURONS.build(kind, settings | {"learn": dict.fromkeys(neuron.learnable(), per)}, "n", **own)
    x = drive(T, B, 4, dtype=torch.float64) * 3.0
    assert_equals_loop(perturbed(neuron), x, nonzero_state(neuron, x), LENGTHS)
    assert_equals_loop(neuron, x)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_every_preset_is_traced_but_those_over_all_steps(preset: Path) -> None:
    settings = yaml.safe_load(preset.read_text())
    neuron = NEURONS.build(settings.pop("type"), settings, "n", in_shape=(4,), dt=1.0, num_steps=T)
    x = drive(T, B, 4, dtype=torch.float64)
    if not neuron.parallel:
        assert_equals_loop(neuron, x)


class State(NamedTuple):
    v: Tensor


def traced(step: Any, grad: bool = True) -> StepGraph:
    return trace.trace(step, State, lambda make: make("k", True), {"k"}, dtype=torch.float32, grad=grad)


OPERATIONS: dict[str, Any] = {
    "add": lambda x, v, k: x + v + k,
    "sub": lambda x, v, k: 0.3 - x - v * k,
    "mul": lambda x, v, k: x * v * k,
    "div": lambda x, v, k: x / (v * v + k) + x / k + k / (x * x + 1.0) + 0.3 / (v * v + 0.5),
    "neg": lambda x, v, k: -x * v,
    "abs": lambda x, v, k: x.abs() + abs_of(v),
    "trunc": lambda x, v, k: torch.trunc(x * 3.0) + v,
    "floor": lambda x, v, k: (x * 3.0).floor() + v,
    "where": lambda x, v, k: torch.where(x > v, x, k * v),
    "ge": lambda x, v, k: (x >= v).to(x.dtype) + v,
    "gt": lambda x, v, k: (x > 0.0) * v,
    "le": lambda x, v, k: torch.where(x <= 0.1, 0.0, v),
    "lt": lambda x, v, k: 1.0 - (x < v).to(v.dtype) + v,
    "eq": lambda x, v, k: torch.where(x == 0.0, 1.0, v),
    "ne": lambda x, v, k: torch.where(x != 0.0, 1.0, v),
    "and": lambda x, v, k: torch.where((x > 0.0) & (v > 0.0), x, v),
    "or": lambda x, v, k: torch.where((x > 0.0) | (v > 0.0), x, v),
    "not": lambda x, v, k: torch.where(~(x > 0.0), x, v),
    "detach": lambda x, v, k: x.detach() * v,
    "fill": lambda x, v, k: (
        torch.full_like(x, 0.1) * k + torch.full_like(x, 3.0) / (v * v + 0.5) + torch.ones_like(x) * v
    ),
    "with_slope": lambda x, v, k: with_slope(lambda u: (u > 0).to(u.dtype), x - k, lambda u: 1.0 / (1.0 + u * u)) + v,
    "clamp": lambda x, v, k: x.clamp(min=-0.5, max=0.5) + torch.relu(v),
    "square": lambda x, v, k: x.square() + v**2 + (v + 3.0).reciprocal(),
    "sign": lambda x, v, k: torch.sign(x) * v,
}


def abs_of(v: Any) -> Any:
    return torch.abs(v)


COMPILED = [
    pytest.param(op, marks=[pytest.mark.compiled, pytest.mark.slow if at % 4 else pytest.mark.long])
    for at, op in enumerate(OPERATIONS)
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("op", [*OPERATIONS, *COMPILED])
def test_the_operations_of_the_list_round_as_torch_does(op: str, dtype: torch.dtype) -> None:
    def step(x: Any, state: State, k: Any) -> tuple[Any, State]:
        y = OPERATIONS[op](x, state.v, k)
        return y, State(0.9 * state.v + 0.1 * y)

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 2, 300, generator=generator, dtype=torch.float64).to(dtype)
    x[0, 0, :5] = torch.tensor([0.0, -0.0, 1e-40, 1.0, -1.0], dtype=dtype)
    x[0, 0, 5] = torch.nan
    state = State(torch.randn(2, 300, generator=generator, dtype=torch.float64).to(dtype))
    ours, theirs = (function.run(step, x, state, 0.3, backend=each) for each in ("numba", "reference"))
    for one, other in ((ours.y, theirs.y), (ours.state.v, theirs.state.v)):
        assert torch.equal(one.isnan(), other.isnan())
        assert torch.equal(one.nan_to_num(), other.nan_to_num())


def test_every_operation_of_the_list_has_its_test() -> None:
    assert EXACT - {"const", "number", "tensor", "x", "state", "grad_output"} <= OPERATIONS.keys()


def test_a_number_that_is_made_of_numbers_is_computed_once_as_in_the_plain_loop() -> None:
    step = traced(lambda x, s, k: (x, State(k * s.v + (1.0 - k) * x)))
    assert len(step.numbers) == 2
    assert sorted(trace.value_of(node, {"k": 0.9}) for node in step.numbers.values()) == sorted([0.9, 1.0 - 0.9])


def test_the_fewest_values_are_saved_and_the_slope_of_a_spike() -> None:
    def step(x: Any, s: State, k: Any) -> tuple[Any, State]:
        u = k * s.v + x
        y = with_slope(lambda u: (u > 0).to(u.dtype), u - 1.0, lambda u: 1.0 / (1.0 + u * u))
        return y, State(u - y.detach())

    found = trace.trace(step, State, lambda make: make("k", False), set(), dtype=torch.float32, grad=True)
    assert [node.op for node in found.saved] == ["div"]
    assert found.binary
    assert len(traced(step).saved) == 1  # the membrane, which determines both
    assert traced(step).recomputed == ["v"]
    assert not traced(step, grad=False).saved


REFUSED: dict[str, Any] = {
    "branch": lambda x, s, k: (x, s) if x > 0 else (s.v, s),
    "item": lambda x, s, k: (x * x.item(), s),
    "float": lambda x, s, k: (x * float(k), s),
    "place": lambda x, s, k: (x.mul_(2.0), s),
    "other shape": lambda x, s, k: (x.sum(-1), s),
    "neurons": lambda x, s, k: (x[0], s),
    "random": lambda x, s, k: (x * torch.rand_like(x), s),
    "tensor": lambda x, s, k: (x * torch.ones(3), s),
    "precision": lambda x, s, k: (x.double(), s),
    "another state": lambda x, s, k: (x, (s.v,)),
    "truth": lambda x, s, k: (x > 0, s),
    "infinite": lambda x, s, k: (x * float("inf"), s),
}


@pytest.mark.parametrize("step", REFUSED.values(), ids=REFUSED)
def test_a_step_that_no_loop_can_render_is_refused(step: Any) -> None:
    with pytest.raises(UntraceableError):
        traced(step)


def test_an_operation_in_place_is_refused() -> None:
    def step(x: Any, s: State, k: Any) -> tuple[Any, State]:
        v = s.v
        v += x
        return v, State(v)

    with assert_raises(UntraceableError, "place"):
        traced(step)


def test_the_value_of_a_symbol_cannot_be_read() -> None:
    symbol = Symbol(trace.ExpressionGraph(torch.float32), trace.Node(0, "x", (), "x"))
    for look in (bool, len, list, float):
        with pytest.raises(UntraceableError):
            look(symbol)


@pytest.mark.parametrize("grad", [False, True])
def test_a_form_prints_each_value_before_it_is_used_and_its_operations_have_a_meaning(grad: bool) -> None:
    neuron = LIF(dt=1.0, tau_mem=10.0, v_leak=0.25, input_gain="1-a")
    k, x = neuron.coefficients(), torch.zeros(1, 3)
    coefficients = k._replace  # a, g and c are symbols
    form = trace.trace(
        neuron.step,
        type(neuron.initial_state(x)),
        lambda make: coefficients(**{name: make(name, False) for name in ("a", "g", "c")}),
        (),
        dtype=x.dtype,
        grad=grad,
    )
    known = {"x", "v", "a", "g", "c", "gradient of y", "gradient of v"}
    for line in str(form).splitlines():
        name, equals, value = line.partition(" = ")
        used = re.fullmatch(r"(\w+)\((.*)\)", value)
        if used is not None:
            assert used[1] in trace.OPERATIONS
        for each in used[2].split(", ") if used is not None else [value] if equals else name.split(": ")[1:]:
            assert each in known or float(each) is not None
        known.add(name)
    assert {"y", "v after"} <= known
    assert set(trace.OPERATIONS) == EXACT | {"exp", "sqrt"}
    assert ("gradient of x" in known) == grad
