"""The equations of neurons, rendered from their steps.

Those of one neuron have its settings; those of a kind have the choices of a setting as cases, each of which changes
this setting alone.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.kernels.equations import Equations, equations_of, symbols_of
from snnlab.kernels.formulas import Formulas, LatexWriter, TextWriter
from snnlab.kernels.trace import Node, UntraceableError
from snnlab.nn.neurons.base import Neuron, cast_coefficients, named_neurons
from snnlab.nn.neurons.learn import number_text
from snnlab.nn.neurons.recurrent import Recurrent
from snnlab.nn.neurons.state_output import StateOutput
from snnlab.spec.annotations import matches_type
from snnlab.spec.field import Field
from snnlab.spec.signatures import fields_of

# What is tried for a setting that has no value by default.
_TRIED = (-0.5, 0.5, "2 steps")
_STEP = "H(z)"
# What a neuron is built with besides its settings.
_CONTEXT = {"dt": 1.0, "in_shape": (1,), "num_steps": 1}


class Case(NamedTuple):
    """One form of an equation: its right side, and the setting that chooses it; empty for the only one."""

    value: Node
    strict: bool
    when: str = ""


@dataclass
class Line:
    """An equation: its name, whether it has a value in each step, its cases, and its number, if it is one."""

    name: str
    timed: bool
    cases: list[Case]
    number: str = ""

    @property
    def key(self) -> tuple[str, bool]:
        """What tells equations apart: a coefficient may have the name of a state."""
        return self.name, self.timed

    def text(self) -> list[str]:
        """Return the equation as lines of text."""
        name = f"{self.name}[t]" if self.timed else self.name
        found = [TextWriter(case.strict).write(case.value) for case in self.cases]
        if len(found) == 1:
            number = f" = {self.number}" if self.number not in ("", found[0]) else ""
            return [f"{name} = {found[0]}{number}   {self.cases[0].when}".rstrip()]
        signs, width = ("=", *["|"] * len(found)), max(map(len, found))
        return [
            f"{name if number == 0 else ' ' * len(name)} {sign} {text:{width}}   {case.when}".rstrip()
            for number, (sign, text, case) in enumerate(zip(signs, found, self.cases, strict=False))
        ]

    def latex(self) -> str:
        """Return the equation as one line of an `aligned` environment."""
        writers = [LatexWriter(case.strict) for case in self.cases]
        name = writers[0].timed(self.name, 0) if self.timed else writers[0].symbol(self.name)
        name = "H(z)" if self.name == _STEP else name
        found = [writer.write(case.value) for writer, case in zip(writers, self.cases, strict=True)]
        if len(found) == 1:
            return f"{name} &= {found[0]}"
        rows = [
            rf"{text} & \text{{{case.when.replace('_', chr(92) + '_')}}}"
            for text, case in zip(found, self.cases, strict=True)
        ]
        return rf"{name} &= \begin{{cases}} " + r" \\ ".join(rows) + r" \end{cases}"


class RenderedEquations(NamedTuple):
    """Equations of a neuron.

    Attributes:
        lines: Those of a step in the order in which they are computed, of a kind by default, then the coefficients'.
        values: What the settings in them are, as text with units; empty for a kind.
    """

    lines: list[Line]
    values: Mapping[str, str] = MappingProxyType({})

    def text(self) -> list[str]:
        """Return the equations as lines of text; but for `^`, Python can compute them."""
        return [text for line in self.lines for text in line.text()]

    def latex(self) -> str:
        """Return the equations as LaTeX."""
        rows = " \\\\\n".join(f"  {line.latex()}" for line in self.lines)
        return f"\\begin{{aligned}}\n{rows}\n\\end{{aligned}}"


def equations_of_neuron(neuron: Neuron) -> RenderedEquations | str:
    """Return the equations of a neuron with its settings, or why they cannot be rendered.

    Terms whose coefficient is 0, and factors of 1, are left out.
    """
    if not isinstance(neuron, Recurrent | StateOutput):
        return _rendered(neuron, exact=True)
    found = _rendered(neuron.neuron, exact=True)
    if isinstance(found, str):
        return found
    graph = Formulas()
    if isinstance(neuron, StateOutput):
        y = Line("y", True, [Case(graph.make("x", name=neuron.variable), False)])
        return RenderedEquations([*found.lines, y], found.values)
    y = graph.make("before", name="s" if neuron.spiking else "y")
    arriving = graph.make("add", graph.make("x", name="input"), graph.make("mul", graph.number("W"), y))
    return RenderedEquations([Line("x", True, [Case(arriving, False)]), *found.lines], found.values)


def equation_texts(network: nn.Module, *, latex: bool) -> Iterator[tuple[list[str], str]]:
    """Yield the equations of a network's neurons with the settings in them, and the names of their layers."""
    layers: dict[str, list[str]] = {}
    for name, neuron in named_neurons(network):
        found = equations_of_neuron(neuron)
        if isinstance(found, str):
            stated = [*neuron.equations, f"(as its class states them: {found})"]
            text = "\n".join(f"    {line}" for line in stated)
        elif latex:
            text = found.latex()
        else:
            values = ", ".join(f"{symbol} = {value}" for symbol, value in found.values.items())
            text = "\n".join(f"    {line}" for line in [*found.text(), *([f"with {values}"] if values else [])])
        layers.setdefault(text, []).append(name)
    yield from ((names, text) for text, names in layers.items())


