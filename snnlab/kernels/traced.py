"""Steps that were traced, by what they are and what they read; and the loops that are rendered from them.

What a step reads besides its arguments is recorded while it is traced; where one of these changes, it is traced again.
Attributes are recorded as the step reads them; globals, closure cells and defaults are those that the code of the step,
and of the functions that it calls, can read.
"""

from __future__ import annotations

import dis
import linecache
import logging
import re
import threading
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.kernels import cpu, gpu
from snnlab.kernels.emit import Form, Source
from snnlab.kernels.trace import Step, UntraceableError, describe, trace, value_of

log = logging.getLogger(__name__)

Direction = Literal["forward", "backward"]

# Objects within objects that are looked into.
_DEEP = 4
# Libraries whose functions do not change.
_FIXED = ("torch", "numpy", "math", "builtins", "snnlab.kernels", "typing", "collections")
_ABSENT, _NOTHING = object(), object()
# What is the same as long as it is the same object, or equal to it.
_NAMED = frozenset((FunctionType, BuiltinFunctionType, type, ModuleType, torch.dtype, torch.device))
# What nobody can change.
_CONSTANT = _NAMED | {type(None), bool, int, float, str}


class Traced:
    """A step that was traced.

    Args:
        step: The step as expressions.
        guards: What it was traced with.
        title: What it is called, an identifier.
        unchecked: Whether nobody has compared it with the plain loop yet.
    """

    def __init__(self, step: Step, guards: Guards, title: str, *, unchecked: bool) -> None:
        self.step, self.guards, self.title, self.unchecked = step, guards, title, unchecked
        self._loops: dict[Any, Any] = {}

    def numbers(self, k: Any) -> dict[str, float | Tensor]:
        """Return what the loops are given of coefficients, computed as the plain loop would."""
        given = numbers_of(k)
        return {name: value_of(node, given) for name, node in self.step.numbers.items()}

    def source(self, way: Direction, form: Form, device: ModuleType = cpu) -> Source:
        """Return a loop as it is rendered by `cpu` or `gpu`."""
        return getattr(device, way)(self.step, form, self.title)

    def loop(self, way: Direction, form: Form) -> Any:
        """Return a loop for CPUs."""
        if (way, form) not in self._loops:
            source = self.source(way, form)
            self._loops[way, form] = _loop(source.text, f"{self.title}_{way}", way, tuple(source.arguments))
        return self._loops[way, form]

    def kernel(self, way: Direction, form: Form) -> tuple[Any, list[str]]:
        """Return a kernel for GPUs, and the names of what it takes."""
        if (gpu, way, form) not in self._loops:
            source = self.source(way, form, gpu)
            self._loops[gpu, way, form] = _module(source.text, f"{self.title}_{way}"), source.arguments
        module, arguments = self._loops[gpu, way, form]
        return getattr(module, way), arguments


class Refused(NamedTuple):
    """A step that cannot be traced, as it was; says the place and the reason."""

    why: str
    guards: Guards


@cache
def _loop(text: str, title: str, way: str, arguments: tuple[str, ...]) -> Any:
    from snnlab.kernels.runtime import Loop  # numba takes a second to import, for which only who runs a network waits

    return Loop(text, title, way, arguments)


@cache
def _module(text: str, title: str) -> Any:
    from snnlab.kernels.runtime import loaded  # as above

    return loaded(text, title, None)


_known: dict[Any, list[Traced | Refused]] = {}
_tracing = threading.RLock()


def traced(
    step: Callable[..., Any], state: Any, k: Any, wanted: frozenset[str], *, grad: bool, keep_y: bool = False
) -> Traced | Refused:
    """Return a step as it is traced, at the first time and whenever something has changed that it reads.

    Args:
        step: See `function.run`, as state and k.
        state: Of it the type counts, and at the first time of a user's step its values.
        k: Of it the structure counts, likewise.
        wanted: Names of coefficients of which gradients are asked.
        grad: Whether there is a backward pass.
        keep_y: Whether that needs the output too.
    """
    owner = getattr(step, "__self__", None)
    function = getattr(step, "__func__", step)
    key = type(owner), function, type(state), structure_of(k), wanted, grad, grad and keep_y
    for found in _known.get(key, ()):
        if found.guards.hold(owner):
            return found
    with _tracing:
        found = _traced(step, owner, state, k, wanted, grad, keep_y)
        _known.setdefault(key, []).append(found)
    return found


