"""The kinds that a configuration names, and their settings: read from the source, so before torch is imported.

Those of snnlab are kept in the user's cache until a file of snnlab changes.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from platformdirs import user_cache_path

import snnlab
from snnlab.errors import ConfigError
from snnlab.features import modules_of
from snnlab.spec.field import Field, SettingsOf
from snnlab.spec.source import Described, Module, Sources

_PACKAGE = Path(snnlab.__file__).parent


class Kind(NamedTuple):
    """A registry of what a configuration names.

    Attributes:
        module: Its module.
        registry: Its name there.
        named_by: The settings that name one of its entries; NAME is a name of the user, for a layer also within blocks.
        supplied: The arguments that snnlab passes itself.
        default: The entry whose settings are meant without a type.
    """

    module: str
    registry: str
    named_by: tuple[str, ...]
    supplied: tuple[str, ...] = ()
    default: str | None = None


_OF_LAYERS = ("dt", "in_shape", "num_steps")
_LAYER = "model.layers.NAME"
REGISTRIES = {
    "layers": Kind("snnlab.nn", "LAYERS", (f"{_LAYER}.type",), _OF_LAYERS),
    "neurons": Kind("snnlab.nn", "NEURONS", ("neuron.type", f"{_LAYER}.type"), _OF_LAYERS),
    "surrogates": Kind(
        "snnlab.nn", "SURROGATES", ("neuron.surrogate.type", f"{_LAYER}.surrogate.type"), default="atan"
    ),
    "encoders": Kind("snnlab.nn", "ENCODERS", ("data.encoder.type",), ("dt",)),
    "initializations": Kind("snnlab.nn", "INITS", ("model.init.type",), ("dt",)),
    "losses": Kind("snnlab.nn.losses", "LOSSES", ("loss.type", "loss.regularizers.NAME.type")),
    "regularizers": Kind("snnlab.nn.losses", "REGULARIZERS", ("loss.regularizers.NAME.type",)),
    "rules": Kind("snnlab.nn.learning", "RULES", ("learning.type",)),
    "datasets": Kind("snnlab.data.data_settings", "DATASETS", ("data.type",)),
    "representations": Kind(
        "snnlab.data.events.representation", "REPRESENTATIONS", ("data.representation", "data.representation.type")
    ),
    "augmentations": Kind("snnlab.data.augmentation", "AUGMENTATIONS", ("data.augment[].type",), ("sensor_size",)),
    "mixes": Kind("snnlab.data.mixing", "MIXES", ("data.mix", "data.mix.type")),
    "schedules": Kind("snnlab.training.schedules", "SCHEDULES", ("scheduler.type",)),
    "feedbacks": Kind(
        # A 3x3 convolution, or dense for features: which takes a part of the settings of the other.
        "snnlab.nn.neurons.recurrent",
        "FEEDBACKS",
        ("neuron.recurrent.type", f"{_LAYER}.recurrent.type"),
        ("dt", "in_shape"),
        default="conv",
    ),
    "targets": Kind("snnlab.nn", "INTEGER_TARGETS", ("quantize.type",)),
    "averages": Kind("snnlab.training.weight_averaging", "AVERAGES", ("weight_averaging.type",)),
}


def is_within(module: str, allowed: Collection[str]) -> bool:
    """Return whether a module is one of the allowed ones, or within one."""
    return any(module == name or module.startswith(f"{name}.") for name in allowed)


# The modules that may have the classes that a node of each group names.
TARGETS = {
    "optimizer": ("torch.optim",),
    "scheduler": ("torch.optim",),
    "callbacks": ("lightning.pytorch", *modules_of("callback ")),
    "logger": ("lightning.pytorch", "snnlab.runs.loggers"),
    "trainer": ("lightning.pytorch.profilers",),
}


def is_registered(kind: str, name: Any) -> bool:
    """Return whether this process has registered an entry, as a program does that calls `snnlab.train`."""
    module = sys.modules.get(REGISTRIES[kind].module)
    return module is not None and name in getattr(module, REGISTRIES[kind].registry)


class Catalogue:
    """The entries of the registries, by kind and name.

    Args:
        words: The word for one entry of each kind, in messages.
        entries: The arguments of each entry; None: only its class knows them.
    """

    def __init__(self, words: Mapping[str, str], entries: Mapping[str, Mapping[str, Described | None]]) -> None:
        self.words, self._entries = words, entries
        self._fields: dict[tuple[str, str], Mapping[str, Field]] = {}

    def names(self, kind: str) -> list[str]:
        """Return the names of the entries of a kind."""
        return sorted(self._entries.get(kind, ()))

    def fields_of(self, kind: str, name: Any) -> Mapping[str, Field] | None:
        """Return the settings of an entry; None if they are not known."""
        name = REGISTRIES[kind].default if name is None else name
        described = self._entries.get(kind, {}).get(name) if isinstance(name, str) else None
        if described is None:
            return None
        if (kind, name) not in self._fields:
            fields = described.fields()
            self._fields[kind, name] = {key: fields[key] for key in fields if key not in REGISTRIES[kind].supplied}
        return self._fields[kind, name]

    def is_open(self, kind: str, name: str) -> bool:
        """Return whether an entry takes settings of other names too."""
        described = self._entries[kind][name]
        return described is None or described.is_open

    def with_files(self, files: Mapping[str, Path]) -> Catalogue:
        """Return a catalogue with the entries that modules of these files register, too."""
        words, entries = _read(files)
        return Catalogue({**self.words, **words}, {kind: {**self._entries[kind], **entries[kind]} for kind in entries})


@cache
def _own() -> Catalogue:
    """Return the catalogue of snnlab, read from the user's cache or from its files."""
    name = hashlib.sha256(str(_PACKAGE).encode()).hexdigest()[:16]
    path = Path(os.environ.get("SNNLAB_CACHE") or user_cache_path("snnlab")) / f"settings_{name}.json"
    stats = [(one, one.stat()) for one in sorted(_PACKAGE.rglob("*.py"))]
    text = "".join(f"{one} {stat.st_size} {stat.st_mtime_ns}\n" for one, stat in stats)
    state = hashlib.sha256(text.encode()).hexdigest()
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["state"] == state:
            return Catalogue(
                kept["words"],
                {
                    kind: {name: one and Described(*one) for name, one in entries.items()}
                    for kind, entries in kept["entries"].items()
                },
            )
    words, entries = _read({_module_name(one): one for one, _ in stats})
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}")
        part.write_text(json.dumps({"state": state, "words": words, "entries": entries}), encoding="utf-8")
        part.replace(path)
    return Catalogue(words, entries)


