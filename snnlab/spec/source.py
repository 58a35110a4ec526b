"""The fields of classes and functions of a module, read from its source without running it.

An annotation is read as text with the words of `typing` and of this folder alone: an alias is replaced by what it
stands for, another class by `Other['Tensor']`, and what cannot be read by `Any`, which accepts every value.
"""

from __future__ import annotations

import ast
import builtins
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Optional, Union

from snnlab.spec import field, interval
from snnlab.spec.field import MISSING, Field, field_of, with_mutual_exclusions

_MODULES = ("typing", "typing_extensions", "collections.abc", field.__name__, interval.__name__)
_BUILTINS = ("bool", "dict", "float", "int", "list", "str", "tuple")
_WORDS: dict[str, Any] = {
    **{name: getattr(builtins, name) for name in _BUILTINS},
    **{"Any": Any, "Annotated": Annotated, "Literal": Literal, "Optional": Optional, "Union": Union},
    **{"Mapping": Mapping, "Sequence": Sequence, "Excludes": field.Excludes, "Form": field.Form, "Help": field.Help},
    **{one.__name__: one for one in (field.SettingsOf, field.ReadBy, field.NamesReadBy)},
    **{name: value for name, value in vars(interval).items() if not name.startswith("_") and name != "Tensor"},
}
# The same by their old names.
_SAME = {"List": "list", "Dict": "dict", "Tuple": "tuple"}
# Classes of other packages, whose source is not read for them.
_CLASSES = ("Module", "ndarray", "Optimizer", "Parameter", "Path", "Tensor", "timedelta")
_ANY = ast.Name("Any")
_DECLARED = ("snnlab.spec.declared", "Declared")
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}
_PLAIN_DECORATORS = {"checks_arguments", "dataclass", "final", "register", "runtime_checkable"}
_HARMLESS = ("ABC", "Generic", "Protocol", "object")
# A default that is not a literal.
COMPUTED = object()


class Described(NamedTuple):
    """What the source says of the arguments of a class or a function.

    Attributes:
        arguments: Annotation and default of each as texts; None: it is required.
        is_open: Whether it takes other names too.
    """

    arguments: Mapping[str, tuple[str, str | None]]
    is_open: bool = False

    def fields(self) -> dict[str, Field]:
        """Return its fields by name."""
        found = {name: field_of(name, annotation_of(of), _value(text)) for name, (of, text) in self.arguments.items()}
        return with_mutual_exclusions(found)


class Found(NamedTuple):
    """A name's module and the node that binds it there."""

    module: Module
    node: ast.AST