def is_neuron(factory: Callable[..., Any]) -> bool:
    """Return whether a registered class or function makes neurons."""
    kind = inspect.unwrap(factory)
    return isinstance(kind, type) and issubclass(kind, Neuron)


def equations_of_kind(factory: Callable[..., Any]) -> RenderedEquations | str:
    """Return the equations of a registered neuron, the choices of its settings as cases, or why there are none."""
    choices = _Choices(factory, _CONTEXT)
    found = choices.render()
    if isinstance(found, str):
        return found
    lines = [Line(line.name, line.timed, list(line.cases)) for line in found.lines]
    settled: dict[tuple[str, bool], dict[str, str]] = {line.key: {} for line in lines}
    for field in choices.fields.values():
        _add_cases(lines, settled, field, choices.variants(field))
    for line in lines:
        defaults = settled[line.key]
        if len(line.cases) > 1:
            own = next(iter(defaults.values())) if len(defaults) == 1 else "by default"
            line.cases[0] = line.cases[0]._replace(when=own)
    return RenderedEquations(lines)


class _Variant(NamedTuple):
    """The equations with another choice of a setting, and those that differ by this choice alone."""

    value: Any
    base: RenderedEquations
    changed: RenderedEquations


def _add_cases(
    lines: list[Line], settled: dict[tuple[str, bool], dict[str, str]], field: Field, variants: list[_Variant]
) -> None:
    """Add the equations that choices of a setting change as cases; `settled` gets the words for the default of each."""
    same: dict[tuple[str, bool], list[Any]] = {}
    changed_lines: set[tuple[str, bool]] = set()
    known = {line.key: line for line in lines}
    for value, base, changed in variants:
        before = {line.key: line.text() for line in base.lines}
        for line in changed.lines:
            if line.text() == before.get(line.key):
                same.setdefault(line.key, []).append(value)
                continue
            case = line.cases[0]._replace(when=_words(field, [value]))
            if line.key in known and line.key not in before and _text(known[line.key].cases[0]) == _text(case):
                continue
            if line.key not in known:
                known[line.key] = Line(line.name, line.timed, [case])
                lines.append(known[line.key])
                settled[line.key] = {}
                continue
            changed_lines.add(line.key)
            cases = known[line.key].cases
            equal = next((at for at, each in enumerate(cases) if at and _text(each) == _text(case)), None)
            if equal is None:
                cases.append(case)
            elif case.when not in cases[equal].when.split(", or "):
                cases[equal] = cases[equal]._replace(when=f"{cases[equal].when}, or {case.when}")
    for key in changed_lines:
        settled[key][field.name] = _words(field, [field.default, *same.get(key, [])])


