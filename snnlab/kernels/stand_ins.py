"""A step that runs with stand-ins for what it reads besides its arguments, so that all of it is recorded.

A trace is right as long as everything is unchanged that the step has read besides its arguments. So during tracing the
step sees stand-ins in place of its object, globals, closure and defaults. A plain value (a number, a text, a dtype, a
tuple of such) is given as it is, and recorded with its place. From objects, lists, dicts, classes, modules and
functions the step reads further values in the same way; a function runs under the same rule as the step. Nothing else
can be used: tensors, arrays, iterators, files, clocks, random numbers and torch's modes are refused by name, and so is
code that could get around the stand-ins (`step_code.py`).
"""

from __future__ import annotations

import builtins
import inspect
import math
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import (
    BuiltinFunctionType,
    CellType,
    FunctionType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    UnionType,
)
from typing import Any, NamedTuple, NoReturn, get_args

import numpy as np
import torch
from torch import Tensor, nn

from snnlab.kernels import trace
from snnlab.kernels.readings import ABSENT, OWNER, PLAIN, Readings, ValuePlace, read_again
from snnlab.kernels.step_code import check_code, global_names, is_special
from snnlab.kernels.trace import TORCH_FUNCTIONS, Symbol, UntraceableError

# Python's own functions and classes that a step may call: their results depend on their arguments only.
_BUILTINS = {
    *(abs, all, any, bool, complex, dict, divmod, enumerate, filter, float, int, iter, len, list, map, max, min, next),
    *(pow, range, reversed, round, slice, sorted, str, sum, tuple, zip),
    *(ArithmeticError, AssertionError, Exception, NotImplementedError, RuntimeError, TypeError, ValueError),
}
_MATH = frozenset(value for value in vars(math).values() if isinstance(value, BuiltinFunctionType))
_TORCH = frozenset(getattr(of, name) for of in (torch, nn.functional) for name in TORCH_FUNCTIONS if hasattr(of, name))
# Kinds of which a number or a tensor is known to be one, or not.
_KINDS = frozenset((bool, int, float, complex, str, tuple, list, dict, type(None), Tensor, Symbol))


