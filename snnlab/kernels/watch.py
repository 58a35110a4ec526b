"""What a step may read besides its arguments, and the stand-ins that hold it to this while it is traced.

A trace is right as long as everything is unchanged that the step has read besides its arguments. So during tracing the
step sees stand-ins in place of its object, globals, closure and defaults. A plain value (a number, a text, a dtype, a
tuple of such) is given as it is, and recorded with its place. From objects, lists, dicts, classes, modules and
functions the step reads further values in the same way; a function runs under the same rule as the step. Nothing else
can be used: tensors, arrays, iterators, files, clocks, random numbers and torch's modes are refused by name, and so is
code that could get around the stand-ins (`try`, `with`, `import`, `global`, names with double underscores).
"""

from __future__ import annotations

import builtins
import dis
import inspect
import math
import sys
from collections.abc import Callable, Iterator
from functools import partial
from operator import attrgetter
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
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
from snnlab.kernels.trace import TORCH_FUNCTIONS, Symbol, UntraceableError

_ABSENT, _UNFIXED, _OWNER = object(), object(), object()
# Immutable types, whose values are compared.
PLAIN = frozenset((type(None), bool, int, float, complex, str, bytes, type(...), range, torch.dtype, torch.device))
PLAIN |= {np.bool_, *np.sctypeDict.values()} - {np.object_, np.void}
# Types whose values are compared by identity.
_BY_IDENTITY = (FunctionType, BuiltinFunctionType, type, ModuleType, CodeType, property)
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


# -- The values that a step has read ----------------------------------------------------------------------------------


class Reading(NamedTuple):
    """A value that a step has read.

    Attributes:
        read: Reads it again, from the step's object or another one of the same class.
        value: The value, if it cannot change while it is the same object.
        fact: What must be unchanged of it.
    """

    read: Callable[[Any], Any]
    value: Any
    fact: Any


class Readings:
    """What a step has read besides its arguments.

    Attributes:
        values: Values of its object and of other objects.
        names: Global names, each with the names of its module and its value.
        functions: The functions that it has run, with their code and defaults.
    """

    def __init__(self) -> None:
        self.values: list[Reading] = []
        self.names: list[tuple[dict[str, Any], str, Any]] = []
        self.functions: list[tuple[FunctionType, CodeType, Any, Any]] = []

    def are_valid(self, owner: Any) -> bool:
        """Return whether all is unchanged, for an object of the step's class."""
        for function, code, defaults, keywords in self.functions:
            if (
                function.__code__ is not code
                or function.__defaults__ is not defaults
                or function.__kwdefaults__ is not keywords
            ):
                return False
        for names, name, value in self.names:
            if names.get(name, _ABSENT) is not value:
                return False
        for read, value, fact in self.values:
            found = _read(read, owner)
            if found is not value and _fact(found) != fact:
                return False
        return True


def _read(read: Callable[[Any], Any], owner: Any) -> Any:
    try:
        return read(owner)
    except (AttributeError, LookupError, ValueError):  # ValueError: a closure's variable without a value
        return _ABSENT


