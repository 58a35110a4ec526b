"""Situations in which a step asks the world, or a symbol for its type, dtype or value."""

# pyright: reportAttributeAccessIssue=false, reportFunctionMemberAccess=false, reportCallIssue=false
from __future__ import annotations

import collections
import contextlib
import math
import os
import random
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from situations import PLAIN_LOOP, State, Step, changed, situation, unit
from torch import Tensor
from torch.nn import functional as F

from snnlab.kernels.trace import with_slope


class Plain:
    """An object with attributes."""

    def __init__(self, **values: Any) -> None:
        vars(self).update(values)


GAIN = 2.0
MODULE = types.ModuleType("made_for_a_test")
MODULE.sub = types.SimpleNamespace(G=2.0)


def changed_global(name: str, value: Any) -> Any:
    return changed(globals(), name, value)


# -- The world --------------------------------------------------------------------------------------------------------


@situation()
def an_import_and_a_file() -> Iterator[Step]:
    def step(x: Any, state: Any, k: Any) -> Any:
        import made_for_a_test as made  # type: ignore[import-not-found]

        return x * made.sub.G, state

    def reads(x: Any, state: Any, k: Any) -> Any:
        return x * float(len(Path(__file__).read_text())), state

    sys.modules["made_for_a_test"] = MODULE
    for MODULE.sub.G in (2.0, 3.0):  # type: ignore[attr-defined]
        yield step
    yield reads


@situation()
def the_environment() -> Iterator[Step]:
    own = unit(lambda self: float(os.environ["SNNLAB_TEST_GAIN"]))
    other = unit(lambda self: float(os.getenv("SNNLAB_TEST_GAIN", "1")))
    for value in ("2", "3"):
        os.environ["SNNLAB_TEST_GAIN"] = value
        yield own.step
        yield other.step
    del os.environ["SNNLAB_TEST_GAIN"]


@situation()
def the_modes_of_torch() -> Iterator[Step]:
    def step(x: Any, state: Any, k: Any) -> Any:
        return x * (2.0 if torch.is_grad_enabled() else 3.0), state

    def by_dtype(x: Any, state: Any, k: Any) -> Any:
        return x * (2.0 if torch.get_default_dtype() == torch.float64 else 3.0), state

    yield step
    with torch.no_grad():
        yield step
    yield by_dtype
    torch.set_default_dtype(torch.float64)
    yield by_dtype
    yield lambda x, state, k: (torch.where(x > 0, 0.1, 0.2) + x, state)
    yield lambda x, state, k: ((x > 0) * 0.1 + x, state)
    torch.set_default_dtype(torch.float32)
    yield by_dtype
    yield lambda x, state, k: (torch.where(x > 0, 0.1, 0.2) + x, state)
    yield lambda x, state, k: ((x > 0) * 0.1 + x, state)


@situation(PLAIN_LOOP)
def randomness() -> Iterator[Step]:
    def seed() -> None:
        random.seed(0)
        torch.manual_seed(0)
        np.random.seed(0)

    for draw in (
        random.random,
        lambda: random.gauss(0, 1),
        lambda: float(np.random.rand()),
        lambda: float(torch.rand(())),
        lambda: 2.0 if random.random() < 0.98 else 5.0,
    ):
        step = lambda x, state, k, draw=draw: (x * draw(), state)  # noqa: E731
        step.prepare = seed  # type: ignore[attr-defined]
        yield step


# -- Dtypes and conditions --------------------------------------------------------------------------------------------


@situation()
def choices_between_numbers() -> Iterator[Step]:
    yield lambda x, state, k: (torch.where(x > 0, 0.1, 0.2) + state.v, State(x))
    yield lambda x, state, k: (torch.where(x > 0, 1, 2) * 0.1 + state.v, State(x))
    yield lambda x, state, k: (torch.where(x > 0, 1, 0.3) + state.v, State(x))
    yield lambda x, state, k: (torch.where(x > 0, x > 1, x > 2) + state.v, State(x))
    yield lambda x, state, k: (torch.where(x > 0, k, 0.2) + state.v, State(x))
    yield lambda x, state, k: (torch.where(x > 0, x > 1, 0.7) + state.v, State(x))
    yield lambda x, state, k: (torch.where(x > 0, x > 1, x) + state.v, State(x))


