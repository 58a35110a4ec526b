"""What the code of a step may not contain: it could get around the stand-ins, or hide that one has refused."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from functools import cache
from types import CodeType

from snnlab.kernels.trace import UntraceableError

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


@cache  # both checks read them, and to decode them takes most of a trace's time
def _instructions(code: CodeType) -> tuple[dis.Instruction, ...]:
    return tuple(dis.get_instructions(code))


def is_special(name: str) -> bool:
    """Return whether a name is one of Python's own, such as `__dict__`."""
    return name.startswith("__") and name.endswith("__")


def global_names(code: CodeType) -> Iterator[str]:
    """Yield the global names that code reads."""
    for each in _codes(code):
        for instruction in _instructions(each):
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                yield str(instruction.argval)


def check_code(code: CodeType) -> None:
    """Raise an UntraceableError for code that could get around the stand-ins, or hide that one has refused."""
    for each in _codes(code):
        before, line = "", each.co_firstlineno
        for instruction in _instructions(each):
            line = (instruction.positions and instruction.positions.lineno) or line
            if (problem := _problem(instruction, before, code.co_freevars)) is not None:
                raise UntraceableError(f"{problem}, in line {line}")
            before = instruction.opname


def _problem(instruction: dis.Instruction, before: str, outer: tuple[str, ...]) -> str | None:
    name, value = instruction.opname, str(instruction.argval)
    if name in _OPERATIONS:
        return _OPERATIONS[name]
    if name in _ATTRIBUTES and is_special(value) and value != "__name__":
        return f"the attribute {value}"
    if name in ("STORE_DEREF", "DELETE_DEREF") and value in outer:
        return f"a write of the outer variable {value}"
    if name == "IS_OP" and "CONST" not in before:
        return "a comparison of identities"
    return None
