"""Steps that were traced, by what they are and what they read; and the loops that are rendered from them."""

from __future__ import annotations

import linecache
import logging
import re
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

from torch import Tensor

from snnlab.kernels import cpu, gpu
from snnlab.kernels.emit import Form, Source
from snnlab.kernels.guards import Guards
from snnlab.kernels.trace import Step, UntraceableError, describe, trace, value_of

log = logging.getLogger(__name__)

Way = Literal["forward", "backward"]


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

    def source(self, way: Way, form: Form, device: ModuleType = cpu) -> Source:
        """Return a loop as it is rendered by `cpu` or `gpu`."""
        return getattr(device, way)(self.step, form, self.title)

    def loop(self, way: Way, form: Form) -> Any:
        """Return a loop for CPUs."""
        if (way, form) not in self._loops:
            source = self.source(way, form)
            self._loops[way, form] = _loop(source.text, f"{self.title}_{way}", way, tuple(source.arguments))
        return self._loops[way, form]

    def kernel(self, way: Way, form: Form) -> tuple[Any, list[str]]:
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
    return found if isinstance(found, Traced) else _said(found)


def refuse(found: Traced, problem: str) -> Refused:
    """Let a step that was traced run by the plain loop from now on, because of a problem."""
    refused = Refused(f"{found.title}: {problem}", found.guards)
    with _tracing:
        for entries in _known.values():
            entries[:] = [refused if entry is found else entry for entry in entries]
    return _said(refused)


def _said(refused: Refused) -> Refused:
    _say(refused.why)
    return refused


@cache  # once, and not for each neuron
def _say(why: str) -> None:
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
    except (
        Exception
    ) as error:  # whatever else a step does with what is no tensor; the plain loop says it if it is a bug
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
    if not isinstance(k, tuple):
        return ("tensor" if isinstance(k, Tensor) else "float") if _is_number(k) else (type(k), k)
    return type(k), *map(structure_of, k)


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
    return isinstance(value, Tensor) or (isinstance(value, float) and value not in (0.0, 1.0))
