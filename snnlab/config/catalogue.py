"""The settings of neurons and surrogates, read from their source without running it, so before torch is imported.

Names, units and exclusions are known; the class itself checks values when it is built.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import snnlab
from snnlab.config.plugins import module_paths
from snnlab.errors import ConfigError
from snnlab.spec.field import Field, with_mutual_exclusions
from snnlab.spec.signatures import check_known

Group = Literal["neuron", "surrogate"]
_REGISTRIES: dict[str, Group] = {"NEURONS": "neuron", "SURROGATES": "surrogate"}
_NN = Path(snnlab.__file__).parent / "nn"
_OWN_FILES = (_NN / "surrogate.py", *sorted((_NN / "neurons").glob("*.py")))
# Arguments that snnlab passes itself.
_SUPPLIED = ("dt", "in_shape", "num_steps")
# Bases without settings.
_WITHOUT_FIELDS = ("ABC", "Declared", "Scheduled", "TemporalLayer")
DEFAULT_SURROGATE = "atan"


class Catalogue:
    """The fields of the registered classes of some files.

    Args:
        files: Files of source; those of the bases too.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self._values: dict[str, ast.expr] = {}
        self._nodes: dict[str, ast.ClassDef] = {}
        self._kinds: dict[tuple[Group, str], str] = {}
        for path in files:
            for node in _parsed(path):
                if isinstance(node, ast.ClassDef):
                    self._nodes[node.name] = node
                    self._kinds |= dict.fromkeys(_registered(node), node.name)
                elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    self._values[node.targets[0].id] = node.value

    def fields_of(self, group: Group, kind: Any) -> Mapping[str, Field] | None:
        """Return the fields of a kind; None if they are not known."""
        name = self._kinds.get((group, kind)) if isinstance(kind, str) else None
        bases = None if name is None else self._in_order(name)
        if bases is None:
            return None
        found: dict[str, Field] = {}
        for base in reversed(bases):
            for node in base.body:
                if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                    return None  # its own constructor checks
                if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                    self._read(node, node.target.id, found)
        if group == "neuron":
            found["recurrent"] = Field("recurrent", Any, default=False)
        return with_mutual_exclusions({name: one for name, one in found.items() if name not in _SUPPLIED})

    def all_fields(self, group: Group) -> list[Mapping[str, Field]]:
        """Return the fields of all kinds of a group."""
        return [fields for of, kind in self._kinds if of == group and (fields := self.fields_of(of, kind)) is not None]

    def _in_order(self, name: str) -> list[ast.ClassDef] | None:
        """Return a class and its bases in the order of inheritance; None if the source of one is not known."""
        made: dict[str, type] = {}

        def make(name: str) -> type:
            if name not in made:
                bases = [base.id if isinstance(base, ast.Name) else "" for base in self._nodes[name].bases]
                made[name] = type(name, tuple(make(base) for base in bases if base not in _WITHOUT_FIELDS), {})
            return made[name]

        try:
            return [self._nodes[base.__name__] for base in make(name).__mro__[:-1]]
        except KeyError:
            return None

    def _read(self, node: ast.AnnAssign, name: str, found: dict[str, Field]) -> None:
        value = node.value
        called = value.func.id if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) else ""
        if called == "no_setting":
            found.pop(name, None)
        elif not name.startswith("_") and not ast.unparse(node.annotation).startswith("ClassVar"):
            if called == "setting" and isinstance(value, ast.Call):
                aliases = [one.value for one in value.keywords if one.arg == "alias"]
                name = next((str(one.value) for one in aliases if isinstance(one, ast.Constant)), name)
            notes = list(self._notes(node.annotation))
            unit = next((note for note in notes if isinstance(note, str)), "")
            excludes = tuple(other for note in notes if isinstance(note, tuple) for other in note)
            found[name] = Field(name, Any, unit, None, None, excludes)

    def _notes(self, annotation: ast.expr) -> Iterator[str | tuple[str, ...]]:
        """Yield the unit and the excluded names of an annotation."""
        if isinstance(annotation, ast.Name) and annotation.id in self._values:
            yield from self._notes(self._values[annotation.id])
        elif isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Annotated":
            inner, *notes = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
            yield from self._notes(inner)
            for note in notes:
                if isinstance(note, ast.Constant) and isinstance(note.value, str):
                    yield note.value
                elif isinstance(note, ast.Call) and ast.unparse(note.func) == "Excludes":
                    yield tuple(name for one in note.args for name in self._names(one))

    def _names(self, node: ast.expr) -> list[str]:
        if isinstance(node, ast.Starred):
            return self._names(node.value)
        node = self._values.get(node.id, node) if isinstance(node, ast.Name) else node
        names = ast.literal_eval(node)
        return [names] if isinstance(names, str) else list(names)