@situation()
def conditions_as_numbers() -> Iterator[Step]:
    for use in (
        lambda u: (u > 30).float() * 0.1,
        lambda u: (u > 30).double() * 0.1,
        lambda u: (u > 30).to(u.dtype) * 0.1,
        lambda u: (u > 30) * 0.1,
        lambda u: (u > 30) * 3,
        lambda u: (u > 30) * True,
        lambda u: (u > 30) * u,
        lambda u: ((u > 30) + (u > 40)) * u,
        lambda u: ((u > 30) * (u > 40)) + u,
        lambda u: ((u > 30) & (u > 40)) + u,
        lambda u: ((u > 30) == (u > 40)) * u,
        lambda u: ((u > 30) > 0.5) * u,
        lambda u: ((u > 30) / 3) + u,
        lambda u: u / ((u > 30) + 0.1),
        lambda u: torch.zeros_like(u > 30) + u,
        lambda u: torch.ones_like(u > 30) * 0.1 + u,
        lambda u: (u > 30).detach() * u,
        lambda u: (u > 30).sign() * u if False else u,
        lambda u: u.to(torch.float64) * 0.1,
        lambda u: u.float() * 0.1,
    ):
        yield lambda x, state, k, use=use: (use(x) * 0.3 + state.v, State(x))


@situation()
def the_dtype_of_the_input() -> Iterator[Step]:
    def step(x: Any, state: Any, k: Any) -> Any:
        return x * (6.6 if x.dtype == torch.float64 else 2.2), state

    yield step


@situation()
def constants_as_tensors() -> Iterator[Step]:
    yield lambda x, state, k: (torch.full_like(x, 0.1) * 0.3 + x, state)
    yield lambda x, state, k: (torch.full_like(x, 3.0) / (x * x + 0.7), state)
    yield lambda x, state, k: (torch.full_like(x, 0.1) * k + x, state)
    yield lambda x, state, k: (torch.ones_like(x) + torch.zeros_like(x), state)
    yield lambda x, state, k: (x * (2.0 if isinstance(torch.ones_like(x), float) else 3.0), state)


@situation()
def numbers_of_numpy_and_large_ones() -> Iterator[Step]:
    for number in (
        np.float32(0.1),
        np.float64(0.1),
        np.float16(0.1),
        np.int64(3),
        np.bool_(True),
        2**60 + 1,
        16777217,
        1e39,
    ):
        yield lambda x, state, k, number=number: (x * number + k * number, state)
        yield lambda x, state, k, number=number: (number + x, state)


@situation()
def comparisons_of_coefficients() -> Iterator[Step]:
    yield lambda x, state, k: (x * (k > 0.29999999999999999), state)
    yield lambda x, state, k: (x if k == 0.3 else 2.0 * x, state)
    yield lambda x, state, k: (x * k**2 + k**3, state)
    yield lambda x, state, k: (x * (2.0 if isinstance(k, float) else 3.0), state)
    yield lambda x, state, k: (x * math.exp(k), state)
    yield lambda x, state, k: (x * max(k, 0.1) * abs(k) * round(k, 1), state)
    yield lambda x, state, k: (x * (2.0 if k in (0.3, 0.5) else 3.0), state)


# -- Branches that a symbol could take otherwise ----------------------------------------------------------------------


@situation()
def branches_on_the_type_of_a_value() -> Iterator[Step]:
    for use in (
        lambda u: 600.0 if isinstance(u, Tensor) and bool((u.abs() > 30).any()) else 1.0,
        lambda u: 600.0 if isinstance(u, Tensor) else 1.0,
        lambda u: 600.0 if type(u) is Tensor else 1.0,
        lambda u: 600.0 if torch.is_tensor(u) else 1.0,
        lambda u: 600.0 if hasattr(u, "cuda") else 1.0,
        lambda u: 600.0 if hasattr(u, "__len__") and hasattr(u, "__array__") else 1.0,
        lambda u: 600.0 if getattr(u, "is_leaf", None) is None else 1.0,
        lambda u: 600.0 if getattr(u, "__nothing__", 2.0) == 2.0 else 1.0,
        lambda u: 600.0 if isinstance(u, (float, Tensor)) else 1.0,
        lambda u: 600.0 if isinstance(u, float | Tensor) else 1.0,
        lambda u: 600.0 if isinstance(u, collections.abc.Hashable) else 1.0,
        lambda u: 600.0 if isinstance(u, object) else 1.0,
        lambda u: 600.0 if u.ndim == 2 and u.shape[0] == 2 else 1.0,
        lambda u: 600.0 if "tensor" in str(u) else 1.0,
        lambda u: 600.0 if f"{u}".startswith("t") else 1.0,
        lambda u: 600.0 if callable(u) else 1.0,
        lambda u: 600.0 if u.__class__ is Tensor else 1.0,
        lambda u: 600.0 if "__add__" in dir(u) else 1.0,
        lambda u: 600.0 if u.requires_grad else 1.0,
        lambda u: 600.0 if u is None or u is not None else 1.0,
    ):
        yield lambda x, state, k, use=use: (x * use(x), state)
        yield lambda x, state, k, use=use: (x * use(state.v), state)