class StepReader:
    """Runs a step with stand-ins for what it reads besides its arguments, and records it.

    Args:
        step: The step, a method or a function.

    Attributes:
        readings: What the step has read so far.
        runs_user_code: Whether it has run code from outside snnlab.
    """

    def __init__(self, step: Callable[..., Any]) -> None:
        self.readings = Readings()
        self.runs_user_code = False
        self._step = step
        self._places: set[Any] = set()
        self._functions: dict[FunctionType, FunctionType] = {}
        self._globals: dict[int, dict[str, Any]] = {}
        self._tuples: dict[type, type] = {}
        own = {"isinstance": _is_instance, "type": self._type, "super": self._super, "getattr": _get, "hasattr": _has}
        self._builtins = {value.__name__: value for value in _BUILTINS} | own

    def step(self) -> Callable[..., Any]:
        """Return the step as it runs under the rule.

        Raises:
            UntraceableError: if it is no function of Python.
        """
        owner, function = getattr(self._step, "__self__", None), getattr(self._step, "__func__", self._step)
        if not isinstance(function, FunctionType):
            raise UntraceableError(f"a {type(self._step).__name__} in place of a function")
        visible = _Function(self, function, ValuePlace(function, (), function.__name__))
        return visible if owner is None else partial(visible, self.see(owner, ValuePlace(OWNER, (), "self")))

    def record(self, place: ValuePlace, value: Any) -> None:
        """Record that the step depends on a value."""
        key = id(place.root), place.path
        if key not in self._places:
            self._places.add(key)
            self.readings.add(place, value)

    def see(self, value: Any, place: ValuePlace) -> Any:
        """Return what a step sees of a value, which is recorded: the value, or a stand-in."""
        self.record(place, value)
        return self._visible(value, place)

    def _visible(self, value: Any, place: ValuePlace) -> Any:
        kind = type(value)
        if kind in PLAIN or _is_trusted(value) or (kind is BuiltinFunctionType and value in _MATH):
            return value
        if isinstance(value, tuple):
            return self._see_tuple(value, place)
        if kind is MethodType and isinstance(value.__func__, FunctionType):
            return partial(
                _Function(self, value.__func__, place), self.see(value.__self__, place.attribute("__self__"))
            )
        if kind is partial:
            function, args = (self.see(getattr(value, name), place.attribute(name)) for name in ("func", "args"))
            keywords = _Dict(self, value.keywords, place.attribute("keywords"))
            return partial(function, *args, **{key: keywords[key] for key in keywords})
        if isinstance(value, type) and value in _KINDS:
            return value
        return _stand_in(value)(self, value, place)

    def _see_tuple(self, value: Any, place: ValuePlace) -> Any:
        kind = type(value)
        parts = (self._visible(part, place.item(at)) for at, part in enumerate(value))  # the tuple is recorded
        if kind is tuple:
            return tuple(parts)
        return tuple.__new__(self.visible_class(kind), parts) if _is_named(kind) else _StandIn(self, value, place)

    def visible_class(self, kind: Any) -> Any:
        """Return the class of a NamedTuple in which the user's methods and attributes are under the rule."""
        if kind not in self._tuples:
            place = ValuePlace(kind, (), kind.__name__)
            if type(kind) is not type or kind.__dictoffset__:
                raise UntraceableError(f"{place.text}, which has a metaclass or a __dict__")
            defaults = self.see(kind.__new__.__defaults__, ValuePlace(kind.__new__, (("__defaults__",),), place.text))
            if any(type(value) not in PLAIN for value in defaults or ()):
                raise UntraceableError(f"the defaults of {place.text}")
            bases = kind.__mro__[: kind.__mro__.index(tuple)]
            found: dict[str, Any] = {"__slots__": ()}
            for base in bases:
                generated = {*kind._fields, *_GENERATED} if "_fields" in vars(base) else ()
                for name, value in vars(base).items():
                    if name not in found and name not in generated:
                        found |= self._visible_attribute(name, value, place.attribute(name))
            self._tuples[kind] = type(kind.__name__, (kind,), found)
        return self._tuples[kind]

    def _visible_attribute(self, name: str, value: Any, place: ValuePlace) -> dict[str, Any]:
        if is_special(name):
            refusing = partial(_refuse, f"{place.text}, which is redefined")
            return {name: _as_method(refusing)} if isinstance(value, (FunctionType, staticmethod)) else {}
        if isinstance(value, FunctionType):
            self.record(place, value)
            return {name: _as_method(_Function(self, value, place))}
        if isinstance(value, property) and isinstance(value.fget, FunctionType):
            self.record(place, value)
            return {name: property(_as_method(_Function(self, value.fget, place)))}
        return {name: property(lambda _: self.see(value, place))}

    def rebuilt(self, function: FunctionType) -> FunctionType:
        """Return a function with stand-ins for its globals, closure and defaults.

        Raises:
            UntraceableError: if its code could get around them.
        """
        if function in self._functions:
            return self._functions[function]
        if str(function.__module__).partition(".")[0] == "torch":
            raise UntraceableError(f"torch's {function.__qualname__}")
        check_code(function.__code__)
        self.runs_user_code |= not str(function.__module__).startswith("snnlab.")
        place = ValuePlace(function, (), function.__name__)
        self.readings.functions.append((function, function.__code__, function.__defaults__, function.__kwdefaults__))
        names = self._globals.setdefault(id(function.__globals__), {"__builtins__": self._builtins})
        cells = [CellType() for _ in function.__code__.co_freevars]
        new = FunctionType(function.__code__, names, function.__name__, None, tuple(cells))
        self._functions[function] = new  # before its globals, which it may be one of
        new.__defaults__ = self._visible(function.__defaults__, place.attribute("__defaults__"))
        keywords = place.attribute("__kwdefaults__")
        new.__kwdefaults__ = {
            name: self.see(value, keywords.item(name)) for name, value in (function.__kwdefaults__ or {}).items()
        }
        for name, cell, visible in zip(function.__code__.co_freevars, function.__closure__ or (), cells, strict=True):
            here = ValuePlace(cell, (("cell_contents",),), name)
            if (content := read_again(here.reader(), None)) is ABSENT:
                self.record(here, ABSENT)
            else:
                visible.cell_contents = self.see(content, here)
        for name in global_names(function.__code__):
            if name not in names:
                self._see_global(names, function.__globals__, name)
        return new

    def _see_global(self, names: dict[str, Any], module: dict[str, Any], name: str) -> None:
        here = ValuePlace(module, ((None, name),), name)
        self.readings.names.append((module, name, module.get(name, ABSENT)))
        if name in module:
            names[name] = self._visible(module[name], here)
            return
        if name not in self._builtins and hasattr(builtins, name):
            names[name] = _StandIn(self, getattr(builtins, name), here)

    def _type(self, value: Any) -> Any:
        """Return what a step sees of the type of a value, as `type` does."""
        if type(value) is Symbol:
            raise UntraceableError("the type of a value")
        kind = type(_inner(value))
        kind = next((each for each, visible in self._tuples.items() if visible is kind), kind)
        return kind if kind in _KINDS else _Class(self, kind, ValuePlace(kind, (), kind.__name__))

    def _super(self, *given: Any) -> Any:
        frame = sys._getframe(1)
        names = "__class__", frame.f_code.co_varnames[0]
        cls, owner = given or (frame.f_locals[name] for name in names)
        return _Super(self, (_inner(cls), owner), ValuePlace(None, (), "super()"))


