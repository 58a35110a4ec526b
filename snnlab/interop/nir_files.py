"""Files of NIR graphs: safe reading, and writing. The package `nir`, an optional one, is imported here alone.

Each node is checked and built by itself, so that an error names it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np

from snnlab.errors import ConfigError, MissingPackageError, join_names, one_line
from snnlab.files import write_atomically
from snnlab.interop.nir_tree import MOST_BYTES, NIRError, read_tree, text_of
from snnlab.interop.nir_trial import require_readable
from snnlab.printable import printable
from snnlab.spec.signatures import has_parameter

_GRAPH = "NIRGraph"
_MOST_SINGLE = float(np.finfo(np.float32).max)
# Arrays with a value for each neuron, which may be given as one value for all.
PER_NEURON = (
    *("tau", "tau_mem", "tau_syn", "r", "v_leak", "v_threshold", "v_reset", "w_in"),
    *("scale", "threshold", "delay"),
)
# Sizes and axes, whole numbers; `padding` may be a text.
_WHOLE = ("shape", "input_shape", "kernel_size", "stride", "padding", "dilation", "groups", "start_dim", "end_dim")
_POSITIVE = ("kernel_size", "stride", "dilation", "groups")
# Fields of a node that `nir` fills itself.
_TYPES = ("input_type", "output_type")


@dataclass(frozen=True)
class GraphFile:
    """The content of a file.

    Attributes:
        graph: The graph, a `nir.NIRGraph`.
        resets: `v_reset` of the nodes that have one in the file, by path; newer versions of `nir` add zeros elsewhere.
        version: Version of `nir` that wrote the file; empty if it is not recorded.
        sha256: Hash of the file.
    """

    graph: Any
    resets: Mapping[str, np.ndarray]
    version: str
    sha256: str


def nir_package() -> Any:
    """Return the package `nir`."""
    try:
        import nir
    except ImportError as error:
        raise MissingPackageError("nir", "is not installed", "pip install 'snnlab-train[nir]'") from error
    return nir


def write_graph(path: Path, graph: Any) -> None:
    """Write a graph into a file, whole or not at all."""
    content = BytesIO()  # HDF5 reads what it writes, which a file that is only written does not allow
    nir_package().write(content, graph)
    try:
        write_atomically(path, lambda file: file.write(content.getbuffer()))
    except OSError as error:
        raise ConfigError("export", f"{path} cannot be written ({error.strerror or error})") from error


def read_graph(path: Path, *, trusted: bool = False) -> GraphFile:
    """Read a graph from a file.

    Args:
        path: The file.
        trusted: Whether it is known to be sound, and is not read in a process of its own first.

    Raises:
        NIRError: if the file is missing, truncated, too large or no NIR graph; its place is the file, or the node.
    """
    nir = nir_package()
    if not path.is_file():
        raise NIRError(path, "is no file" if path.exists() else "is not there")
    if (size := path.stat().st_size) > MOST_BYTES:
        raise NIRError(path, f"has {size / 1e9:,.0f} GB; a graph has {MOST_BYTES / 1e9:.0f} GB at most")
    if size == 0:
        raise NIRError(path, "is empty")
    try:
        if not trusted:
            require_readable(path)
        tree, version = read_tree(path)
    except NIRError as error:
        hint = "if torch.save wrote it, add model=NAME" if is_zipfile(path) else error.hint
        raise error.with_fields(hint=hint) from None
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    resets: dict[str, np.ndarray] = {}
    return GraphFile(_graph(nir, tree, "", resets, path), resets, version, sha256)


def _graph(nir: Any, tree: Mapping[str, Any], prefix: str, resets: dict[str, np.ndarray], path: Path) -> Any:
    """Return the graph of a tree, its nodes checked and built one by one, so that an error names its node."""
    where = f"{path}: {printable(prefix[:-1])}" if prefix else str(path)
    kind = tree.get("type")
    if not isinstance(kind, str):
        raise NIRError(where, "has a type that is no text")
    if kind != _GRAPH:
        return nir.NIRGraph.from_list(_node(nir, "node", tree, resets, path))
    nodes, edges = tree.get("nodes"), tree.get("edges")
    if not isinstance(nodes, Mapping) or not nodes:
        raise NIRError(where, "has no nodes")
    if edges is None:
        raise NIRError(where, "has no edges")
    pairs = np.asarray(edges)
    if pairs.size and (pairs.ndim != 2 or pairs.shape[1] != 2):
        raise NIRError(where, f"its edges are an array of shape {list(pairs.shape)}, not pairs of names")
    built = {}
    for name, node in nodes.items():
        full = f"{prefix}{name}"
        if not isinstance(node, Mapping) or not isinstance(node.get("type"), str):
            raise NIRError(f"{path}: {printable(full)}", "has no type")
        subgraph = node["type"] == _GRAPH
        built[name] = _graph(nir, node, f"{full}.", resets, path) if subgraph else _node(nir, full, node, resets, path)
    connected = [(text_of(a), text_of(b)) for a, b in pairs.reshape(-1, 2).tolist()]
    metadata = tree.get("metadata", {})
    return make_graph(nir, built, connected, metadata if isinstance(metadata, Mapping) else {})


def make_graph(nir: Any, nodes: Mapping[str, Any], edges: list[tuple[str, str]], metadata: Mapping[str, Any]) -> Any:
    """Return a `nir.NIRGraph`; newer versions of `nir` check types, which is done here with the names of the nodes."""
    unchecked = {"type_check": False} if has_parameter(nir.NIRGraph, "type_check") else {}
    return nir.NIRGraph(nodes=dict(nodes), edges=edges, metadata=dict(metadata), **unchecked)


def _node(nir: Any, name: str, node: Mapping[str, Any], resets: dict[str, np.ndarray], path: Path) -> Any:
    """Return the node of a mapping of fields."""
    place = f"{path}: {printable(name)}"
    kind = node["type"]
    if kind not in primitives(nir):
        newer = "; a newer version of nir may" if kind.isidentifier() else ""
        known = sorted(primitives(nir))
        raise NIRError(place, f"is a {printable(kind)}, which nir {nir.__version__} does not have{newer}", "", known)
    values = {key: value for key, value in node.items() if key != "type"}
    if kind == "CubaLI" and not hasattr(nir, kind):
        return _two_integrators(nir, name, values, place)
    cls = getattr(nir, kind)
    _require_fields(cls, kind, values, place)
    _require_numbers(values, place, kind)
    _broadcast_single_values(values, place)
    if "metadata" not in {field.name for field in fields(cls)}:
        values.pop("metadata", None)  # nir 1.0.4 has none for some nodes
    if "v_reset" in values:
        resets[name] = np.asarray(values["v_reset"])
        if "v_reset" not in {field.name for field in fields(cls)}:
            del values["v_reset"]  # nir 1.0.4 has no such field
    try:
        return cls.from_dict({"type": kind, **values})
    except (AssertionError, ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError) as error:
        raise NIRError(place, f"is no valid {kind} ({printable(one_line(error))})") from error


def primitives(nir: Any) -> set[str]:
    """Return the names of the primitives of the installed `nir`, and CubaLI, which older versions lack."""
    return {name for name in nir.ir.__all__ if name[0].isupper() and name != "NIRNode"} | {"CubaLI"}


def _two_integrators(nir: Any, name: str, values: dict[str, Any], place: str) -> Any:
    """Return a CubaLI as the graph of two leaky integrators that defines it, for a `nir` without CubaLI."""
    for field in ("tau_syn", "tau_mem", "r", "v_leak"):
        if field not in values:
            raise NIRError(place, f"has no {field}, which CubaLI needs")
    values.setdefault("w_in", np.ones(1))
    _require_numbers(values, place, "CubaLI")
    _broadcast_single_values(values, place)
    zero = np.zeros_like(values["v_leak"])
    synapse = nir.LI(tau=values["tau_syn"], r=values["w_in"], v_leak=zero)
    membrane = nir.LI(tau=values["tau_mem"], r=values["r"], v_leak=values["v_leak"])
    shape = np.array(zero.shape)
    nodes = {"input": nir.Input(shape), "synapse": synapse, "membrane": membrane, "output": nir.Output(shape)}
    names = list(nodes)
    return make_graph(nir, nodes, list(pairwise(names)), {})


def _require_fields(cls: Any, kind: str, values: Mapping[str, Any], place: str) -> None:
    """Raise a NIRError if a node lacks a field, or has one that `nir` does not know."""
    known = {field.name: field for field in fields(cls)}
    shape = {"Input": "shape", "Output": "shape", "Flatten": "input_type"}.get(kind)
    needed = [
        name
        for name, field in known.items()
        if name not in (*_TYPES, "metadata", "input_shape")
        and field.default is MISSING
        and field.default_factory is MISSING
    ]
    for name in [*needed, *([shape] if shape == "shape" else [])]:
        if name not in values:
            raise NIRError(place, f"has no {name}, which {kind} needs")
    allowed = {*known, "v_reset", "input_shape", *([shape] if shape else [])}
    for name in values:
        if name not in allowed:
            raise NIRError(place, f"has a field '{printable(name)}', which {kind} does not have")


def _require_numbers(values: Mapping[str, Any], place: str, kind: str) -> None:
    """Raise a NIRError unless the fields of a node are numbers, finite in single precision, and sizes whole."""
    for name, value in values.items():
        if name in (*_TYPES, "metadata") or (name == "padding" and isinstance(value, str) and kind.startswith("Conv")):
            continue
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise NIRError(place, f"{name} is not a number, nor an array of numbers")
        if array.size == 0 and name == "shape" and array.ndim == 1:  # no axis: one value
            continue
        if array.size == 0:
            raise NIRError(place, f"{name} is empty")
        if name in _WHOLE and (array.ndim > 1 or array.dtype.kind not in "iu"):
            raise NIRError(place, f"{name} is not a whole number, nor a list of them")
        axes = 2 if kind.endswith("2d") and name != "groups" else 1
        if name in _WHOLE and name != "shape" and array.size not in (1, axes):
            raise NIRError(place, f"{name} has {array.size} numbers; {axes} at most are for a {kind}")
        if name in _POSITIVE and (array < 1).any():
            raise NIRError(place, f"{name} must be >= 1, got {array.min()}")
        if array.dtype.kind == "f" and (bad := int((~np.isfinite(array)).sum())):
            raise NIRError(place, f"{bad:,} of {array.size:,} values of {name} are NaN or infinite")
        if array.dtype.kind == "f" and (most := float(np.abs(array).max())) > _MOST_SINGLE:
            raise NIRError(place, f"{name} has the value {most:g}, too large for single precision")


def _broadcast_single_values(values: dict[str, Any], place: str) -> None:
    """Give each parameter of a population the shape of the largest: a size of 1 is one value for all."""
    arrays = {name: np.atleast_1d(values[name]) for name in PER_NEURON if name in values}
    try:
        shape = np.broadcast_shapes(*(array.shape for array in arrays.values()))
    except ValueError:
        shapes = join_names(f"{name} {list(array.shape)}" for name, array in arrays.items())
        raise NIRError(place, f"its parameters have shapes that do not fit: {shapes}") from None
    for name, array in arrays.items():
        values[name] = np.array(np.broadcast_to(array, shape))


def iterate_nodes(graph: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the nodes of a graph and of the graphs in it, with their paths; a graph comes before its nodes."""
    for name, node in graph.nodes.items():
        yield f"{prefix}{name}", node
        if hasattr(node, "nodes"):
            yield from iterate_nodes(node, f"{prefix}{name}.")
