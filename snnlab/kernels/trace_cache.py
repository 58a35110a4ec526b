"""A cache of traced steps and of the loops rendered from them.

A trace belongs to a step, the dtype, the types of the coefficients, and whether there is a backward pass. The values
that the step has read besides its arguments are recorded with it (`readings.py`); when one of them changes, the step is
traced again.
"""

from __future__ import annotations

import linecache
import logging
import math
import re
import threading
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from snnlab.kernels import cpu, gpu
from snnlab.kernels.emit import LoopSource, LoopVariant
from snnlab.kernels.readings import PLAIN, Readings
from snnlab.kernels.runtime import CompiledLoop, load_module
from snnlab.kernels.stand_ins import StepReader
from snnlab.kernels.trace import StepGraph, UntraceableError, trace, value_of

log = logging.getLogger(__name__)

Direction = Literal["forward", "backward"]

# Traces of one step that are kept: more where attributes of several neurons differ than where one changes in time.
_MAX_TRACES = 64


class TracedStep:
    """A traced step and its rendered loops.

    Args:
        step: The expressions of the step.
        readings: The values that it has read besides its arguments.
        title: Its name, an identifier.
        unchecked: Whether the comparison with the plain loop is still to be done.
    """

    def __init__(self, step: StepGraph, readings: Readings, title: str, *, unchecked: bool) -> None:
        self.step, self.readings, self.title, self.unchecked = step, readings, title, unchecked
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
    """A step that cannot be traced: the reason with its place, and the values that it has read."""

    reason: str
    readings: Readings


@cache
def _make_loop(text: str, title: str, direction: str, arguments: tuple[str, ...]) -> Any:
    return CompiledLoop(text, title, direction, arguments)


@cache
def _load_kernel(text: str, title: str) -> Any:
    return load_module(text, title, None)


_cache: dict[Any, list[TracedStep | UntraceableStep]] = {}
_tracing = threading.RLock()


def trace_step(
    step: Callable[..., Any],
    state: Any,
    k: Any,
    learned: frozenset[str],
    *,
    dtype: torch.dtype,
    grad: bool,
    save_y: bool = False,
) -> TracedStep | UntraceableStep:
    """Return a step as traced; it is traced at its first use, and again when a value that it reads has changed.

    Args:
        step: `step(x, state, k) -> (y, state)`, a method or a function.
        state: The state; only its type matters.
        k: The coefficients; only their types matter, and values that are no floats or tensors.
        learned: Names of coefficients that need gradients.
        dtype: The dtype of the input.
        grad: Whether there is a backward pass.
        save_y: Whether the backward pass needs the output.
    """
    owner = getattr(step, "__self__", None)
    function = getattr(step, "__func__", step)
    # Torch gives numbers without a tensor its default dtype.
    dtypes = dtype, torch.get_default_dtype()
    key = type(owner), function, type(state), structure(k), learned, dtypes, grad, grad and save_y
    for found in _cache.get(key, ()):
        if found.readings.are_valid(owner):
            return found
    with _tracing:
        found = _trace_step(step, owner, state, k, learned, dtype, grad, save_y)
        _cache[key] = [found, *_cache.get(key, ())[: _MAX_TRACES - 1]]
    return found


def mark_untraceable(found: TracedStep, problem: str) -> UntraceableStep:
    """Replace a traced step in the cache, so that the plain loop runs from now on."""
    untraceable = UntraceableStep(f"{found.title}: {problem}", found.readings)
    with _tracing:
        for key, entries in _cache.items():
            _cache[key] = [untraceable if entry is found else entry for entry in entries]
    return untraceable


@cache  # one warning per reason, not one per neuron
def warn_plain_loop(reason: str) -> None:
    """Warn that the plain loop runs, with the reason."""
    log.warning("the plain loop runs, which is several times slower: %s", reason)


def _trace_step(
    step: Any,
    owner: Any,
    state: Any,
    k: Any,
    learned: frozenset[str],
    dtype: torch.dtype,
    grad: bool,
    save_y: bool,
) -> TracedStep | UntraceableStep:
    named = type(owner) if owner is not None else step
    name = re.sub(r"\W", "_", getattr(named, "__name__", type(named).__name__))
    reader = StepReader(step)
    try:
        if not hasattr(state, "_fields") or not all(isinstance(part, Tensor) for part in state):
            raise UntraceableError("a state that is no NamedTuple of tensors")
        for part, value in numbers_of(k).items():
            if isinstance(value, Tensor) and value.dtype is not dtype:
                raise UntraceableError(f"the coefficient {part} is {value.dtype}, and the input {dtype}")
        coefficients = partial(replace_numbers, k, reader.visible_class)
        traced = trace(
            reader.step(),
            reader.visible_class(type(state)),
            coefficients,
            learned,
            dtype=dtype,
            grad=grad,
            save_y=save_y,
        )
        if not traced.exact and not getattr(owner, "approximate", False):
            raise UntraceableError("operations that round differently from torch's; approximate = True allows them")
        return TracedStep(traced, reader.readings, name, unchecked=reader.runs_user_code)
    except UntraceableError as error:
        return UntraceableStep(f"{name}{_source_line(error)}: {error}", reader.readings)
    except Exception as error:  # any error that a symbol causes in the step; a bug appears in the plain loop too
        return UntraceableStep(f"{name}{_source_line(error)}: {type(error).__name__}: {error}", reader.readings)


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
    return (type(k), k) if type(k) in PLAIN and not _is_number(k) else (type(k),)


def replace_numbers(
    k: Any,
    visible: Callable[[Any], Any],
    make: Callable[[str, bool], Any],
    prefix: str = "",
    *,
    every: bool = False,
) -> Any:
    """Return coefficients in which `make(name, is_tensor)` replaces each number.

    Args:
        k: The coefficients.
        visible: Returns the class that takes the place of a NamedTuple's.
        make: Makes the symbol of a number.
        prefix: First part of the names.
        every: Whether 0.0 and 1.0 are replaced too, whose values a step may test.
    """
    parts = []
    for name, value in _named_items(k):
        if isinstance(value, tuple):
            parts.append(replace_numbers(value, visible, make, f"{prefix}{name}_", every=every))
        elif _is_number(value) or (every and isinstance(value, float)):
            parts.append(make(prefix + name, isinstance(value, Tensor)))
        elif type(value) in PLAIN:
            parts.append(value)
        else:
            raise UntraceableError(f"the coefficient {prefix}{name} is a {type(value).__name__}")
    if not isinstance(k, tuple):
        return parts[0]
    return tuple(parts) if type(k) is tuple else visible(type(k))(*parts)


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
    if isinstance(value, float):
        return value not in (0.0, 1.0) or math.copysign(1.0, value) < 0  # -0.0 is not the constant 0.0
    return isinstance(value, Tensor)