def _is_trusted(value: Any) -> bool:
    return value is Symbol or value is partial or (type(value) is FunctionType and value.__globals__ is vars(trace))


def _is_named(kind: type) -> bool:
    return issubclass(kind, tuple) and hasattr(kind, "_fields") and hasattr(kind, "_make")


_GENERATED = frozenset(vars(NamedTuple("_Empty", [])))


def _as_method(function: Callable[..., Any]) -> Any:
    """Return a callable as a function, so that a class binds it to its instances."""
    return lambda *args, **kwargs: function(*args, **kwargs)


def _refuse(what: str, *_: Any, **__: Any) -> NoReturn:
    raise UntraceableError(what)


# -- Stand-ins --------------------------------------------------------------------------------------------------------

_SPECIAL = {name for kind in (int, complex, list, dict, set) for name in dir(kind)} - set(dir(object)) | {
    *("__call__", "__next__", "__enter__", "__exit__", "__matmul__", "__rmatmul__", "__hash__", "__repr__", "__str__"),
    *("__format__", "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"),
}


class _StandIn:
    """A stand-in for a value that a step may not use; subclasses allow some uses.

    Args:
        reader: The reader.
        value: The value.
        place: Its place.
    """

    __slots__ = ("_inside",)

    def __init__(self, reader: StepReader, value: Any, place: ValuePlace) -> None:
        object.__setattr__(self, "_inside", (reader, value, place))

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            return type(self)  # asked by isinstance; the step itself cannot name it
        if is_special(name) and name != "__name__":
            _refuse(f"{_text(self)}.{name}")
        return type(self).see(self, name)

    def see(self, name: str) -> Any:
        """Return what a step sees of an attribute."""
        _refuse(f"{_text(self)}.{name}")

    def __setattr__(self, name: str, _: Any) -> None:
        _refuse(f"a write into {_text(self)}.{name}")

    def __delattr__(self, name: str) -> None:
        _refuse(f"a write into {_text(self)}.{name}")


def _refuse_use(self: Any, *_: Any, **__: Any) -> NoReturn:
    value = _inner(self)
    kind = "tensor" if isinstance(value, Tensor) else type(value).__name__
    _refuse(f"{_text(self)}, a {kind}, which a step may not use in this way")


def _parts(stand_in: Any) -> tuple[StepReader, Any, ValuePlace]:
    return object.__getattribute__(stand_in, "_inside")


def _inner(value: Any) -> Any:
    """Return the value behind a stand-in, or the value itself."""
    return _parts(value)[1] if issubclass(type(value), _StandIn) else value


def _text(stand_in: Any) -> str:
    return _parts(stand_in)[2].text


for _name in filter(is_special, _SPECIAL):
    setattr(_StandIn, _name, _refuse_use)