@situation(PLAIN_LOOP)
def refusals_that_the_step_catches() -> Iterator[Step]:
    def by_try(x: Any, state: Any, k: Any) -> Any:
        try:
            if x.max() > 60:
                x = x * 2.0
        except:  # noqa: E722
            pass
        return x, state

    def by_suppress(x: Any, state: Any, k: Any) -> Any:
        with contextlib.suppress(BaseException):
            x = x * float(x.flatten()[0])
        return x, state

    def by_helper(x: Any, state: Any, k: Any) -> Any:
        return (x * 2.0 if attempt(lambda: x.max() > 60) else x), state

    def by_match(x: Any, state: Any, k: Any) -> Any:
        match x:
            case Tensor():
                return x * 2.0, state
        return x, state

    yield by_try
    yield by_suppress
    yield by_helper
    yield by_match


def attempt(call: Callable[[], Any]) -> bool:
    try:
        return bool(call())
    except Exception:
        return False


@situation()
def own_functions_of_torch() -> Iterator[Step]:
    class Own(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, u: Tensor) -> Tensor:
            return u * GAIN

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> Tensor:
            return grads[0]

    yield lambda x, state, k: (Own.apply(x), state)
    yield lambda x, state, k: (F.relu(x) + torch.nn.functional.relu(x, inplace=False), state)
    yield lambda x, state, k: (torch.clamp(x, 0.0, 1.0) + x.clamp(min=k), state)
    yield lambda x, state, k: (torch.add(x, x, alpha=3.0), state)
    yield lambda x, state, k: (torch.stack([x, x]).sum(0), state)
    yield lambda x, state, k: (Tensor.abs(x), state)
    yield lambda x, state, k: (torch.relu(x, out=x) if False else torch.relu(x), state)
    yield lambda x, state, k: (with_slope(lambda u: (u > 1).to(u.dtype) * GAIN, x, lambda u: GAIN * u), state)
    yield lambda x, state, k: (torch.compiler.is_compiling() * x + x, state)


@situation()
def methods_of_the_state() -> Iterator[Step]:
    class Rich(NamedTuple):
        v: Tensor
        G = 2.0

        def scaled(self) -> Any:
            return self.v * GAIN * self.G

        @property
        def half(self) -> Any:
            return self.v * 0.5 * GAIN

        def __add__(self, other: Any) -> Any:
            return self.v * GAIN

    def step(x: Any, state: Any, k: Any) -> Any:
        v = x + state.scaled() * 0.01 + state.half * 0.01
        return v, state._replace(v=v)

    def adds(x: Any, state: Any, k: Any) -> Any:
        return state + 1, Rich(x)

    for each in (step, adds):
        each.state = Rich  # type: ignore[attr-defined]
        yield each
        with changed_global("GAIN", 3.0):
            yield each
        Rich.G = 7.0
        yield each


@situation()
def subclasses_of_a_state() -> Iterator[Step]:
    class Pair(NamedTuple):
        v: Tensor

    class WithDict(Pair):
        pass

    class Made(Pair):
        __slots__ = ()

        def __new__(cls, v: Any) -> Any:
            return super().__new__(cls, v * GAIN)

    def counts(x: Any, state: Any, k: Any) -> Any:
        after = WithDict(x)
        after.count = getattr(state, "count", 0) + 1
        return x * after.count, after

    def makes(x: Any, state: Any, k: Any) -> Any:
        return x + state.v, Made(x)

    counts.state = WithDict
    yield counts
    makes.state = Made
    yield makes
    with changed_global("GAIN", 3.0):
        yield makes


@situation()
def coefficients_that_are_objects() -> Iterator[Step]:
    held = Plain(gain=2.0)
    for k in (held, (0.3, held), [0.3], {"a": 0.3}, np.array([0.3]), "0.3", None, (1, "a", None, True), torch.float32):
        step = lambda x, state, k: (x * gain_of(k), state)  # noqa: E731
        step.k = k  # type: ignore[attr-defined]
        yield step
        held.gain += 1.0
        yield step


def gain_of(k: Any) -> Any:
    if isinstance(k, Plain):
        return k.gain
    if isinstance(k, (tuple, list)):
        return gain_of(k[-1]) + len(k)
    return float(k[0]) if isinstance(k, np.ndarray) else 2.0


@situation()
def coefficients_of_another_dtype() -> Iterator[Step]:
    for k in (
        torch.tensor([0.1], dtype=torch.float64),
        torch.tensor(0.1, dtype=torch.float64),
        torch.tensor([2]),
        torch.tensor([True]),
    ):
        step = lambda x, state, k: ((x * k).to(x.dtype), state)  # noqa: E731
        step.k = k  # type: ignore[attr-defined]
        yield step


@situation()
def the_sign_of_a_coefficient_that_is_zero() -> Iterator[Step]:
    for k in (0.0, -0.0, 0.0, 1.0, True, 1, 0):
        step = lambda x, state, k: (1.0 / (x * 0.0 + k), state)  # noqa: E731
        step.k = k  # type: ignore[attr-defined]
        yield step
