"""A cache of traced steps and of the loops rendered from them.

The values that a step reads besides its arguments are recorded during tracing; when one of them changes, the step is
traced again. Attributes are recorded as the step reads them; globals, closure cells and defaults are all those that the
code of the step, and of the functions that it calls, can read.
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
from snnlab.kernels.emit import LoopSource, LoopVariant
from snnlab.kernels.runtime import CompiledLoop, load_module
from snnlab.kernels.trace import StepGraph, UntraceableError, describe, trace, value_of

log = logging.getLogger(__name__)

Direction = Literal["forward", "backward"]

# Depth to which nested objects are inspected.
_MAX_DEPTH = 4
# Modules whose functions are taken as constant.
_CONSTANT_MODULES = ("torch", "numpy", "math", "builtins", "snnlab.kernels", "typing", "collections")
_ABSENT, _MUTABLE = object(), object()
# Types whose values are unchanged as long as they are the same object, or equal to it.
_COMPARED_BY_IDENTITY = frozenset((FunctionType, BuiltinFunctionType, type, ModuleType, torch.dtype, torch.device))
# Immutable types.
_IMMUTABLE = _COMPARED_BY_IDENTITY | {type(None), bool, int, float, str}


class TracedStep:
    """A traced step and its rendered loops.

    Args:
        step: The expressions of the step.
        guards: The values that it read during tracing.
        title: Its name, an identifier.
        unchecked: Whether the comparison with the plain loop is still to be done.
    """

    def __init__(self, step: StepGraph, guards: Guards, title: str, *, unchecked: bool) -> None:
        self.step, self.guards, self.title, self.unchecked = step, guards, title, unchecked
        self._loops: dict[Any, Any] = {}

    def numbers(self, k: Any) -> dict[str, float | Tensor]:
        """Return the numbers that the loops take, computed from coefficients with the operations of the plain loop."""
        values = numbers_of(k)
        return {name: value_of(node, values) for name, node in self.step.numbers.items()}

    def source(self, direction: Direction, options: LoopVariant, device: ModuleType = cpu) -> LoopSource:
        """Return the source of a loop, rendered by the module `cpu` or `gpu`."""
        return getattr(device, direction)(self.step, options, self.title)

    def loop(self, direction: Direction, options: LoopVariant) -> Any:
        """Return a loop for CPUs."""
        if (direction, options) not in self._loops:
            source = self.source(direction, options)
            title = f"{self.title}_{direction}"
            self._loops[direction, options] = _make_loop(source.text, title, direction, tuple(source.arguments))
        return self._loops[direction, options]

    def kernel(self, direction: Direction, options: LoopVariant) -> tuple[Any, list[str]]:
        """Return a kernel for GPUs, and the names of its arguments."""
        if (gpu, direction, options) not in self._loops:
            source = self.source(direction, options, gpu)
            module = _load_kernel(source.text, f"{self.title}_{direction}")
            self._loops[gpu, direction, options] = module, source.arguments
        module, arguments = self._loops[gpu, direction, options]
        return getattr(module, direction), arguments


class UntraceableStep(NamedTuple):
    """A step that cannot be traced: the reason with its place, and the values that the step read."""

    reason: str
    guards: Guards


@cache
def _make_loop(text: str, title: str, direction: str, arguments: tuple[str, ...]) -> Any:
    return CompiledLoop(text, title, direction, arguments)


@cache
def _load_kernel(text: str, title: str) -> Any:
    return load_module(text, title, None)


_cache: dict[Any, list[TracedStep | UntraceableStep]] = {}
_tracing = threading.RLock()


def trace_step(
    step: Callable[..., Any], state: Any, k: Any, learned: frozenset[str], *, grad: bool, save_y: bool = False
) -> TracedStep | UntraceableStep:
    """Return a step as traced; it is traced at its first use, and again when a value that it reads has changed.

    Args:
        step: `step(x, state, k) -> (y, state)`, a method or a function.
        state: The state; only its type matters, except in the first check of a user-defined step.
        k: The coefficients; only their structure matters, with the same exception.
        learned: Names of coefficients that need gradients.
        grad: Whether there is a backward pass.
        save_y: Whether the backward pass needs the output.
    """
    owner = getattr(step, "__self__", None)
    function = getattr(step, "__func__", step)
    key = type(owner), function, type(state), structure(k), learned, grad, grad and save_y
    for found in _cache.get(key, ()):
        if found.guards.are_valid(owner):
            return found
    with _tracing:
        found = _trace_step(step, owner, state, k, learned, grad, save_y)
        _cache.setdefault(key, []).append(found)
    return found


def mark_untraceable(found: TracedStep, problem: str) -> UntraceableStep:
    """Replace a traced step in the cache, so that the plain loop runs from now on."""
    untraceable = UntraceableStep(f"{found.title}: {problem}", found.guards)
    with _tracing:
        for entries in _cache.values():
            entries[:] = [untraceable if entry is found else entry for entry in entries]
    return untraceable


@cache  # one warning per reason, not one per neuron
def warn_plain_loop(reason: str) -> None:
    """Warn that the plain loop runs, with the reason."""
    log.warning("the plain loop runs, which is several times slower: %s", reason)


def _trace_step(
    step: Any, owner: Any, state: Any, k: Any, learned: frozenset[str], grad: bool, save_y: bool
) -> TracedStep | UntraceableStep:
    name = re.sub(r"\W", "_", type(owner).__name__ if owner is not None else step.__name__)
    guards = Guards(owner)
    try:
        if not hasattr(state, "_fields") or not all(isinstance(part, Tensor) for part in state):
            raise UntraceableError("a state that is no NamedTuple of tensors")
        steps = []
        for _ in range(2):
            proxy = guards.recorded_step(step)
            coefficients = partial(_replace_numbers, k)
            steps.append(trace(proxy, type(state), coefficients, learned, grad=grad, save_y=save_y))
        guards.check(step)
        if describe(steps[0]) != describe(steps[1]):
            raise UntraceableError("a different step at each call, as with randomness")
        if not steps[0].exact and not getattr(owner, "approximate", False):
            raise UntraceableError("operations that round differently from torch's; approximate = True allows them")
        return TracedStep(steps[0], guards, name, unchecked=guards.has_user_code)
    except UntraceableError as error:
        return UntraceableStep(f"{name}{_source_line(error)}: {error}", guards)
    except Exception as error:  # any error that a symbol causes in the step; a bug appears in the plain loop too
        return UntraceableStep(f"{name}{_source_line(error)}: {type(error).__name__}: {error}", guards)


def _source_line(error: BaseException) -> str:
    """Return the function and the line of the step that raised an error, as text."""
    found, here = "", Path(__file__).parent
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if Path(code.co_filename).parent != here:
            line = linecache.getline(code.co_filename, traceback.tb_lineno).strip()
            found = f".{code.co_name}, line {traceback.tb_lineno}, `{line}`"
        traceback = traceback.tb_next
    return found


# -- Coefficients -----------------------------------------------------------------------------------------------------


def numbers_of(k: Any, prefix: str = "") -> dict[str, float | Tensor]:
    """Return the floats and tensors of coefficients by name, except 0.0 and 1.0, whose values a step may test."""
    found: dict[str, float | Tensor] = {}
    for name, value in _named_items(k):
        if isinstance(value, tuple):
            found |= numbers_of(value, f"{prefix}{name}_")
        elif _is_number(value):
            found[prefix + name] = value
    return found


def structure(k: Any) -> Any:
    """Return the structure of coefficients: their types, and the values that are no traced numbers."""
    if isinstance(k, tuple):
        return type(k), *map(structure, k)
    return type(k) if _is_number(k) else (type(k), k)


def _replace_numbers(k: Any, make: Callable[[str, bool], Any], prefix: str = "") -> Any:
    """Return coefficients in which `make(name, is_tensor)` replaces each number."""
    parts = []
    for name, value in _named_items(k):
        if isinstance(value, tuple):
            parts.append(_replace_numbers(value, make, f"{prefix}{name}_"))
        else:
            parts.append(make(prefix + name, isinstance(value, Tensor)) if _is_number(value) else value)
    if not isinstance(k, tuple):
        return parts[0]
    return type(k)(*parts) if hasattr(k, "_fields") else tuple(parts)


def map_coefficients(k: Any, make: Callable[[Any], Any]) -> Any:
    """Return nested coefficients with `make` applied to each."""
    if not isinstance(k, tuple):
        return make(k)
    parts = [map_coefficients(part, make) for part in k]
    return type(k)(*parts) if hasattr(k, "_fields") else tuple(parts)


def _named_items(k: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(k, tuple):
        yield "k", k
    else:
        yield from zip(getattr(k, "_fields", map(str, range(len(k)))), k, strict=True)


def _is_number(value: Any) -> bool:
    return value not in (0.0, 1.0) if isinstance(value, float) else isinstance(value, Tensor)


# -- Values that a step reads ------------------------------------------------------------------------------------------


class Guards:
    """The values that a step has read during tracing, and how to read them again.

    Args:
        owner: The object whose method the step is, or None.
    """

    def __init__(self, owner: Any) -> None:
        self.attributes: dict[tuple[str, ...], tuple[Any, Any]] = {}
        self.readers: list[tuple[Callable[[], Any], tuple[Any, Any]]] = []
        # Whether the step runs code from outside snnlab.
        self.has_user_code = False
        self._seen: set[Any] = set()
        self._methods: list[tuple[type, FunctionType]] = []
        self.owner = owner

    def recorded_step(self, step: MethodType | FunctionType) -> Callable[..., Any]:
        """Return the step bound to a recorder, which records the attributes that it reads of its owner."""
        if not isinstance(step, MethodType):
            return step
        self._methods.append((type(self.owner), step.__func__))
        return MethodType(step.__func__, self._recorder(self.owner, ()))

    def check(self, step: MethodType | FunctionType) -> None:
        """Record what the traced code can read besides attributes, and check that the step has changed none of it.

        Raises:
            UntraceableError: if the step reads a tensor, or changes a value that it reads.
        """
        for cls, function in self._methods:
            self._scan(function, cls)
        if not isinstance(step, MethodType):
            self._scan(step, None)
        if not self.are_valid(self.owner):
            self.attributes, self.readers = {}, []  # a new trace would change them again
            raise UntraceableError("it changes values that it reads")
        self.owner = None

    def are_valid(self, owner: Any) -> bool:
        """Return whether all recorded values are unchanged, for this owner or another one of its class."""
        for path, found in self.attributes.items():
            part = owner
            for name in path:
                part = getattr(part, name, _ABSENT)
            part = part.__func__ if type(part) is MethodType else part
            if part is not found[0] and not _is_same(part, found[1]):
                return False
        for read, found in self.readers:
            value = read()
            if value is not found[0] and not _is_same(value, found[1]):
                return False
        return True

    def _recorder(self, of: Any, path: tuple[str, ...]) -> Any:
        """Return a proxy of an object that records the attributes read from it."""
        cls = type(of)

        def get(_: Any, name: str) -> Any:
            if name.startswith("__"):
                if path and name in ("__dict__", "__reduce_ex__"):
                    self.attributes[path] = _snapshot(of)
                return getattr(of, name)
            value = getattr(of, name, _ABSENT)
            if value is _ABSENT:
                raise AttributeError(f"'{cls.__name__}' object has no attribute '{name}'")
            inner_path = (*path, name)
            if not (is_nested := _is_plain_object(value) and len(path) < _MAX_DEPTH):
                self.attributes[inner_path] = _snapshot(value)
            if isinstance(value, MethodType) and value.__self__ is of:
                self._methods.append((cls, value.__func__))  # type: ignore[arg-type]
                return MethodType(value.__func__, recorder)
            if isinstance(value, FunctionType):
                self._methods.append((cls, value))
            if is_nested:
                # The attributes read from it are recorded too.
                self.attributes[(*inner_path, "__class__")] = _snapshot(type(value))
                return self._recorder(value, inner_path)
            return value

        def put(_: Any, name: str, *__: Any) -> None:
            raise UntraceableError(f"it writes into self.{'.'.join((*path, name))}")

        own = {"__getattribute__": get, "__setattr__": put, "__delattr__": put, "__module__": cls.__module__}
        kind: Any = type(cls)
        recorder = object.__new__(kind(cls.__name__, (cls,), own))
        return recorder

    def _scan(self, function: Any, cls: type | None) -> None:
        """Record the globals, cells and defaults that a function can read, and those of the functions that it calls."""
        if id(function) in self._seen or _is_constant_module(function):
            return
        self._seen.add(id(function))
        self.has_user_code |= not str(function.__module__).startswith("snnlab.")
        self._record(partial(getattr, function, "__defaults__"))
        self._record(partial(getattr, function, "__kwdefaults__"))
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if name != "__class__":
                self._record(partial(_cell_content, cell))
        for code in _nested_codes(function.__code__):
            for name, attributes in _global_reads(code):
                self._read_global(function.__globals__, name, attributes)
            if cls is not None and "super" in code.co_names:
                for name in code.co_names:
                    for base in cls.__mro__:
                        if isinstance(own := vars(base).get(name), FunctionType):
                            self._scan(own, cls)

    def _read_global(self, names: dict[str, Any], name: str, attributes: tuple[str, ...]) -> None:
        if name not in names or (key := (id(names), name, attributes)) in self._seen:
            return  # a builtin, or recorded already
        self._seen.add(key)
        value = names[name]
        if not isinstance(value, ModuleType):
            self._record(partial(names.get, name, _ABSENT))
        elif attributes and not _is_constant_module(value):
            self._record(lambda: getattr(names.get(name), attributes[0], _ABSENT))

    def _record(self, read: Callable[[], Any]) -> None:
        value = read()
        self.readers.append((read, _snapshot(value)))
        if isinstance(value, FunctionType):
            self._scan(value, None)
        elif isinstance(value, MethodType):
            self._scan(value.__func__, type(value.__self__))


def _cell_content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _ABSENT


def _is_constant_module(value: Any) -> bool:
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None) or ""
    return any(name == each or name.startswith(f"{each}.") for each in _CONSTANT_MODULES)


def _is_plain_object(value: Any) -> bool:
    others = nn.Module, Tensor, type, ModuleType, FunctionType, MethodType, BuiltinFunctionType, tuple, dict, list, str
    return hasattr(value, "__dict__") and not isinstance(value, others) and not callable(value)


def _snapshot(value: Any) -> tuple[Any, Any]:
    """Return a value if it is immutable, and its comparable form."""
    value = value.__func__ if isinstance(value, MethodType) else value
    return value if _is_immutable(value) else _MUTABLE, _comparable(value)


def _is_same(value: Any, frozen: Any) -> bool:
    try:
        return _comparable(value) == frozen
    except UntraceableError:  # it is a tensor now
        return False


def _is_immutable(value: Any) -> bool:
    return type(value) in _IMMUTABLE or (isinstance(value, tuple) and all(map(_is_immutable, value)))


def _comparable(value: Any, deep: int = _MAX_DEPTH) -> Any:
    """Return a form of a value that is equal as long as the value is unchanged.

    Raises:
        UntraceableError: if the value contains a tensor.
    """
    if type(value) in _COMPARED_BY_IDENTITY:
        return value
    if value is None or isinstance(value, (bool, int, str)):
        return type(value), value
    if isinstance(value, float):
        return repr(value)  # so that NaN equals NaN, and -0.0 differs from 0.0
    if isinstance(value, MethodType):
        return value.__func__
    if isinstance(value, Tensor):
        raise UntraceableError("a tensor that is neither input, state nor coefficient")
    if isinstance(value, (type, ModuleType)):
        return value
    if isinstance(value, (tuple, list)):
        return type(value), tuple(_comparable(part, deep) for part in value)
    if isinstance(value, dict):
        return type(value), tuple((repr(key), _comparable(part, deep)) for key, part in value.items())
    if hasattr(value, "__dict__") and deep:
        return type(value), tuple((name, _comparable(part, deep - 1)) for name, part in vars(value).items())
    return type(value), id(value)


def _nested_codes(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object and those of the functions defined in it."""
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _nested_codes(const)


def _global_reads(code: CodeType) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the globals that a code object reads, with the attribute that it reads from each."""
    instructions = list(dis.get_instructions(code))
    for at, instruction in enumerate(instructions):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            following = instructions[at + 1] if at + 1 < len(instructions) else None
            reads = following is not None and following.opname in ("LOAD_ATTR", "LOAD_METHOD")
            yield str(instruction.argval), (str(following.argval),) if following is not None and reads else ()