class _Function(_StandIn):
    """A function of Python, which runs under the rule of the step."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        reader, function, _ = _parts(self)
        return reader.rebuilt(function)(*args, **kwargs)


class _TorchFunction(_StandIn):
    """A function of torch, which needs a traced value: others read torch's modes, its memory or a file."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not any(type(value) is Symbol for value in (*args, *kwargs.values())):
            _refuse_use(self)
        return _inner(self)(*args, **kwargs)


class _Module(_StandIn):
    """A module, of which the step reads the names."""

    __slots__ = ()

    def see(self, name: str) -> Any:
        reader, module, place = _parts(self)
        if name not in vars(module):
            _refuse(f"{place.text}.{name}")
        return reader.see(vars(module)[name], place.attribute(name))


class _List(_StandIn):
    """A list, of which the step reads items and length."""

    __slots__ = ()

    def __len__(self) -> int:
        reader, value, place = _parts(self)
        return reader.see(len(value), place.applied(len))

    def __getitem__(self, at: Any) -> Any:
        reader, value, place = _parts(self)
        if isinstance(at, slice):
            return [self[each] for each in range(len(self))[at]]
        return reader.see(value[at], place.item(at))

    def __iter__(self) -> Iterator[Any]:
        return (self[at] for at in range(len(self)))


class _Dict(_StandIn):
    """A dict, of which the step reads keys and values."""

    __slots__ = ()

    def _keys(self) -> tuple[Any, ...]:
        reader, value, place = _parts(self)
        return reader.see(tuple(value), place.applied(tuple))

    def __len__(self) -> int:
        return len(_Dict._keys(self))

    def __iter__(self) -> Iterator[Any]:
        return iter(_Dict._keys(self))

    def __contains__(self, key: Any) -> bool:
        return key in _Dict._keys(self)

    def __getitem__(self, key: Any) -> Any:
        reader, value, place = _parts(self)
        return reader.see(value[key], place.item(key))

    def see(self, name: str) -> Any:
        own = {"get": _Dict._get, "keys": _Dict._keys, "values": _Dict._values, "items": _Dict._items}
        if name not in own:
            _refuse(f"{_text(self)}.{name}")
        return partial(own[name], self)

    def _get(self, key: Any, default: Any = None) -> Any:
        return self[key] if key in _Dict._keys(self) else default

    def _values(self) -> list[Any]:
        return [self[key] for key in self]

    def _items(self) -> list[tuple[Any, Any]]:
        return [(key, self[key]) for key in self]


class _Object(_StandIn):
    """An object, of which the step reads attributes and calls methods."""

    __slots__ = ()

    def see(self, name: str) -> Any:
        reader, of, place = _parts(self)
        here, kind = place.attribute(name), type(of)
        found = inspect.getattr_static(of, name, ABSENT)
        if found is ABSENT and isinstance(of, nn.Module):
            found = getattr(of, name, ABSENT)  # a parameter, a buffer or a module
        if found is ABSENT:
            if hasattr(kind, "__getattr__") and not isinstance(of, nn.Module):
                _refuse(f"{here.text}, by __getattr__")
            reader.record(here, ABSENT)
            raise AttributeError(f"'{kind.__name__}' object has no attribute '{name}'")
        if isinstance(found, MemberDescriptorType):  # of __slots__
            return reader.see(getattr(of, name), here)
        if name in getattr(of, "__dict__", ()) or not hasattr(type(found), "__get__"):
            return reader.see(found, here)
        # A property cannot be hidden by an attribute of the object; a method can.
        place = ValuePlace(kind, ((name,),), here.text) if isinstance(found, property) else here
        reader.record(place, getattr(kind if isinstance(found, property) else of, name))
        return _bound(reader, found, here, self, kind)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        reader, of, place = _parts(self)
        found = inspect.getattr_static(type(of), "__call__", None)
        if not isinstance(found, FunctionType):
            _refuse_use(self)
        here = ValuePlace(type(of), (("__call__",),), f"{place.text}.__call__")
        reader.record(here, found)
        return _bound(reader, found, here, self, type(of))(*args, **kwargs)


