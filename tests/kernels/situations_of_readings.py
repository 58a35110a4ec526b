"""Situations in which a step reads its object, names, closures and defaults."""

# pyright: reportAttributeAccessIssue=false, reportFunctionMemberAccess=false, reportCallIssue=false
from __future__ import annotations

import collections
import enum
import functools
import itertools
import operator
import random
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from situations import FUSED, PLAIN_LOOP, SITUATIONS, State, Step, Unit, changed, situation, unit
from torch import nn


class Plain:
    """An object with attributes."""

    def __init__(self, **values: Any) -> None:
        vars(self).update(values)


class Slots:
    __slots__ = ("gain",)

    def __init__(self, gain: float) -> None:
        self.gain = gain


GAIN = 2.0
ARRAY = np.array([2.0])
CONFIG: dict[str, Any] = {"gain": 2.0}
OBJECT = Plain(gain=2.0)
FUNCTIONS: dict[str, Any] = {}
DEQUE = collections.deque([2.0])
ONES: set[float] = {2.0}
SLOTS = Slots(2.0)
PARTIAL = functools.partial(operator.mul, 2.0)
PACKAGE = types.SimpleNamespace(sub=types.SimpleNamespace(G=2.0))
MODULE = types.ModuleType("made_for_a_test")
MODULE.sub = types.ModuleType("made_for_a_test.sub")  # type: ignore[attr-defined]
MODULE.sub.G = 2.0


def changed_global(name: str, value: Any) -> Any:
    return changed(globals(), name, value)


# -- Attributes of the step's object ----------------------------------------------------------------------------------


@situation(FUSED)
def a_number() -> Iterator[Step]:
    own = unit(lambda self: self.w, w=2.0)
    for own.w in (2.0, 3, True, 0.0, -0.0, np.float32(0.1), np.float64(0.1), 1e-300):
        yield own.step


@situation(FUSED)
def the_sign_of_zero() -> Iterator[Step]:
    class Own(Unit):
        def step(self, x: Any, state: Any, k: Any) -> Any:
            y = 1.0 / (x * 0.0 + self.w)
            return y, state

    own = Own(w=0.0)
    for own.w in (0.0, -0.0, 0.0):
        yield own.step


# How a step reads the attribute `w` of its object, what `w` is, and changes after which it is read again.
READ: dict[str, tuple[str | None, Callable[[Any], Any], Any, list[Callable[[Any], Any]]]] = {
    "an array": (PLAIN_LOOP, lambda self: float(self.w[0]), np.array([2.0]), [lambda own: own.w.fill(3.0)]),
    "a list": (
        FUSED,
        lambda self: self.w[0] + len(self.w) + sum(self.w[1:]),
        [2.0],
        [lambda own: own.w.insert(0, 3.0), lambda own: own.w.append(1.0)],
    ),
    "a dict": (
        FUSED,
        lambda self: self.w["a"] + self.w.get("b", 0.5) + sum(v for _, v in self.w.items()),
        {"a": 2.0},
        [lambda own: own.w.update(b=3.0), lambda own: setattr(own, "w", {"a": 1.0})],
    ),
    "a set": (None, lambda self: sum(self.w), {2.0}, [lambda own: own.w.add(3.0)]),
    "a deque": (None, lambda self: self.w[0], collections.deque([2.0]), [lambda own: own.w.appendleft(3.0)]),
    "an object with slots": (FUSED, lambda self: self.w.gain, Slots(2.0), [lambda own: setattr(own.w, "gain", 3.0)]),
    "a nested object": (
        FUSED,
        lambda self: self.w.inner.inner.inner.gain,
        Plain(inner=Plain(inner=Plain(inner=SLOTS))),
        [lambda own: setattr(own.w.inner.inner, "inner", Slots(3.0))],
    ),
    "a tuple with a list": (FUSED, lambda self: self.w[1][0], (1.0, [2.0]), [lambda own: own.w[1].insert(0, 3.0)]),
    "a dict of attributes": (
        None,
        lambda self: self.__dict__["w"] + vars(self)["w"],
        2.0,
        [lambda own: setattr(own, "w", 3.0)],
    ),
}