def refuse(found: Traced, problem: str) -> Refused:
    """Let a step that was traced run by the plain loop from now on, because of a problem."""
    refused = Refused(f"{found.title}: {problem}", found.guards)
    with _tracing:
        for entries in _known.values():
            entries[:] = [refused if entry is found else entry for entry in entries]
    return refused


@cache  # once, and not for each neuron
def say_plain(why: str) -> None:
    """Say that the plain loop runs, and why."""
    log.warning("the plain loop runs, some times slower: %s", why)


def _traced(
    step: Any, owner: Any, state: Any, k: Any, wanted: frozenset[str], grad: bool, keep_y: bool
) -> Traced | Refused:
    name = re.sub(r"\W", "_", type(owner).__name__ if owner is not None else step.__name__)
    guards = Guards(owner)
    try:
        if not hasattr(state, "_fields") or not all(isinstance(part, Tensor) for part in state):
            raise UntraceableError("a state that is no NamedTuple of tensors")
        steps = []
        for _ in range(2):
            recorded = guards.recording(step)
            steps.append(trace(recorded, type(state), lambda make: _filled(k, make), wanted, grad=grad, keep_y=keep_y))
        guards.close(step)
        if describe(steps[0]) != describe(steps[1]):
            raise UntraceableError("another step at each call, as with randomness")
        if not steps[0].exact and not getattr(owner, "approximate", False):
            raise UntraceableError("operations that round otherwise than torch's; approximate = True allows them")
        return Traced(steps[0], guards, name, unchecked=guards.foreign)
    except UntraceableError as error:
        return Refused(f"{name}{_place(error)}: {error}", guards)
    except Exception as error:  # whatever a step does with what is no tensor; a bug shows in the plain loop too
        return Refused(f"{name}{_place(error)}: {type(error).__name__}: {error}", guards)


def _place(error: BaseException) -> str:
    """Return the line of the step in which something was met, in words."""
    found, here = "", Path(__file__).parent
    trail = error.__traceback__
    while trail is not None:
        code = trail.tb_frame.f_code
        if Path(code.co_filename).parent != here:
            line = linecache.getline(code.co_filename, trail.tb_lineno).strip()
            found = f".{code.co_name}, line {trail.tb_lineno}, `{line}`"
        trail = trail.tb_next
    return found


# -- Coefficients -----------------------------------------------------------------------------------------------------


def numbers_of(k: Any, prefix: str = "") -> dict[str, float | Tensor]:
    """Return the floats and tensors of coefficients by name, but for plain 0 and 1, which a step may look at."""
    found: dict[str, float | Tensor] = {}
    for name, value in _parts(k):
        if isinstance(value, tuple):
            found |= numbers_of(value, f"{prefix}{name}_")
        elif _is_number(value):
            found[prefix + name] = value
    return found


def structure_of(k: Any) -> Any:
    """Return what of coefficients is no number: their types, names, and what a step may look at."""
    if isinstance(k, tuple):
        return type(k), *map(structure_of, k)
    return type(k) if _is_number(k) else (type(k), k)


def _filled(k: Any, make: Callable[[str, bool], Any], prefix: str = "") -> Any:
    """Return coefficients with what is made of the name of each number in its place."""
    parts = []
    for name, value in _parts(k):
        if isinstance(value, tuple):
            parts.append(_filled(value, make, f"{prefix}{name}_"))
        else:
            parts.append(make(prefix + name, isinstance(value, Tensor)) if _is_number(value) else value)
    if not isinstance(k, tuple):
        return parts[0]
    return type(k)(*parts) if hasattr(k, "_fields") else tuple(parts)