class _Class(_StandIn):
    """A class, of which the step reads attributes; a NamedTuple can be made."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        reader, kind, _ = _parts(self)
        if not (isinstance(kind, type) and _is_named(kind)):
            _refuse_use(self)
        return reader.visible_class(kind)(*args, **kwargs)

    def __or__(self, other: Any) -> Any:
        reader, kind, place = _parts(self)
        return _Class(reader, kind | _inner(other), place)

    def __ror__(self, other: Any) -> Any:
        reader, kind, place = _parts(self)
        return _Class(reader, other | kind, place)

    def see(self, name: str) -> Any:
        reader, kind, place = _parts(self)
        if name == "__name__":
            return kind.__name__
        here, found = place.attribute(name), inspect.getattr_static(kind, name, ABSENT)
        if found is ABSENT:
            reader.record(here, ABSENT)
            raise AttributeError(f"type object '{kind.__name__}' has no attribute '{name}'")
        if isinstance(found, FunctionType) or not hasattr(type(found), "__get__"):
            return reader.see(found, here)
        if isinstance(found, property):
            _refuse(f"{here.text}, a property")
        reader.record(here, getattr(kind, name))
        return _bound(reader, found, here, self, kind)


class _Super(_StandIn):
    """What `super()` returns: the value is the class and the stand-in of the object."""

    __slots__ = ()

    def see(self, name: str) -> Any:
        reader, (cls, owner), _ = _parts(self)
        kind = type(_inner(owner))
        for base in kind.__mro__[kind.__mro__.index(cls) + 1 :]:
            found = vars(base).get(name, ABSENT)
            here = ValuePlace(base, (("__dict__",), (None, name)), f"super().{name}")
            reader.record(here, found)
            if found is not ABSENT:
                return (
                    _bound(reader, found, here, owner, kind)
                    if hasattr(type(found), "__get__")
                    else reader.see(found, here)
                )
        raise AttributeError(f"'super' object has no attribute '{name}'")


def _bound(reader: StepReader, found: Any, place: ValuePlace, owner: Any, kind: type) -> Any:
    """Return what a step sees of a function, property, static method or class method of a class."""
    if isinstance(found, FunctionType):
        return partial(_Function(reader, found, place), owner)
    if isinstance(found, property) and isinstance(found.fget, FunctionType):
        return reader.rebuilt(found.fget)(owner)
    function = getattr(found, "__func__", None)
    if isinstance(found, staticmethod):
        return reader.see(function, ValuePlace(found, (("__func__",),), place.text))
    if isinstance(found, classmethod) and isinstance(function, FunctionType):
        return partial(_Function(reader, function, place), _Class(reader, kind, ValuePlace(kind, (), kind.__name__)))
    _refuse(f"{place.text}, a {type(found).__name__}")


def _stand_in(value: Any) -> type[_StandIn]:
    """Return the stand-in for a value."""
    kind = type(value)
    by_kind = {list: _List, dict: _Dict, ModuleType: _Module, UnionType: _Class}
    if kind in by_kind:
        return by_kind[kind]
    if isinstance(value, (FunctionType, BuiltinFunctionType)):
        return _TorchFunction if value in _TORCH else _Function if isinstance(value, FunctionType) else _StandIn
    if isinstance(value, type):
        return _Class
    plain = kind.__getattribute__ is object.__getattribute__ and not isinstance(value, (Tensor, np.ndarray, tuple))
    return _Object if plain else _StandIn


# -- Python's functions that ask about a value -------------------------------------------------------------------------


def _is_instance(value: Any, kinds: Any) -> bool:
    """Return what `isinstance` does without a trace: a symbol is the tensor or the number that it stands for."""
    wanted = tuple(_flat(kinds))
    if type(value) is not Symbol:
        return issubclass(type(_inner(value)), wanted)
    if not _KINDS.issuperset(wanted):
        raise UntraceableError("the type of a value")
    return Symbol in wanted or (float if value.is_float else Tensor) in wanted


def _flat(kinds: Any) -> Iterator[type]:
    kinds = _inner(kinds)
    for each in kinds if isinstance(kinds, tuple) else get_args(kinds) or (kinds,):
        yield from (_flat(each) if isinstance(each, tuple) else (_inner(each),))


def _get(value: Any, name: str, *default: Any) -> Any:
    if type(value) is Symbol or is_special(name):
        raise UntraceableError(f"the attribute {name}")
    return getattr(value, name, *default)


def _has(value: Any, name: str) -> bool:
    return _get(value, name, ABSENT) is not ABSENT