def _parsed(path: Path) -> list[ast.stmt]:
    try:
        return ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):  # of a plugin, whose import reports it
        return []


def _registered(node: ast.ClassDef) -> Iterator[tuple[Group, str]]:
    """Yield group and name under which a class is registered: `@NEURONS.register("lif")`."""
    for one in node.decorator_list:
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) and one.func.attr == "register":
            group = _REGISTRIES.get(ast.unparse(one.func.value).rpartition(".")[2])
            if group and one.args and isinstance(one.args[0], ast.Constant):
                yield group, str(one.args[0].value)


@cache
def _own() -> Catalogue:
    return Catalogue(_OWN_FILES)


def catalogue(plugins: Sequence[str] = ()) -> Catalogue:
    """Return the catalogue of snnlab's own kinds, and of those in plugins, whose files may change."""
    files = [path for name in plugins for path in module_paths(name) if path.suffix == ".py"]
    return Catalogue([*_OWN_FILES, *files]) if files else _own()


@cache
def rivals_in_any(group: Group, name: str) -> tuple[str, ...]:
    """Return the settings that exclude one of this name in any of snnlab's own kinds."""
    found = [fields[name].excludes for fields in catalogue().all_fields(group) if name in fields]
    return tuple(dict.fromkeys(rival for names in found for rival in names))


def rivals(known: Catalogue, node: Mapping[str, Any], group: Group, name: Any) -> Sequence[str]:
    """Return the settings of a node that exclude one of its settings."""
    fields = known.fields_of(group, node.get("type", DEFAULT_SURROGATE if group == "surrogate" else None)) or {}
    return fields[name].excludes if name in fields else ()


def drop_replaced(
    known: Catalogue, neuron: Mapping[str, Any] | None, model: Mapping[str, Any], given: Collection[str]
) -> None:
    """Remove from neuron and layers the settings that a given override excludes.

    Args:
        known: The catalogue.
        neuron: The experiment's neuron, changed in place, as are the layers.
        model: The model's node.
        given: Keys of the overrides that set a value.
    """
    for key in given:
        for node, rival in rivals_at(known, neuron, model, key):
            other = f"{key.rpartition('.')[0]}.{rival}"
            if other in given:
                raise ConfigError(key, f"give either this or {other}, not both")
            node.pop(rival, None)


def rivals_at(
    known: Catalogue, neuron: Mapping[str, Any] | None, model: Mapping[str, Any], key: str
) -> list[tuple[dict[str, Any], str]]:
    """Return the settings of neuron and layers that exclude one of them, each with its node."""
    head, _, leaf = key.rpartition(".")
    node: Any = {"neuron": neuron, "model": model}
    for part in head.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    if not isinstance(node, dict):
        return []
    of = neuron if node.get("type") == "neuron" and neuron else node
    return [(node, one) for one in rivals(known, of, "surrogate" if head.endswith(".surrogate") else "neuron", leaf)]


def check_names(known: Catalogue, node: Any, place: str) -> None:
    """Refuse unknown settings of the neurons and surrogates in a node and below it."""
    if isinstance(node, list):
        for number, each in enumerate(node):
            check_names(known, each, f"{place}.{number}")
    if not isinstance(node, Mapping):
        return
    group: Group = "surrogate" if place.endswith(".surrogate") else "neuron"
    kind = node.get("type", DEFAULT_SURROGATE if group == "surrogate" else None)
    fields = known.fields_of(group, kind)
    if fields is not None:
        check_known(fields, {name: value for name, value in node.items() if name != "type"}, place, kind)
    for name, value in node.items():
        check_names(known, value, f"{place}.{name}")