def catalogue(plugins: Sequence[str] = ()) -> Catalogue:
    """Return the catalogue of snnlab's own kinds, and of those in plugins, whose files may change."""
    files = {name: path for plugin in plugins for name, path in _plugin_files(plugin)}
    return _own().with_files(files) if files else _own()


def _plugin_files(plugin: str) -> Iterator[tuple[str, Path]]:
    """Yield the modules that the import of a plugin runs, the packages above it too."""
    steps = plugin.split(".")
    for name in (".".join(steps[:number]) for number in range(1, len(steps) + 1)):
        if (path := module_file(name)) is not None:
            yield name, path


def module_file(name: str) -> Path | None:
    """Return the file of Python of a module, which is not imported; None if there is none."""
    if name.partition(".")[0] == "snnlab":
        path = _PACKAGE.joinpath(*name.split(".")[1:])
        paths = [path / "__init__.py", path.with_suffix(".py")]
    else:
        from snnlab.config.plugins import module_paths  # late: without a plugin, help and completion need no NumPy

        paths = module_paths(name)[-1:]
    return next((path for path in paths if path.suffix == ".py" and path.is_file()), None)


def _module_name(path: Path) -> str:
    return ".".join(("snnlab", *path.relative_to(_PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def _read(files: Mapping[str, Path]) -> tuple[dict[str, str], dict[str, dict[str, Described | None]]]:
    """Return words and entries of the registries in files, by kind."""
    sources = Sources(module_file)
    kinds = {one.registry: kind for kind, one in REGISTRIES.items()}
    words: dict[str, str] = {}
    entries: dict[str, dict[str, Described | None]] = {kind: {} for kind in REGISTRIES}
    wider = {"NEURONS": "LAYERS", "REGULARIZERS": "LOSSES"}
    for name, path in files.items():
        text = path.read_bytes()
        if b".register(" not in text and b"Registry(" not in text:
            continue
        module = sources.module(name)
        assert module is not None
        for node in module.body:
            words |= {kinds[registry]: word for registry, word in _made(node) if registry in kinds}
            for registry, entry, target in _registered(node):
                described = _described(sources, module, target)
                if registry == "NEURONS" and described is not None:
                    described = _of_layer(sources, described)
                for of in (registry, wider.get(registry)):
                    if of in kinds:
                        entries[kinds[of]][entry] = described
    return words, entries


def _made(node: ast.stmt) -> Iterator[tuple[str, str]]:
    """Yield a registry that a statement makes, and the word for its entries: `LAYERS = Registry("layer")`."""
    call = node.value if isinstance(node, ast.Assign) else None
    if isinstance(call, ast.Call) and call.args and ast.unparse(call.func).endswith("Registry"):
        for target in node.targets if isinstance(node, ast.Assign) else ():
            yield ast.unparse(target), str(getattr(call.args[0], "value", ""))


def _registered(node: ast.stmt) -> Iterator[tuple[str, str, ast.AST]]:
    """Yield registry, name and source of what a statement registers.

    That is `@NEURONS.register("lif")` before a class or a function, or `LAYERS.register("gru")(of_torch(GRU))`, where
    it is the function within the one that is called.
    """
    calls: list[tuple[ast.expr, ast.AST]] = []
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        calls = [(one, node) for one in node.decorator_list]
    elif isinstance(node, ast.Assign | ast.Expr) and isinstance(node.value, ast.Call) and node.value.args:
        calls = [(node.value.func, node.value.args[0])]
    for one, target in calls:
        of = one.func if isinstance(one, ast.Call) else None
        name = one.args[0] if isinstance(one, ast.Call) and one.args else None
        if isinstance(of, ast.Attribute) and of.attr == "register" and isinstance(name, ast.Constant):
            yield ast.unparse(of.value).rpartition(".")[2], str(name.value), target


def _described(sources: Sources, module: Module, target: ast.AST) -> Described | None:
    if isinstance(target, ast.Call) and isinstance(target.func, ast.Name):
        outer = module.bound.get(target.func.id)
        inner = outer.body if isinstance(outer, ast.FunctionDef) else ()
        target = next((one for one in inner if isinstance(one, ast.FunctionDef)), target)
        return sources.signature(module, target) if isinstance(target, ast.FunctionDef) else None
    name = target.id if isinstance(target, ast.Name) else getattr(target, "name", "")
    return sources.described(module, name)


def _of_layer(sources: Sources, described: Described) -> Described:
    """Return the arguments of a neuron with those that its registry adds."""
    module = sources.module("snnlab.nn.neurons.register")
    assert module is not None
    (as_layer,) = (one for one in module.body if isinstance(one, ast.ClassDef) and one.name == "_AsLayer")
    (call,) = (one for one in as_layer.body if isinstance(one, ast.FunctionDef) and one.name == "__call__")
    added = dict(sources.signature(module, call, skipped=1).arguments)
    del added["in_shape"]  # a neuron that takes it names it, and snnlab passes it
    return described._replace(arguments={**described.arguments, **added})


_sources = lru_cache(1)(lambda: Sources(module_file))


def class_fields(place: str, target: Any, plugins: Sequence[str] = ()) -> tuple[Mapping[str, Field], bool] | None:
    """Return the arguments of the class of another package that a node names, and whether it takes others too.

    None if its source does not tell them, or it is not allowed there: then an error follows once it is imported.

    Args:
        place: The place of the node.
        target: Its `_target_`, such as `torch.optim.Adam`.
        plugins: The plugins that the user has named.
    """
    module, _, name = str(target).rpartition(".")
    if not is_within(module, (*TARGETS.get(place.partition(".")[0], ()), *plugins)):
        return None
    described = _sources().described(_sources().module(module), name)
    return None if described is None else (described.fields(), described.is_open)


def inner_fields(of: SettingsOf) -> Mapping[str, Field]:
    """Return the settings that a mapping has; none are known where the source of their class is not."""
    module, _, name = of.kind.rpartition(".")
    described = _sources().described(_sources().module(module), name)
    fields = {} if described is None else described.fields()
    return {name: field for name, field in fields.items() if name not in of.supplied}


_LAYER_PATH = r"[^.]+(?:\.(?:layers|shortcut|branches\.[^.]+|feedback(?:\.\d+)?\.layers)\.[^.]+|\.neuron)*"


@cache
def kind_named_by(key: str) -> str | None:
    """Return the kind whose entries a setting names, or None."""
    for kind, one in REGISTRIES.items():
        for pattern in one.named_by:
            if _pattern(pattern).fullmatch(key):
                return kind
    return None


@cache
def _pattern(text: str) -> re.Pattern[str]:
    name = _LAYER_PATH if text.startswith(_LAYER) else "[^.]+"
    return re.compile(re.escape(text).replace("NAME", name).replace(re.escape("[]"), r"\[\d*\]"))


def rivals(known: Catalogue, node: Mapping[str, Any], kind: str, name: Any) -> Sequence[str]:
    """Return the settings of a node that exclude one of its settings."""
    fields = known.fields_of(kind, node.get("type")) or {}
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
    return [(node, one) for one in rivals(known, of, "surrogates" if head.endswith(".surrogate") else "neurons", leaf)]