class _Same:
    """A value that is compared by identity, and kept, so that no other object gets its address."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    __hash__ = None  # type: ignore[assignment]


def _fact(value: Any) -> Any:
    """Return what must be unchanged of a value: the value, its identity, or its type."""
    kind = type(value)
    if kind in PLAIN:
        return _Same(kind), repr(value)  # so that NaN equals NaN, and -0.0 differs from 0.0
    if kind is MethodType:
        return _Same(value.__func__)
    if value is _ABSENT or isinstance(value, _BY_IDENTITY):
        return _Same(value)
    return (_Same(kind), *map(_fact, value)) if isinstance(value, tuple) else _Same(kind)


class _Place(NamedTuple):
    """Where a value stands: a root and the way from it.

    Attributes:
        root: An object, or `_OWNER`.
        path: Attributes (texts in a 1-tuple), items (keys in a 2-tuple) and functions to apply, in their order.
        text: The place for users, such as `self.gain`.
    """

    root: Any
    path: tuple[Any, ...]
    text: str

    def attribute(self, name: str) -> _Place:
        return _Place(self.root, (*self.path, (name,)), f"{self.text}.{name}")

    def item(self, key: Any) -> _Place:
        return _Place(self.root, (*self.path, (None, key)), f"{self.text}[{key!r}]")

    def applied(self, function: Callable[[Any], Any]) -> _Place:
        return _Place(self.root, (*self.path, function), f"{function.__name__}({self.text})")

    def reader(self) -> Callable[[Any], Any]:
        root, path = self.root, self.path
        if root is _OWNER and path and all(isinstance(part, tuple) and len(part) == 1 for part in path):
            return attrgetter(".".join(part[0] for part in path))

        def read(owner: Any) -> Any:
            value: Any = owner if root is _OWNER else root
            for part in path:
                if callable(part):
                    value = part(value)
                elif len(part) == 1:
                    value = getattr(value, part[0])
                else:
                    value = value[part[1]]
            return value

        return read


class Watch:
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
        visible = _Function(self, function, _Place(function, (), function.__name__))
        return visible if owner is None else partial(visible, self.see(owner, _Place(_OWNER, (), "self")))

    def record(self, place: _Place, value: Any) -> None:
        """Record that the step depends on a value."""
        key = id(place.root), place.path
        if key not in self._places:
            self._places.add(key)
            fixed = type(value) in PLAIN or value is _ABSENT or isinstance(value, (tuple, *_BY_IDENTITY))
            self.readings.values.append(Reading(place.reader(), value if fixed else _UNFIXED, _fact(value)))

    def see(self, value: Any, place: _Place) -> Any:
        """Return what a step sees of a value, which is recorded: the value, or a stand-in."""
        self.record(place, value)
        return self._visible(value, place)

    def _visible(self, value: Any, place: _Place) -> Any:
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

    def _see_tuple(self, value: Any, place: _Place) -> Any:
        kind = type(value)
        parts = (self._visible(part, place.item(at)) for at, part in enumerate(value))  # the tuple is recorded
        if kind is tuple:
            return tuple(parts)
        return tuple.__new__(self.watched(kind), parts) if _is_named(kind) else _StandIn(self, value, place)

    def watched(self, kind: Any) -> Any:
        """Return the class of a NamedTuple in which the user's methods and attributes are under the rule."""
        if kind not in self._tuples:
            place = _Place(kind, (), kind.__name__)
            if type(kind) is not type or kind.__dictoffset__:
                raise UntraceableError(f"{place.text}, which has a metaclass or a __dict__")
            defaults = self.see(kind.__new__.__defaults__, _Place(kind.__new__, (("__defaults__",),), place.text))
            if any(type(value) not in PLAIN for value in defaults or ()):
                raise UntraceableError(f"the defaults of {place.text}")
            bases = kind.__mro__[: kind.__mro__.index(tuple)]
            found: dict[str, Any] = {"__slots__": ()}
            for base in bases:
                generated = {*kind._fields, *_GENERATED} if "_fields" in vars(base) else ()
                for name, value in vars(base).items():
                    if name not in found and name not in generated:
                        found |= self._watched_attribute(name, value, place.attribute(name))
            self._tuples[kind] = type(kind.__name__, (kind,), found)
        return self._tuples[kind]

    def _watched_attribute(self, name: str, value: Any, place: _Place) -> dict[str, Any]:
        if _is_special(name):
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
        _check_code(function.__code__)
        self.runs_user_code |= not str(function.__module__).startswith("snnlab.")
        place = _Place(function, (), function.__name__)
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
            here = _Place(cell, (("cell_contents",),), name)
            if (content := _read(here.reader(), None)) is _ABSENT:
                self.record(here, _ABSENT)
            else:
                visible.cell_contents = self.see(content, here)
        for name in _global_names(function.__code__):
            if name not in names:
                self._see_global(names, function.__globals__, name)
        return new

    def _see_global(self, names: dict[str, Any], module: dict[str, Any], name: str) -> None:
        here = _Place(module, ((None, name),), name)
        self.readings.names.append((module, name, module.get(name, _ABSENT)))
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
        kind = next((each for each, watched in self._tuples.items() if watched is kind), kind)
        return kind if kind in _KINDS else _Class(self, kind, _Place(kind, (), kind.__name__))

    def _super(self, *given: Any) -> Any:
        frame = sys._getframe(1)
        names = "__class__", frame.f_code.co_varnames[0]
        cls, owner = given or (frame.f_locals[name] for name in names)
        return _Super(self, (_inner(cls), owner), _Place(None, (), "super()"))


def _is_trusted(value: Any) -> bool:
    return value is Symbol or value is partial or (type(value) is FunctionType and value.__globals__ is vars(trace))


def _is_named(kind: type) -> bool:
    return issubclass(kind, tuple) and hasattr(kind, "_fields") and hasattr(kind, "_make")


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


_GENERATED = frozenset(vars(NamedTuple("_Empty", [])))


def _as_method(function: Callable[..., Any]) -> Any:
    """Return a callable as a function, so that a class binds it to its instances."""
    return lambda *args, **kwargs: function(*args, **kwargs)