def mapped(k: Any, make: Callable[[Any], Any]) -> Any:
    """Return coefficients with what is made of each in its place."""
    if not isinstance(k, tuple):
        return make(k)
    parts = [mapped(part, make) for part in k]
    return type(k)(*parts) if hasattr(k, "_fields") else tuple(parts)


def _parts(k: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(k, tuple):
        yield "k", k
    else:
        yield from zip(getattr(k, "_fields", map(str, range(len(k)))), k, strict=True)


def _is_number(value: Any) -> bool:
    return value not in (0.0, 1.0) if isinstance(value, float) else isinstance(value, Tensor)


# -- What a step reads -------------------------------------------------------------------------------------------------


class Guards:
    """Where a step has read something, and what it has found there.

    Args:
        owner: The object whose method the step is, or None.
    """

    def __init__(self, owner: Any) -> None:
        self.attributes: dict[tuple[str, ...], tuple[Any, Any]] = {}
        self.cells: list[tuple[Callable[[], Any], tuple[Any, Any]]] = []
        # Whether a user's code takes part.
        self.foreign = False
        self._seen: set[Any] = set()
        self._methods: list[tuple[type, FunctionType]] = []
        self.owner = owner

    def recording(self, step: MethodType | FunctionType) -> Callable[..., Any]:
        """Return the step as it is called to be traced: what it reads of its owner is recorded."""
        if not isinstance(step, MethodType):
            return step
        self._methods.append((type(self.owner), step.__func__))
        return MethodType(step.__func__, self._recorder(self.owner, ()))

    def close(self, step: MethodType | FunctionType) -> None:
        """Look through the code that has run; raise if the step has changed what it reads.

        Raises:
            UntraceableError: if it reads a tensor, or has changed something.
        """
        for cls, function in self._methods:
            self._scan(function, cls)
        if not isinstance(step, MethodType):
            self._scan(step, None)
        if not self.hold(self.owner):
            self.attributes, self.cells = {}, []  # it would change them again
            raise UntraceableError("it changes what it reads")
        self.owner = None

    def hold(self, owner: Any) -> bool:
        """Return whether all is still as it was found, of this owner or another one of its class."""
        for path, found in self.attributes.items():
            part = owner
            for name in path:
                part = getattr(part, name, _ABSENT)
            part = part.__func__ if type(part) is MethodType else part
            if part is not found[0] and not _is_same(part, found[1]):
                return False
        for read, found in self.cells:
            value = read()
            if value is not found[0] and not _is_same(value, found[1]):
                return False
        return True

    def _recorder(self, of: Any, path: tuple[str, ...]) -> Any:
        """Return what stands for an object, and records what is read of it."""
        cls = type(of)

        def get(_: Any, name: str) -> Any:
            if name.startswith("__"):
                if path and name in ("__dict__", "__reduce_ex__"):
                    self.attributes[path] = _found(of)
                return getattr(of, name)
            value = getattr(of, name, _ABSENT)
            if value is _ABSENT:
                raise AttributeError(f"'{cls.__name__}' object has no attribute '{name}'")
            place = (*path, name)
            if not (looked_into := _is_plain_object(value) and len(path) < _DEEP):
                self.attributes[place] = _found(value)
            if isinstance(value, MethodType) and value.__self__ is of:
                self._methods.append((cls, value.__func__))  # type: ignore[arg-type]
                return MethodType(value.__func__, recorder)
            if isinstance(value, FunctionType):
                self._methods.append((cls, value))
            if looked_into:
                # What is read of it is recorded too.
                self.attributes[(*place, "__class__")] = _found(type(value))
                return self._recorder(value, place)
            return value

        def put(_: Any, name: str, *__: Any) -> None:
            raise UntraceableError(f"it writes into self.{'.'.join((*path, name))}")

        own = {"__getattribute__": get, "__setattr__": put, "__delattr__": put, "__module__": cls.__module__}
        kind: Any = type(cls)
        recorder = object.__new__(kind(cls.__name__, (cls,), own))
        return recorder

    def _scan(self, function: Any, cls: type | None) -> None:
        """Record what a function's code reads of globals and cells, and what the functions do that it calls."""
        if id(function) in self._seen or _is_fixed(function):
            return
        self._seen.add(id(function))
        self.foreign |= not str(function.__module__).startswith("snnlab.")
        self._note(partial(getattr, function, "__defaults__"))
        self._note(partial(getattr, function, "__kwdefaults__"))
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if name != "__class__":
                self._note(partial(_content, cell))
        for code in _codes(function.__code__):
            for name, attributes in _globals(code):
                self._read_global(function.__globals__, name, attributes)
            if cls is not None and "super" in code.co_names:
                for name in code.co_names:
                    for base in cls.__mro__:
                        if isinstance(own := vars(base).get(name), FunctionType):
                            self._scan(own, cls)

    def _read_global(self, names: dict[str, Any], name: str, attributes: tuple[str, ...]) -> None:
        if name not in names or (place := (id(names), name, attributes)) in self._seen:
            return  # a builtin, or known
        self._seen.add(place)
        value = names[name]
        if not isinstance(value, ModuleType):
            self._note(partial(names.get, name, _ABSENT))
        elif attributes and not _is_fixed(value):
            self._note(lambda: getattr(names.get(name), attributes[0], _ABSENT))

    def _note(self, read: Callable[[], Any]) -> None:
        value = read()
        self.cells.append((read, _found(value)))
        if isinstance(value, FunctionType):
            self._scan(value, None)
        elif isinstance(value, MethodType):
            self._scan(value.__func__, type(value.__self__))


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _ABSENT


def _is_fixed(value: Any) -> bool:
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None) or ""
    return any(name == each or name.startswith(f"{each}.") for each in _FIXED)