def reads(gain: Callable[[Any], Any], w: Any, changes: list[Callable[[Any], Any]]) -> Iterator[Step]:
    own = unit(gain, w=w)
    yield own.step
    for change in changes:
        change(own)
        yield own.step


SITUATIONS.update({name: (functools.partial(reads, *how), runs) for name, (runs, *how) in READ.items()})


@situation(PLAIN_LOOP)
def a_list_that_the_step_changes() -> Iterator[Step]:
    class Own(Unit):
        def step(self, x: Any, state: Any, k: Any) -> Any:
            self.w.append(1.0)
            return x * len(self.w), state

    own = Own(w=[])
    own.prepare = own.w.clear
    yield own.step


@situation(FUSED)
def a_named_tuple_with_a_method() -> Iterator[Step]:
    class Pair(NamedTuple):
        one: float
        other: float = 0.5

        def total(self) -> float:
            return GAIN * self.one + self.other

    own = unit(lambda self: self.w.total() + type(self.w)(1.0).total(), w=Pair(2.0))
    yield own.step
    own.w = Pair(3.0)
    yield own.step
    with changed_global("GAIN", 5.0):
        yield own.step


@situation()
def an_enum() -> Iterator[Step]:
    class Mode(enum.Enum):
        ONE = 1
        OTHER = 2

    own = unit(lambda self: 2.0 if self.w is Mode.ONE else 3.0, w=Mode.ONE)
    for own.w in Mode:
        yield own.step


@situation(FUSED)
def class_attributes() -> Iterator[Step]:
    class Own(Unit):
        G = 2.0

        def gain(self) -> Any:
            return self.G + type(self).G + Own.G

    yield Own().step
    Own.G = 3.0
    yield Own().step
    own = Own()
    own.G = 7.0
    yield own.step


@situation(FUSED)
def a_property() -> Iterator[Step]:
    class Own(Unit):
        @property
        def doubled(self) -> float:
            return self.w * GAIN

        def gain(self) -> Any:
            return self.doubled

    own = Own(w=1.0)
    yield own.step
    own.w = 3.0
    yield own.step
    with changed_global("GAIN", 5.0):
        yield own.step
    Own.doubled = property(lambda self: 11.0)  # type: ignore[assignment]
    yield own.step


@situation()
def a_property_that_counts() -> Iterator[Step]:
    class Own(Unit):
        @property
        def count(self) -> float:
            vars(self)["w"] += 1.0
            return self.w

        def gain(self) -> Any:
            return self.count

    own = Own()
    own.prepare = lambda: setattr(own, "w", 1.0)
    yield own.step


@situation()
def a_cached_property() -> Iterator[Step]:
    class Own(Unit):
        @functools.cached_property
        def cached(self) -> float:
            return self.w

        def gain(self) -> Any:
            return self.cached

    own = Own(w=2.0)
    yield own.step
    del own.cached
    own.w = 3.0
    yield own.step


@situation(FUSED)
def attributes_of_modules() -> Iterator[Step]:
    own = unit(lambda self: MODULE.sub.G)
    yield own.step
    MODULE.sub.G = 3.0
    yield own.step


@situation()
def the_class_by_its_dunder_name() -> Iterator[Step]:
    class Own(Unit):
        G = 2.0

        def gain(self) -> Any:
            return self.__class__.G

    yield Own().step
    Own.G = 3.0
    yield Own().step


@situation()
def attributes_by_getattr() -> Iterator[Step]:
    class Own(Unit):
        def __getattr__(self, name: str) -> float:
            return CONFIG["gain"]

        def gain(self) -> Any:
            return self.unknown

    own = Own(prepare=lambda: None)
    yield own.step
    with changed(CONFIG, "gain", 5.0):
        yield own.step