class Module:
    """The names that a file binds at its top.

    Args:
        name: Its full name.
        path: Its file.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.package = name if path.stem == "__init__" else name.rpartition(".")[0]
        self.body = _parsed(path)
        self.bound: dict[str, ast.AST | tuple[str, str]] = {}
        for node in _statements(self.body):
            self._bind(node)

    def _bind(self, node: ast.stmt) -> None:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            self.bound[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            self.bound[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            self.bound[node.target.id] = node.value
        elif isinstance(node, ast.ImportFrom):
            above = self.package.split(".")[: len(self.package.split(".")) + 1 - node.level] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            self.bound |= {alias.asname or alias.name: (origin, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            self.bound |= {alias.asname: (alias.name, "") for alias in node.names if alias.asname}


class Sources:
    """Modules, read when they are needed.

    Args:
        find: Returns the file of a module, or None.
    """

    def __init__(self, find: Callable[[str], Path | None]) -> None:
        self._find = find
        self._modules: dict[str, Module | None] = {}

    def module(self, name: str) -> Module | None:
        """Return a module, or None if its source is not known."""
        if name not in self._modules:
            path = self._find(name)
            self._modules[name] = None if path is None else Module(name, path)
        return self._modules[name]

    def found(self, module: Module | None, name: str, depth: int = 0) -> Found | None:
        """Return what a name of a module stands for, in the module that binds it; None if that is not known."""
        bound = None if module is None or depth > 20 else module.bound.get(name)
        if module is None or bound is None:
            return None
        if not isinstance(bound, tuple):
            other = bound.id if isinstance(bound, ast.Name) else name  # another name for the same
            return (self.found(module, other, depth + 1) if other != name else None) or Found(module, bound)
        origin, inner = bound
        return self.found(self.module(origin), inner, depth + 1) if _is_followed(module.name, origin) else None

    def described(self, module: Module | None, name: str) -> Described | None:
        """Return the arguments of a class or a function of a module; None if they are not known."""
        found = self.found(module, name)
        if found is None:
            return None
        if isinstance(found.node, ast.FunctionDef):
            return None if _decorators(found.node) - _PLAIN_DECORATORS else self.signature(found.module, found.node)
        return self.of_class(found.module, found.node) if isinstance(found.node, ast.ClassDef) else None

    def of_class(self, module: Module, node: ast.ClassDef) -> Described | None:
        """Return the arguments of a class: those of its `__init__`, or its annotated attributes and those of bases."""
        made: dict[tuple[str, str], type] = {}
        try:
            order = self._class(Found(module, node), made).__mro__[:-1]
        except TypeError:  # a metaclass or an order of bases that only the real classes have
            return None
        declared = made.get(_DECLARED)
        of_declared = [one.source for one in order if declared in one.__mro__[1:]]  # type: ignore[attr-defined]
        for one in order:
            source: Found | None = one.source  # type: ignore[attr-defined]
            if one is declared:
                return self._attributes(of_declared)
            if source is None or not isinstance(source.node, ast.ClassDef):
                if declared not in order and one.__name__ not in _HARMLESS:
                    return None
                continue
            if _decorators(source.node) - _PLAIN_DECORATORS:  # such as one of attrs, which writes an `__init__`
                return None
            for own in source.node.body:
                if isinstance(own, ast.FunctionDef) and own.name == "__init__":
                    return self.signature(source.module, own, skipped=1)
            if "dataclass" in _decorators(source.node):
                return self._attributes([of.source for of in order if of.source])  # type: ignore[attr-defined]
        return Described({})

    def _class(self, found: Found, made: dict[tuple[str, str], type]) -> type:
        """Return an empty class with the bases of one, for the order in which they are searched."""
        assert isinstance(found.node, ast.ClassDef)
        key = (found.module.name, found.node.name)
        if key not in made:
            bases = []
            for base in found.node.bases:
                text = ast.unparse(base.value if isinstance(base, ast.Subscript) else base)
                of = self._attribute(found.module, text)
                known = of is not None and isinstance(of.node, ast.ClassDef)
                name = text.rpartition(".")[2]
                bases.append(self._class(of, made) if known and of else type(name, (), {"source": None}))
            made[key] = type(key[1], tuple(bases), {"source": found})
        return made[key]

    def _attribute(self, module: Module, text: str) -> Found | None:
        """Return what a name, or a name within a module, stands for."""
        head, _, name = text.rpartition(".")
        if not head:
            return self.found(module, name)
        bound = module.bound.get(head)
        if not isinstance(bound, tuple):
            return None
        origin = ".".join(filter(None, bound))
        return self.found(self.module(origin), name) if _is_followed(module.name, origin) else None

    def _attributes(self, classes: Sequence[Found]) -> Described:
        """Return the annotated attributes of classes, which are in the order of inheritance."""
        arguments: dict[str, tuple[str, str | None]] = {}
        names: dict[str, str] = {}
        positional: set[str] = set()
        for module, node in reversed(classes):
            for one in node.body if isinstance(node, ast.ClassDef) else ():
                if not isinstance(one, ast.AnnAssign) or not isinstance(one.target, ast.Name):
                    continue
                name, value = one.target.id, one.value
                called = value.func.id if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) else ""
                if called == "no_setting":
                    arguments.pop(name, None)
                elif not name.startswith("_") and not ast.unparse(one.annotation).startswith("ClassVar"):
                    words: dict[str | None, ast.expr] = {}
                    if called == "setting" and isinstance(value, ast.Call):
                        words = {word.arg: word.value for word in value.keywords}
                        value = words.get("default")
                    annotation = self.annotation(module, one.annotation)
                    if "read_by" in words:
                        annotation = f"Annotated[{annotation}, ReadBy({ast.unparse(words['read_by'])!r})]"
                    arguments[name] = (annotation, self._default(module, value))
                    names[name] = ast.literal_eval(words["alias"]) if "alias" in words else name
                    if "kw_only" in words:
                        positional.add(name)
        in_order = sorted(arguments, key=lambda name: name not in positional)
        return Described({names[name]: arguments[name] for name in in_order})

    def signature(self, module: Module, node: ast.FunctionDef, skipped: int = 0) -> Described:
        """Return the arguments of a function without the first ones."""
        of = node.args
        plain = [*of.posonlyargs, *of.args]
        defaults = [*([None] * (len(plain) - len(of.defaults))), *of.defaults, *of.kw_defaults]
        arguments = {
            one.arg: (self.annotation(module, one.annotation), self._default(module, default))
            for one, default in list(zip([*plain, *of.kwonlyargs], defaults, strict=True))[skipped:]
        }
        return Described(arguments, of.kwarg is not None)

    def _default(self, module: Module, value: ast.expr | None) -> str | None:
        return None if value is None else ast.unparse(self._literal(module, value) or value)

    def annotation(self, module: Module, node: ast.expr | None) -> str:
        """Return an annotation as text that `annotation_of` reads."""
        return ast.unparse(self._expanded(module, node))

    def _expanded(self, module: Module, node: ast.expr | None, depth: int = 0) -> ast.expr:
        if depth > 20:
            return _ANY
        if isinstance(node, ast.Constant):
            if not isinstance(node.value, str):
                return node
            with suppress(SyntaxError):  # an annotation in quotes
                return self._expanded(module, ast.parse(node.value, mode="eval").body, depth + 1)
        if isinstance(node, ast.Name | ast.Attribute):
            return self._named(module, node, depth)
        if isinstance(node, ast.BinOp):
            sides = [self._expanded(module, side, depth + 1) for side in (node.left, node.right)]
            return ast.BinOp(sides[0], ast.BitOr(), sides[1])
        if isinstance(node, ast.Subscript):
            return self._subscript(module, node, depth)
        return _ANY

    def _named(self, module: Module, node: ast.Name | ast.Attribute, depth: int) -> ast.expr:
        text = ast.unparse(node)
        if (word := self._word(module, text)) is not None:
            return ast.Name(word)
        found = self._attribute(module, text)
        if found is not None and isinstance(found.node, ast.ClassDef):
            if "Protocol" in [ast.unparse(base).partition("[")[0] for base in found.node.bases]:
                return _ANY
            return ast.Subscript(ast.Name("Other"), ast.Constant(found.node.name))
        if found is not None and isinstance(found.node, ast.expr):
            return self._expanded(found.module, found.node, depth + 1)
        name = text.rpartition(".")[2]
        return ast.Subscript(ast.Name("Other"), ast.Constant(name)) if name in _CLASSES else _ANY

    def _word(self, module: Module, text: str) -> str | None:
        """Return the word of ours that a name stands for, or None."""
        head, _, name = text.rpartition(".")
        if (bound := module.bound.get(head or name)) is None:
            return name if not head and name in _BUILTINS else None
        origin = bound[0] if isinstance(bound, tuple) else ""
        name = _SAME.get(bound[1] if isinstance(bound, tuple) and not head else name, name)
        return name if origin in _MODULES and name in _WORDS else None

    def _subscript(self, module: Module, node: ast.Subscript, depth: int) -> ast.expr:
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        text = ast.unparse(node.value)
        if text.rpartition(".")[2] == "Converted":  # a field that is given as one type and read as another
            return self._expanded(module, parts[0], depth + 1)
        word = self._word(module, text)
        if word is None:
            return _ANY
        if word == "Literal":
            return ast.Subscript(ast.Name(word), node.slice)
        if word == "Annotated":
            notes = [self._literal(module, note) for note in parts[1:]]
            inner = self._expanded(module, parts[0], depth + 1)
            return ast.Subscript(ast.Name(word), ast.Tuple([inner, *filter(None, notes)])) if any(notes) else inner
        inner = [part if ast.unparse(part) == "..." else self._expanded(module, part, depth + 1) for part in parts]
        return ast.Subscript(ast.Name(word), ast.Tuple(inner) if len(inner) > 1 else inner[0])

    def _literal(self, module: Module, node: ast.expr, depth: int = 0) -> ast.expr | None:
        """Return a value of literals, their sums and products, words of ours and names for them; None for another."""
        if isinstance(node, ast.Constant | ast.UnaryOp) or depth > 20:
            return node
        if isinstance(node, ast.Name):
            if (word := self._word(module, node.id)) is not None:
                return ast.Name(word)
            found = self.found(module, node.id)
            named = found is not None and isinstance(found.node, ast.expr)
            return self._literal(found.module, found.node, depth + 1) if found and named else None  # type: ignore[arg-type]
        if isinstance(node, ast.BinOp):
            return _computed(node.op, *(self._literal(module, side, depth + 1) for side in (node.left, node.right)))
        if isinstance(node, ast.Starred):
            inner = self._literal(module, node.value, depth + 1)
            return None if inner is None else ast.Starred(inner)
        if isinstance(node, ast.Tuple | ast.List):
            inner = [self._literal(module, one, depth + 1) for one in node.elts]
            return None if None in inner else type(node)(inner)  # type: ignore[arg-type]
        if isinstance(node, ast.Call) and (word := self._word(module, ast.unparse(node.func))) is not None:
            values = [self._literal(module, one, depth + 1) for one in node.args]
            words = [(one.arg, self._literal(module, one.value, depth + 1)) for one in node.keywords]
            if None in values or None in dict(words).values():
                return None
            return ast.Call(ast.Name(word), values, [ast.keyword(name, value) for name, value in words])  # type: ignore[arg-type]
        return None


def _computed(operation: ast.operator, *sides: ast.expr | None) -> ast.expr | None:
    """Return a sum, a difference, a product or a quotient of two numbers; None for anything else."""
    values = [None if side is None else _value(ast.unparse(side)) for side in sides]
    if type(operation) not in _ARITHMETIC or not all(isinstance(value, int | float) for value in values):
        return None
    with suppress(ArithmeticError):
        return ast.Constant(_ARITHMETIC[type(operation)](*values))
    return None


def annotation_of(text: str) -> Any:
    """Return the annotation that a text of `Sources.annotation` describes; Any if it describes none."""
    try:
        return _evaluated(ast.parse(text, mode="eval").body)
    except (KeyError, SyntaxError, TypeError, ValueError, RecursionError):
        return Any


def _evaluated(node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return _WORDS[node.id]
    if isinstance(node, ast.BinOp):
        return Union[_evaluated(node.left), _evaluated(node.right)]  # noqa: UP007 (types that have no `|`)
    if isinstance(node, ast.Subscript):
        if ast.unparse(node.value) == "Other":
            return _other(ast.literal_eval(node.slice))
        return _evaluated(node.value)[_evaluated(node.slice)]
    if isinstance(node, ast.Tuple | ast.List):
        values = []
        for one in node.elts:
            values += _evaluated(one.value) if isinstance(one, ast.Starred) else [_evaluated(one)]
        return tuple(values) if isinstance(node, ast.Tuple) else values
    if isinstance(node, ast.Call):
        values = _evaluated(ast.Tuple(node.args)) if node.args else ()
        return _evaluated(node.func)(*values, **{str(one.arg): _evaluated(one.value) for one in node.keywords})
    return ast.literal_eval(node)


@cache
def _other(name: str) -> type:
    """Return a class of which no value in a YAML is an instance."""
    return type(name, (), {"__module__": "elsewhere"})


def _value(text: str | None) -> Any:
    try:
        return MISSING if text is None else ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return COMPUTED


def _decorators(node: ast.ClassDef | ast.FunctionDef) -> set[str]:
    """Return the last words of the decorators of a class or a function."""
    plain = (one.func if isinstance(one, ast.Call) else one for one in node.decorator_list)
    return {ast.unparse(one).rpartition(".")[2] for one in plain}


def _is_followed(module: str, origin: str) -> bool:
    """Return whether the source of an imported module is read: that of the same package and ours."""
    return "." in origin and origin.partition(".")[0] in (module.partition(".")[0], "snnlab")


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a file, those within a condition too."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            yield from _statements([*node.body, *node.orelse])


def _parsed(path: Path) -> list[ast.stmt]:
    try:
        return ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):  # of a plugin, whose import reports it
        return []