def _refuse(what: str, *_: Any, **__: Any) -> NoReturn:
    raise UntraceableError(what)


# -- The code of a step -----------------------------------------------------------------------------------------------

_OPERATIONS = {
    "IMPORT_NAME": "an import",
    "STORE_GLOBAL": "a write of a global",
    "DELETE_GLOBAL": "a write of a global",
    "PUSH_EXC_INFO": "try or with",
    "MATCH_CLASS": "a match of a class",
    "MATCH_KEYS": "a match of keys",
    "MATCH_MAPPING": "a match of a mapping",
}
_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "STORE_ATTR", "DELETE_ATTR")


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object and those of the functions defined in it."""
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _codes(const)


def _global_names(code: CodeType) -> Iterator[str]:
    for each in _codes(code):
        for instruction in dis.get_instructions(each):
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                yield str(instruction.argval)


def _check_code(code: CodeType) -> None:
    """Raise an UntraceableError for code that could get around the stand-ins, or hide that one has refused."""
    for each in _codes(code):
        before, line = "", each.co_firstlineno
        for instruction in dis.get_instructions(each):
            line = (instruction.positions and instruction.positions.lineno) or line
            if (problem := _problem(instruction, before, code.co_freevars)) is not None:
                raise UntraceableError(f"{problem}, in line {line}")
            before = instruction.opname


def _problem(instruction: dis.Instruction, before: str, outer: tuple[str, ...]) -> str | None:
    name, value = instruction.opname, str(instruction.argval)
    if name in _OPERATIONS:
        return _OPERATIONS[name]
    if name in _ATTRIBUTES and _is_special(value) and value != "__name__":
        return f"the attribute {value}"
    if name in ("STORE_DEREF", "DELETE_DEREF") and value in outer:
        return f"a write of the outer variable {value}"
    if name == "IS_OP" and "CONST" not in before:
        return "a comparison of identities"
    return None


# -- Stand-ins --------------------------------------------------------------------------------------------------------

_SPECIAL = {name for kind in (int, complex, list, dict, set) for name in dir(kind)} - set(dir(object)) | {
    *("__call__", "__next__", "__enter__", "__exit__", "__matmul__", "__rmatmul__", "__hash__", "__repr__", "__str__"),
    *("__format__", "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"),
}


class _StandIn:
    """A stand-in for a value that a step may not use; subclasses allow some uses.

    Args:
        watch: The watch.
        value: The value.
        place: Its place.
    """

    __slots__ = ("_inside",)

    def __init__(self, watch: Watch, value: Any, place: _Place) -> None:
        object.__setattr__(self, "_inside", (watch, value, place))

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            return type(self)  # asked by isinstance; the step itself cannot name it
        if _is_special(name) and name != "__name__":
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


def _parts(stand_in: Any) -> tuple[Watch, Any, _Place]:
    return object.__getattribute__(stand_in, "_inside")


def _inner(value: Any) -> Any:
    """Return the value behind a stand-in, or the value itself."""
    return _parts(value)[1] if issubclass(type(value), _StandIn) else value


def _text(stand_in: Any) -> str:
    return _parts(stand_in)[2].text


for _name in filter(_is_special, _SPECIAL):
    setattr(_StandIn, _name, _refuse_use)


class _Function(_StandIn):
    """A function of Python, which runs under the rule of the step."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        watch, function, _ = _parts(self)
        return watch.rebuilt(function)(*args, **kwargs)


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
        watch, module, place = _parts(self)
        if name not in vars(module):
            _refuse(f"{place.text}.{name}")
        return watch.see(vars(module)[name], place.attribute(name))


class _List(_StandIn):
    """A list, of which the step reads items and length."""

    __slots__ = ()

    def __len__(self) -> int:
        watch, value, place = _parts(self)
        return watch.see(len(value), place.applied(len))

    def __getitem__(self, at: Any) -> Any:
        watch, value, place = _parts(self)
        if isinstance(at, slice):
            return [self[each] for each in range(len(self))[at]]
        return watch.see(value[at], place.item(at))

    def __iter__(self) -> Iterator[Any]:
        return (self[at] for at in range(len(self)))