@situation(FUSED)
def getattr_and_hasattr_by_name() -> Iterator[Step]:
    own = unit(lambda self: getattr(self, "w", 0.25) + (2.0 if hasattr(self, "other") else 1.0))
    yield own.step
    own.w = 3.0
    yield own.step
    own.other = None
    yield own.step


@situation(FUSED)
def static_and_class_methods_and_super() -> Iterator[Step]:
    class Base(Unit):
        G = 2.0

        @staticmethod
        def one() -> float:
            return GAIN

        @classmethod
        def other(cls) -> float:
            return cls.G

        def gain(self) -> Any:
            return self.one() + self.other()

    class Own(Base):
        def gain(self) -> Any:
            return super().gain() + 1.0

    yield Own().step
    Base.G = 5.0
    yield Own().step
    with changed_global("GAIN", 7.0):
        yield Own().step
    Base.gain = lambda self: 11.0  # type: ignore[method-assign]
    yield Own().step
    own = Own()
    own.gain = lambda: 13.0  # type: ignore[method-assign]
    yield own.step


@situation(FUSED)
def a_method_that_is_replaced() -> Iterator[Step]:
    class Own(Unit):
        def gain(self) -> Any:
            return 2.0

    yield Own().step
    Own.gain = lambda self: 3.0  # type: ignore[method-assign]
    yield Own().step
    Own.gain.__code__ = (lambda self: 5.0).__code__
    yield Own().step


@situation(FUSED)
def a_callable_object() -> Iterator[Step]:
    class Scale:
        def __init__(self) -> None:
            self.gain = 2.0

        def __call__(self, x: Any) -> Any:
            return self.gain * GAIN * x

    own = unit(lambda self: self.w(1.0), w=Scale())
    yield own.step
    own.w.gain = 3.0
    yield own.step
    with changed_global("GAIN", 7.0):
        yield own.step


@situation()
def an_object_with_special_methods() -> Iterator[Step]:
    class Odd:
        def __add__(self, other: float) -> float:
            return GAIN + other

        def __getitem__(self, at: int) -> float:
            return GAIN

        def __eq__(self, other: object) -> bool:
            return GAIN > 3.0

        def __hash__(self) -> int:
            return 0

        def __bool__(self) -> bool:
            return GAIN > 3.0

        def __len__(self) -> int:
            return int(GAIN)

    for use in (
        lambda self: self.w + 1.0,
        lambda self: self.w[0],
        lambda self: 2.0 if self.w == 1 else 3.0,
        lambda self: 2.0 if self.w else 3.0,
        lambda self: len(self.w),
        lambda self: 2.0 if self.w in (1, 2) else 3.0,
    ):
        own = unit(use, w=Odd())
        yield own.step
        with changed_global("GAIN", 7.0):
            yield own.step


@situation()
def a_subclass_of_a_number_or_a_list() -> Iterator[Step]:
    class Number(float):
        def __mul__(self, other: Any) -> Any:
            return GAIN * other

    class Items(list[float]):
        def __getitem__(self, at: Any) -> Any:
            return GAIN

    for value, use in ((Number(1.0), lambda self: self.w), (Items([1.0]), lambda self: self.w[0])):
        own = unit(use, w=value)
        yield own.step
        with changed_global("GAIN", 7.0):
            yield own.step


@situation()
def a_buffer_and_a_submodule() -> Iterator[Step]:
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = 2.0
            self.register_buffer("w", torch.tensor(2.0))

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner()

        def step(self, x: Any, state: Any, k: Any) -> Any:
            return x * self.inner.gain, state

    class WithBuffer(Own):
        def step(self, x: Any, state: Any, k: Any) -> Any:
            return x * self.inner.w, state

    for kind in (Own, WithBuffer):
        own = kind()
        yield own.step
        own.inner.gain = 3.0
        own.inner.w.fill_(3.0)
        yield own.step
        own.inner = Inner()
        yield own.step