def _is_plain_object(value: Any) -> bool:
    kept = nn.Module, Tensor, type, ModuleType, FunctionType, MethodType, BuiltinFunctionType, tuple, dict, list, str
    return hasattr(value, "__dict__") and not isinstance(value, kept) and not callable(value)


def _found(value: Any) -> tuple[Any, Any]:
    """Return a value, if nobody can change it, and what of it is equal as long as it is the same."""
    value = value.__func__ if isinstance(value, MethodType) else value
    return value if _is_constant(value) else _NOTHING, _frozen(value)


def _is_same(value: Any, frozen: Any) -> bool:
    try:
        return _frozen(value) == frozen
    except UntraceableError:  # it is a tensor now
        return False


def _is_constant(value: Any) -> bool:
    return type(value) in _CONSTANT or (isinstance(value, tuple) and all(map(_is_constant, value)))


def _frozen(value: Any, deep: int = _DEEP) -> Any:
    """Return what is equal as long as a value is the same.

    Raises:
        UntraceableError: if it holds a tensor.
    """
    if type(value) in _NAMED:
        return value
    if value is None or isinstance(value, (bool, int, str)):
        return type(value), value
    if isinstance(value, float):
        return repr(value)  # a NaN is equal to itself, and -0.0 to no other
    if isinstance(value, MethodType):
        return value.__func__
    if isinstance(value, Tensor):
        raise UntraceableError("a tensor that is neither input, state nor coefficient")
    if isinstance(value, (type, ModuleType)):
        return value
    if isinstance(value, (tuple, list)):
        return type(value), tuple(_frozen(part, deep) for part in value)
    if isinstance(value, dict):
        return type(value), tuple((repr(key), _frozen(part, deep)) for key, part in value.items())
    if hasattr(value, "__dict__") and deep:
        return type(value), tuple((name, _frozen(part, deep - 1)) for name, part in vars(value).items())
    return type(value), id(value)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield a code and those of the functions written within it."""
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _codes(const)


def _globals(code: CodeType) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the globals that a code reads, with the attribute that it reads of each."""
    instructions = list(dis.get_instructions(code))
    for at, instruction in enumerate(instructions):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            behind = instructions[at + 1] if at + 1 < len(instructions) else None
            reads = behind is not None and behind.opname in ("LOAD_ATTR", "LOAD_METHOD")
            yield str(instruction.argval), (str(behind.argval),) if behind is not None and reads else ()