class _Dict(_StandIn):
    """A dict, of which the step reads keys and values."""

    __slots__ = ()

    def _keys(self) -> tuple[Any, ...]:
        watch, value, place = _parts(self)
        return watch.see(tuple(value), place.applied(tuple))

    def __len__(self) -> int:
        return len(_Dict._keys(self))

    def __iter__(self) -> Iterator[Any]:
        return iter(_Dict._keys(self))

    def __contains__(self, key: Any) -> bool:
        return key in _Dict._keys(self)

    def __getitem__(self, key: Any) -> Any:
        watch, value, place = _parts(self)
        return watch.see(value[key], place.item(key))

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
        watch, of, place = _parts(self)
        here, kind = place.attribute(name), type(of)
        found = inspect.getattr_static(of, name, _ABSENT)
        if found is _ABSENT and isinstance(of, nn.Module):
            found = getattr(of, name, _ABSENT)  # a parameter, a buffer or a module
        if found is _ABSENT:
            if hasattr(kind, "__getattr__") and not isinstance(of, nn.Module):
                _refuse(f"{here.text}, by __getattr__")
            watch.record(here, _ABSENT)
            raise AttributeError(f"'{kind.__name__}' object has no attribute '{name}'")
        if isinstance(found, MemberDescriptorType):  # of __slots__
            return watch.see(getattr(of, name), here)
        if name in getattr(of, "__dict__", ()) or not hasattr(type(found), "__get__"):
            return watch.see(found, here)
        # A property cannot be hidden by an attribute of the object; a method can.
        place = _Place(kind, ((name,),), here.text) if isinstance(found, property) else here
        watch.record(place, getattr(kind if isinstance(found, property) else of, name))
        return _bound(watch, found, here, self, kind)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        watch, of, place = _parts(self)
        found = inspect.getattr_static(type(of), "__call__", None)
        if not isinstance(found, FunctionType):
            _refuse_use(self)
        here = _Place(type(of), (("__call__",),), f"{place.text}.__call__")
        watch.record(here, found)
        return _bound(watch, found, here, self, type(of))(*args, **kwargs)


class _Class(_StandIn):
    """A class, of which the step reads attributes; a NamedTuple can be made."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        watch, kind, _ = _parts(self)
        if not (isinstance(kind, type) and _is_named(kind)):
            _refuse_use(self)
        return watch.watched(kind)(*args, **kwargs)

    def __or__(self, other: Any) -> Any:
        watch, kind, place = _parts(self)
        return _Class(watch, kind | _inner(other), place)

    def __ror__(self, other: Any) -> Any:
        watch, kind, place = _parts(self)
        return _Class(watch, other | kind, place)

    def see(self, name: str) -> Any:
        watch, kind, place = _parts(self)
        if name == "__name__":
            return kind.__name__
        here, found = place.attribute(name), inspect.getattr_static(kind, name, _ABSENT)
        if found is _ABSENT:
            watch.record(here, _ABSENT)
            raise AttributeError(f"type object '{kind.__name__}' has no attribute '{name}'")
        if isinstance(found, FunctionType) or not hasattr(type(found), "__get__"):
            return watch.see(found, here)
        if isinstance(found, property):
            _refuse(f"{here.text}, a property")
        watch.record(here, getattr(kind, name))
        return _bound(watch, found, here, self, kind)


class _Super(_StandIn):
    """What `super()` returns: the value is the class and the stand-in of the object."""

    __slots__ = ()

    def see(self, name: str) -> Any:
        watch, (cls, owner), _ = _parts(self)
        kind = type(_inner(owner))
        for base in kind.__mro__[kind.__mro__.index(cls) + 1 :]:
            found = vars(base).get(name, _ABSENT)
            here = _Place(base, (("__dict__",), (None, name)), f"super().{name}")
            watch.record(here, found)
            if found is not _ABSENT:
                return (
                    _bound(watch, found, here, owner, kind)
                    if hasattr(type(found), "__get__")
                    else watch.see(found, here)
                )
        raise AttributeError(f"'super' object has no attribute '{name}'")


def _bound(watch: Watch, found: Any, place: _Place, owner: Any, kind: type) -> Any:
    """Return what a step sees of a function, property, static method or class method of a class."""
    if isinstance(found, FunctionType):
        return partial(_Function(watch, found, place), owner)
    if isinstance(found, property) and isinstance(found.fget, FunctionType):
        return watch.rebuilt(found.fget)(owner)
    function = getattr(found, "__func__", None)
    if isinstance(found, staticmethod):
        return watch.see(function, _Place(found, (("__func__",),), place.text))
    if isinstance(found, classmethod) and isinstance(function, FunctionType):
        return partial(_Function(watch, function, place), _Class(watch, kind, _Place(kind, (), kind.__name__)))
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
    if type(value) is Symbol or _is_special(name):
        raise UntraceableError(f"the attribute {name}")
    return getattr(value, name, *default)


def _has(value: Any, name: str) -> bool:
    return _get(value, name, _ABSENT) is not _ABSENT