@situation(FUSED)
def training_mode() -> Iterator[Step]:
    class Own(nn.Module):
        def step(self, x: Any, state: Any, k: Any) -> Any:
            return x * (2.0 if self.training else 3.0), state

    own = Own()
    yield own.step
    yield own.eval().step


@situation()
def an_iterator_and_a_generator() -> Iterator[Step]:
    for make in (
        lambda: itertools.count(1.0),
        lambda: iter([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        lambda: (float(n) for n in range(9)),
    ):
        own = unit(lambda self: next(self.w))
        own.prepare = lambda own=own, make=make: setattr(own, "w", make())
        yield own.step


@situation()
def a_random_generator() -> Iterator[Step]:
    own = unit(lambda self: self.w.random() if self.w.random() < 0.98 else 5.0)
    own.prepare = lambda: setattr(own, "w", random.Random(0))
    yield own.step


@situation()
def an_attribute_of_a_tensor_that_outlives_a_step() -> Iterator[Step]:
    class Own(Unit):
        def step(self, x: Any, state: Any, k: Any) -> Any:
            v = x + state.v
            v.count = getattr(state.v, "count", 0) + 1
            return v * v.count, State(v)

    yield Own().step


@situation()
def identities() -> Iterator[Step]:
    kind = type("Own", (Unit,), {"gain": lambda self: 2.0 if self.a is self.b else 3.0})
    one, other = Plain(), Plain()
    yield kind(a=one, b=one).step
    yield kind(a=one, b=other).step


# -- Names, closures, defaults ----------------------------------------------------------------------------------------


def helper(x: Any) -> Any:
    return GAIN * x


@situation(FUSED)
def a_global_and_a_helper() -> Iterator[Step]:
    own = unit(lambda self: GAIN + helper(1.0))
    yield own.step
    with changed_global("GAIN", 3.0):
        yield own.step
    with changed_global("helper", lambda x: 11.0 * x):
        yield own.step


@situation()
def the_dict_of_globals() -> Iterator[Step]:
    own = unit(lambda self: globals()["GAIN"])
    yield own.step
    with changed_global("GAIN", 3.0):
        yield own.step


@situation()
def global_containers() -> Iterator[Step]:
    yield (own := unit(lambda self: CONFIG["gain"])).step
    with changed(CONFIG, "gain", 3.0):
        yield own.step
    yield (own := unit(lambda self: float(ARRAY[0]))).step
    with changed(ARRAY, 0, 3.0):
        yield own.step
    yield (own := unit(lambda self: float(DEQUE[0]))).step
    with changed(DEQUE, 0, 3.0):
        yield own.step
    yield (own := unit(lambda self: sum(ONES))).step
    ONES.add(7.0)
    yield own.step
    ONES.remove(7.0)
    yield (own := unit(lambda self: SLOTS.gain + OBJECT.gain)).step
    SLOTS.gain, OBJECT.gain = 3.0, 5.0
    yield own.step
    SLOTS.gain, OBJECT.gain = 2.0, 2.0
    yield (own := unit(lambda self: PACKAGE.sub.G)).step
    PACKAGE.sub.G = 5.0
    yield own.step


@situation()
def a_partial() -> Iterator[Step]:
    own = unit(lambda self: PARTIAL(3.0))
    yield own.step
    with changed_global("PARTIAL", functools.partial(operator.mul, 5.0)):
        yield own.step
    held = unit(lambda self: self.w(3.0), w=functools.partial(helper_of_two, other=[2.0]))
    yield held.step
    held.w.keywords["other"][0] = 4.0
    yield held.step
    held.w.keywords["other"] = [8.0]
    yield held.step


def helper_of_two(x: Any, other: Any) -> Any:
    return x * other[0] * GAIN


@situation(FUSED)
def functions_in_a_dict_that_read_a_global() -> Iterator[Step]:
    own = unit(lambda self: FUNCTIONS["helper"](1.0) + OBJECT.method(1.0))
    FUNCTIONS["helper"], OBJECT.method = helper, lambda x: GAIN * x  # type: ignore[attr-defined]
    yield own.step
    with changed_global("GAIN", 3.0):
        yield own.step
    FUNCTIONS["helper"] = lambda x: 17.0 * x
    yield own.step


@situation(FUSED)
def closures_of_equal_source() -> Iterator[Step]:
    def make(factor: float, items: list[float]) -> Any:
        return unit(lambda self: factor * items[0])

    first = make(2.0, [3.0])
    yield first.step
    yield make(5.0, [3.0]).step
    yield make(2.0, [7.0]).step


@situation(FUSED)
def a_closure_that_changes() -> Iterator[Step]:
    factor = 2.0
    items = [1.0]
    own = unit(lambda self: factor * items[0])
    yield own.step
    factor = 3.0
    yield own.step
    items[0] = 7.0
    yield own.step


@situation(FUSED)
def defaults() -> Iterator[Step]:
    def step(x: Any, state: Any, k: Any, more: float = 2.0, *, other: Any = (1.0,)) -> Any:
        return x * more + other[0], state

    yield step
    step.__defaults__ = (3.0,)
    yield step
    assert step.__kwdefaults__ is not None
    step.__kwdefaults__ = {"other": (5.0,)}
    yield step
    step.__kwdefaults__["other"] = (7.0,)
    yield step


@situation()
def a_default_that_remembers() -> Iterator[Step]:
    def make() -> Step:
        def step(x: Any, state: Any, k: Any, seen: Any = []) -> Any:  # noqa: B006
            seen.append(1.0)
            return x * len(seen), state

        return step

    step = make()
    step.prepare = step.__defaults__[0].clear  # type: ignore[attr-defined, index]
    yield step


@situation()
def a_counter_in_a_closure_or_global() -> Iterator[Step]:
    count = 0

    def step(x: Any, state: Any, k: Any) -> Any:
        nonlocal count
        count += 1
        return x * count, state

    def reset() -> None:
        nonlocal count
        count = 0

    step.prepare = reset  # type: ignore[attr-defined]
    yield step

    def writes(x: Any, state: Any, k: Any) -> Any:
        global COUNT
        COUNT += 1
        return x * COUNT, state

    writes.prepare = lambda: globals().__setitem__("COUNT", 0)  # type: ignore[attr-defined]
    yield writes

    def on_itself(x: Any, state: Any, k: Any) -> Any:
        on_itself.count += 1  # type: ignore[attr-defined]
        return x * on_itself.count, state  # type: ignore[attr-defined]

    on_itself.prepare = lambda: setattr(on_itself, "count", 0)  # type: ignore[attr-defined]
    yield on_itself


COUNT = 0


@situation()
def decorators() -> Iterator[Step]:
    def scaled(inner: Any) -> Any:
        @functools.wraps(inner)
        def wrapper(x: Any, state: Any, k: Any) -> Any:
            y, after = inner(x, state, k)
            return GAIN * y, after

        return wrapper

    def base(x: Any, state: Any, k: Any) -> Any:
        return GAIN * x, state

    for step in (scaled(base), torch.no_grad()(base), functools.lru_cache(base), functools.partial(base)):
        yield step
        with changed_global("GAIN", 3.0):
            if hasattr(step, "cache_clear"):
                step.cache_clear()
            yield step

    @functools.wraps(torch.exp)
    def exp(x: Any) -> Any:  # a function that names itself torch's
        return GAIN * x

    yield lambda x, state, k: (exp(x), state)
    with changed_global("GAIN", 3.0):
        yield lambda x, state, k: (exp(x), state)


@situation()
def super_without_arguments_in_a_nested_function() -> Iterator[Step]:
    class Own(Unit):
        def gain(self) -> Any:
            return sum([super(Own, self).gain() for _ in range(2)])

    yield Own().step