def _words(field: Field, values: list[Any]) -> str:
    """Return choices of a setting as text: `reset: value`, `synapse: jump_first or next_step`."""

    def say(value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        return "null" if value is None else value if _is_literal(value, field.annotation) else "a number"

    texts = list(dict.fromkeys(map(say, values)))
    alone = texts == ["a number"] and field.default is None
    return f"with {field.name}" if alone else f"{field.name}: {' or '.join(texts)}"


def _text(case: Case) -> str:
    return TextWriter(case.strict).write(case.value)


class _Choices:
    """The settings of a kind that change its equations."""

    def __init__(self, factory: Callable[..., Any], given: Mapping[str, Any]) -> None:
        self.factory, known = factory, fields_of(inspect.unwrap(factory))
        self.given = {name: value for name, value in given.items() if name in known}
        self.fields = {name: field for name, field in known.items() if name not in given}
        self.render = cache(self._render)
        choices = {name: list(self._choices(field)) for name, field in self.fields.items()}
        # What another choice may need: the texts, `input_gain: 1-a`.
        self.contexts = [
            (),
            *((name, value) for name, values in choices.items() for value in values if isinstance(value, str)),
        ]
        self.choices = choices

    def _render(self, *changes: tuple[str, Any]) -> RenderedEquations | str:
        """Return the equations with changed settings, or why there are none."""
        try:
            neuron = self.factory(**self.given, **dict(filter(None, changes)))
        except (ConfigError, ValueError) as error:
            return str(error)
        return _rendered(neuron, exact=False)

    def variants(self, field: Field) -> list[_Variant]:
        """Return the equations with each other choice of a setting."""
        found = []
        for value in self.choices[field.name]:
            for context in self.contexts:
                if context and context[0] == field.name:
                    continue
                base, changed = self.render(context), self.render(context, (field.name, value))
                if not isinstance(base, str) and not isinstance(changed, str):
                    found.append(_Variant(value, base, changed))
                    break
        return found

    def _choices(self, field: Field) -> Iterator[Any]:
        """Yield other values of a setting that may change the equations: texts, true and false, none, a number."""
        earlier = [name for name in field.excludes if [*self.fields].index(name) < [*self.fields].index(field.name)]
        if earlier:  # two ways to say the same
            return
        literals = [value for part in _members(field.annotation) for value in _values(part)]
        yield from (value for value in literals if value != field.default)
        optional = matches_type(None, field.annotation)
        if field.default is not None and optional and isinstance(field.default, float):
            yield None
        if field.default is None or field.default in literals:
            yield from [v for v in _TRIED if field.problem(v) is None and self._is_taken(field.name, v)][:1]

    def _is_taken(self, name: str, value: Any) -> bool:
        return not isinstance(self.render((name, value)), str)


def _members(annotation: Any) -> list[Any]:
    is_union = get_origin(annotation) in (Union, types.UnionType)
    return [part for each in get_args(annotation) for part in _members(each)] if is_union else [annotation]


def _values(part: Any) -> tuple[Any, ...]:
    return (False, True) if part is bool else get_args(part) if get_origin(part) is Literal else ()


def _is_literal(value: Any, annotation: Any) -> bool:
    return isinstance(value, str) and any(value in _values(part) for part in _members(annotation))


def _rendered(neuron: Neuron, *, exact: bool) -> RenderedEquations | str:
    """Return the equations of a neuron; `exact`: with the numbers of its settings, without terms that are 0."""
    if neuron.parallel:
        return "it computes all steps at once"
    k = neuron.coefficients()
    numbers = _all_numbers(k)
    values = {name: value for name, (_, value) in numbers.items()}
    settings = [name for name in fields_of(type(neuron)) if type(vars(neuron).get(name)) in (float, int)]
    said = neuron.definitions()
    places, formulas = _definitions(numbers, said)
    if exact:
        renamed = {name: formulas[at] for name, at in places.items() if formulas.get(at, "(").isidentifier()}
        fields = [field for field, _ in numbers.values()]
        ones = [name for name, at in places.items() if _is(values.get(name), 1.0) and at in formulas]
        places |= renamed | {name: "1" for name in ones if renamed.get(name) not in fields}
        places |= {name: "0" for name, value in values.items() if _is(value, 0.0)}
        places |= {name: "0" for name in settings if _is(vars(neuron)[name], 0.0) and name not in places}
    state = neuron.rest_of_one_sample()
    try:
        found = equations_of(
            neuron.step,
            state,
            cast_coefficients(k, torch.zeros(1, dtype=torch.float64)),
            settings={*settings, *(name for name in said if name not in values)},
            definitions=places,
            output="s" if neuron.spiking else "y",
        )
    except UntraceableError as error:
        return str(error)
    strict = bool(found.strict)
    lines = [Line(line.name, True, [Case(line.value, strict)]) for line in found.lines]
    coefficients = [*_coefficient_lines(found, formulas, values if exact else {}, places)]
    names = [*found.symbols(), *(name for line in coefficients for name in symbols_of(line.cases[0].value))]
    by_field = dict(numbers.values())
    given = {name: _value_text(neuron, name, by_field.get(name)) for name in names if name not in formulas}
    found_values = {name: text for name, text in given.items() if text} if exact else {}
    return RenderedEquations([*lines, *_step_line(found), *coefficients], found_values)


def _value_text(neuron: Neuron, name: str, coefficient: Any) -> str:
    """Return the value of a setting with its unit, of an attribute or of a coefficient; empty where there is none."""
    if name == "dt":
        return "1 step" if neuron.dt is None else f"{neuron.dt:g} ms"
    known, value = fields_of(type(neuron)), getattr(neuron, name, None)
    value = coefficient if value is None else value
    if value is None or isinstance(value, str):
        return value or ""
    return " ".join(filter(None, (_number(value), known[name].unit if name in known else "")))


def _definitions(
    numbers: Mapping[str, tuple[str, Any]], said: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return what stands for each coefficient in the equations, and the formulas of symbols that stand there."""
    formulas, places = {}, {}
    for name, text in said.items():
        symbol, equals, formula = text.partition(" = ")
        if equals:
            formulas[symbol] = formula
        places[name] = symbol
    found = {name: places.get(name, places.get(field, field)) for name, (field, _) in numbers.items()}
    return found | ({"x": places["x"]} if "x" in places else {}), formulas


def _coefficient_lines(
    found: Equations, formulas: Mapping[str, str], values: Mapping[str, Any], places: Mapping[str, str]
) -> Iterator[Line]:
    """Yield the formulas of the symbols in the equations, and of those in these formulas."""
    names = [*found.symbols()]
    for name in names:
        if name in formulas:
            value = found.graph.parse(formulas[name])
            names += [each for each in symbols_of(value) if each not in names]
            number = next((values[each] for each, place in places.items() if place == name and each in values), None)
            shown = "" if number is None else _number(number)
            yield Line(name, False, [Case(value, False)], shown)


def _step_line(found: Equations) -> Iterator[Line]:
    """Yield what H is, where it stands in the equations."""
    if found.strict is not None:
        graph = Formulas()
        z, zero, one = graph.number("z"), graph.const(0.0), graph.const(1.0)
        condition = graph.make("gt" if found.strict else "ge", z, zero)
        yield Line(_STEP, False, [Case(graph.make("where", condition, one, zero), found.strict)])


def _all_numbers(k: Any) -> dict[str, tuple[str, Any]]:
    """Return all numbers of coefficients, 0 and 1 too, by their names, each with that of its field."""
    if not isinstance(k, tuple):
        return {"k": ("k", k)}
    found: dict[str, tuple[str, Any]] = {}
    fields = getattr(k, "_fields", None)
    for n, value in enumerate(k):
        name, field = (fields[n], fields[n]) if fields else (str(n), f"k{n}")  # a place alone is no symbol
        inner = {f"{name}_{each}": part for each, part in _all_numbers(value).items()}
        found |= inner if isinstance(value, tuple) else {name: (field, value)}
    return found


def _is(value: Any, number: float) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and value == number


def _number(value: float | Tensor) -> str:
    if isinstance(value, Tensor):
        value = value.detach()
        if value.min() < value.max():
            return number_text(value)
        value = value.flatten()[0].item()
    short = f"{value:.4g}"
    return short if "." in short or float(short) == value else f"{value:.9g}"  # 0.99999875 is not 1
