"""What a step reads besides its arguments, recorded while it is traced: where one of these changes, it is traced again.

Attributes are recorded as the step reads them; globals, closure cells and defaults are those that the code of the step,
and of the functions that it calls, can read.
"""

from __future__ import annotations

import dis
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from snnlab.kernels.trace import UntraceableError

# Objects within objects that are looked into.
_DEEP = 4
# Libraries whose functions do not change.
_FIXED = ("torch", "numpy", "math", "builtins", "snnlab.kernels", "typing", "collections")
_ABSENT = object()


class Guards:
    """Where a step has read something, and what it has found there.

    Args:
        owner: The object whose method the step is, or None.
    """

    def __init__(self, owner: Any) -> None:
        self.attributes: dict[tuple[str, ...], Any] = {}
        self.cells: list[tuple[Callable[[], Any], Any]] = []
        # Whether a user's code takes part.
        self.foreign = False
        self._seen: set[int] = set()
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
            for name in path[:-1]:
                part = getattr(part, name, _ABSENT)
            if _frozen(_read(part, path[-1])) != found:
                return False
        return all(_frozen(read()) == found for read, found in self.cells)

    def _recorder(self, of: Any, path: tuple[str, ...]) -> Any:
        """Return what stands for an object, and records what is read of it."""
        cls = type(of)

        def get(_: Any, name: str) -> Any:
            if name.startswith("__"):
                return getattr(of, name)
            value = _read(of, name)
            if value is _ABSENT:
                raise AttributeError(f"'{cls.__name__}' object has no attribute '{name}'")
            place = (*path, name)
            self.attributes[place] = _frozen(value)
            if isinstance(value, MethodType) and value.__self__ is of:
                self._methods.append((cls, value.__func__))  # type: ignore[arg-type]
                return MethodType(value.__func__, recorder)
            if isinstance(value, FunctionType):
                self._methods.append((cls, value))
            if _is_plain_object(value) and len(path) < _DEEP:
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
        self._note(lambda: (function.__defaults__, function.__kwdefaults__))
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if name != "__class__":
                self._note(lambda cell=cell: _content(cell))
        for code in _codes(function.__code__):
            for name, attributes in _globals(code):
                self._read_global(function.__globals__, name, attributes)
            if cls is not None and "super" in code.co_names:
                for name in code.co_names:
                    for base in cls.__mro__:
                        if isinstance(own := vars(base).get(name), FunctionType):
                            self._scan(own, cls)

    def _read_global(self, names: dict[str, Any], name: str, attributes: tuple[str, ...]) -> None:
        if name not in names:
            return  # a builtin
        value = names[name]
        if not isinstance(value, ModuleType):
            self._note(lambda: names.get(name, _ABSENT))
        elif attributes and not _is_fixed(value):
            self._note(lambda: getattr(names.get(name), attributes[0], _ABSENT))

    def _note(self, read: Callable[[], Any]) -> None:
        value = read()
        self.cells.append((read, _frozen(value)))
        if isinstance(value, FunctionType):
            self._scan(value, None)
        elif isinstance(value, MethodType):
            self._scan(value.__func__, type(value.__self__))


def _read(of: Any, name: str) -> Any:
    try:
        return getattr(of, name)
    except AttributeError:
        return _ABSENT


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


def _frozen(value: Any, deep: int = _DEEP) -> Any:
    """Return what is equal as long as a value is the same.

    Raises:
        UntraceableError: if it holds a tensor.
    """
    if value is None or isinstance(value, bool | int | str):
        return type(value), value
    if isinstance(value, float):
        return repr(value)  # a NaN is equal to itself, and -0.0 to no other
    if isinstance(value, MethodType):
        return value.__func__
    if isinstance(value, Tensor):
        raise UntraceableError("a tensor that is neither input, state nor coefficient")
    if isinstance(value, FunctionType | BuiltinFunctionType | type | ModuleType | torch.dtype | torch.device):
        return value
    if isinstance(value, tuple | list):
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
