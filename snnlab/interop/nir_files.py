"""Files of NIR graphs: safe reading, and writing. The package `nir`, an optional one, is imported here alone.

A file is HDF5. Before a value of it is read, its tree is checked: no links to elsewhere, no cycles, no arrays that are
larger than a file may be. Nothing in it is executed.
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

import h5py
import numpy as np

from snnlab.errors import ConfigError, MissingPackageError, SnnlabError, join_names, one_line
from snnlab.files import write_atomically
from snnlab.printable import is_printable, printable

# Limits of a file: bytes of all arrays together, values of an array of text, groups and arrays, depth.
MOST_BYTES, MOST_TEXTS, MOST_ENTRIES, MOST_DEPTH = 2**31, 10**6, 10**6, 32
# Errors of h5py and HDF5 for a truncated or changed file.
_FILE_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, EOFError, AttributeError, OverflowError)
_GRAPH = "NIRGraph"
_MOST_SINGLE = float(np.finfo(np.float32).max)
# Arrays with a value for each neuron, which may be given as one value for all.
_PER_NEURON = ("tau", "tau_mem", "tau_syn", "r", "v_leak", "v_threshold", "v_reset", "w_in")
# Sizes and axes, whole numbers; `padding` may be a text.
_WHOLE = ("shape", "input_shape", "kernel_size", "stride", "padding", "dilation", "groups", "start_dim", "end_dim")
# Fields of a node that `nir` fills itself.
_TYPES = ("input_type", "output_type")


class NIRError(SnnlabError, ValueError):
    """A NIR graph that cannot be read; its place is the file, or the node."""


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
    """Return the package `nir`.

    Raises:
        MissingPackageError: if it is not installed.
    """
    try:
        import nir
    except ImportError as error:
        raise MissingPackageError("nir", "is not installed", "pip install 'snnlab-train[nir]'") from error
    return nir


def write_graph(path: Path, graph: Any) -> None:
    """Write a graph into a file, whole or not at all.

    Raises:
        ConfigError: if it cannot be written.
    """
    content = BytesIO()  # HDF5 reads what it writes, which a file that is only written does not allow
    nir_package().write(content, graph)
    try:
        write_atomically(path, lambda file: file.write(content.getbuffer()))
    except OSError as error:
        raise ConfigError("export", f"{path} cannot be written ({error.strerror or error})") from error


def read_graph(path: Path) -> GraphFile:
    """Read a graph from a file.

    Raises:
        NIRError: if the file is missing, truncated, too large or no NIR graph; its place is the file, or the node.
        MissingPackageError: if the package `nir` is not installed.
    """
    nir = nir_package()
    if not path.is_file():
        raise NIRError(path, "is a folder, not a file" if path.is_dir() else "is not there")
    if (size := path.stat().st_size) > MOST_BYTES:
        raise NIRError(path, f"has {size / 1e9:,.0f} GB; a graph has {MOST_BYTES / 1e9:.0f} GB at most")
    try:
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            with h5py.File(stream, "r") as file:
                tree = _read_tree(file, path)
                recorded = file.get("version")
                version = _to_text(recorded[()]) if isinstance(recorded, h5py.Dataset) else ""
    except NIRError:
        raise
    except _FILE_ERRORS as error:
        problem = "is empty" if size == 0 else f"is no HDF5 file, or is truncated ({printable(one_line(error))})"
        archive = is_zipfile(path)
        raise NIRError(path, problem, "if torch.save wrote it, add model=NAME" if archive else "") from error
    resets: dict[str, np.ndarray] = {}
    return GraphFile(_graph(nir, tree, "", resets, path), resets, version, sha256)


def _read_tree(file: h5py.File, path: Path) -> dict[str, Any]:
    """Return the content of the group `node` as nested dicts."""
    node = file["node"] if isinstance(file.get("node", getlink=True), h5py.HardLink) else None
    if not isinstance(node, h5py.Group):
        raise NIRError(path, "is an HDF5 file, but no NIR graph: it has no group 'node'")
    budget = _Budget(path)
    budget.check(node, "", 0)
    if "type" not in node:
        raise NIRError(path, "is an HDF5 file, but no NIR graph: its group 'node' has no 'type'")
    return _read_group(node)


def _read_group(group: h5py.Group) -> dict[str, Any]:
    items: dict[str, Any] = {str(name): group[name] for name in group}
    return {
        name: _read_group(item) if isinstance(item, h5py.Group) else _value(item[()]) for name, item in items.items()
    }


def _value(value: Any) -> Any:
    """Return a text, or numbers in the byte order and a precision that torch takes."""
    if isinstance(value, bytes):
        return value.decode("utf8")
    array = np.asarray(value)
    if array.dtype.kind != "f" or (array.dtype.isnative and array.dtype.itemsize <= 8):
        return value
    return array.astype(np.float64 if array.dtype.itemsize > 8 else array.dtype.newbyteorder("="))


def _to_text(value: Any) -> str:
    return printable(value.decode("utf8", "replace") if isinstance(value, bytes) else str(value))


class _Budget:
    """Checks a tree before it is read, and counts what it would take."""

    def __init__(self, path: Path) -> None:
        self.path, self.bytes, self.entries = path, 0, 0

    def check(self, group: h5py.Group, place: str, depth: int) -> None:
        """Raise a NIRError if a group has links to elsewhere, cycles, or more than a file may have."""
        if depth > MOST_DEPTH:
            raise NIRError(self.path, f"its groups are nested more than {MOST_DEPTH} deep")
        for name in group:
            where = f"{place}/{name}" if place else str(name)
            if not is_printable(str(name)):
                raise NIRError(_place(self.path, where), "has control characters in its name")
            self.entries += 1
            if self.entries > MOST_ENTRIES:
                raise NIRError(self.path, f"has more than {MOST_ENTRIES:,} entries")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise NIRError(_place(self.path, where), "is a link to elsewhere, which is not followed")
            item = group[name]
            if isinstance(item, h5py.Group):
                self.check(item, where, depth + 1)
            elif isinstance(item, h5py.Dataset):
                self._check_array(item, where)
            else:
                raise NIRError(_place(self.path, where), "is neither a group nor an array")

    def _check_array(self, array: h5py.Dataset, where: str) -> None:
        place = _place(self.path, where)
        if array.is_virtual or array.external:
            raise NIRError(place, "is stored in another file, which is not read")
        text = h5py.check_string_dtype(array.dtype) is not None
        if not (text or array.dtype.kind in "biuf") or array.shape is None:
            raise NIRError(place, f"holds {array.dtype}, not numbers or texts")
        number = int(np.prod([int(size) for size in array.shape], dtype=object)) if array.shape else 1
        self.bytes += number * (64 if text else array.dtype.itemsize)
        if text and number > MOST_TEXTS:
            raise NIRError(place, f"has {number:,} texts; {MOST_TEXTS:,} at most are read")
        if self.bytes > MOST_BYTES:
            what = f"has {number:,} values"
            raise NIRError(place, f"{what}; the arrays of a graph have {MOST_BYTES / 1e9:.0f} GB together at most")


def _place(path: Path, where: str) -> str:
    """Return the place of an entry: the file and the node, with the field after a dot."""
    parts = printable(where).split("/")
    node = ".".join(part for at, part in enumerate(parts) if not (part == "nodes" and at % 2 == 0))
    return f"{path}: {node}"


def _graph(nir: Any, tree: Mapping[str, Any], prefix: str, resets: dict[str, np.ndarray], path: Path) -> Any:
    """Return the graph of a tree, its nodes checked and built one by one, so that an error names its node."""
    where = f"{path}: {printable(prefix[:-1])}" if prefix else str(path)
    kind = tree.get("type")
    if kind != _GRAPH:
        if prefix or not isinstance(kind, str):
            raise NIRError(where, f"is a {printable(str(kind))}, not a graph")
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
    connected = [(_to_text(a), _to_text(b)) for a, b in pairs.reshape(-1, 2).tolist()]
    metadata = tree.get("metadata", {})
    return make_graph(nir, built, connected, metadata if isinstance(metadata, Mapping) else {})


def make_graph(nir: Any, nodes: Mapping[str, Any], edges: list[tuple[str, str]], metadata: Mapping[str, Any]) -> Any:
    """Return a `nir.NIRGraph`; newer versions of `nir` check types, which is done here with the names of the nodes."""
    unchecked = {"type_check": False} if "type_check" in nir.NIRGraph.__init__.__annotations__ else {}
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
    _require_numbers(values, place)
    _broadcast_single_values(values, place)
    if "metadata" not in {field.name for field in fields(cls)}:
        values.pop("metadata", None)  # nir 1.0.4 has none for some nodes
    if "v_reset" in values:
        resets[name] = np.asarray(values["v_reset"])
        if "v_reset" not in {field.name for field in fields(cls)}:
            del values["v_reset"]  # nir 1.0.4 has no such field
    try:
        return cls.from_dict({"type": kind, **values})
    except (AssertionError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
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
    _require_numbers(values, place)
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


def _require_numbers(values: Mapping[str, Any], place: str) -> None:
    """Raise a NIRError unless the fields of a node are numbers, finite in single precision, and sizes whole."""
    for name, value in values.items():
        if name in (*_TYPES, "metadata") or (name == "padding" and isinstance(value, str)):
            continue
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise NIRError(place, f"{name} is not a number, nor an array of numbers")
        if array.size == 0:
            raise NIRError(place, f"{name} is empty")
        if name in _WHOLE and (array.ndim > 1 or array.dtype.kind not in "iu"):
            raise NIRError(place, f"{name} is not a whole number, nor a list of them")
        if array.dtype.kind == "f" and (bad := int((~np.isfinite(array)).sum())):
            raise NIRError(place, f"{bad:,} of {array.size:,} values of {name} are NaN or infinite")
        if array.dtype.kind == "f" and (most := float(np.abs(array).max())) > _MOST_SINGLE:
            raise NIRError(place, f"{name} has the value {most:g}, too large for single precision")


def _broadcast_single_values(values: dict[str, Any], place: str) -> None:
    """Give each parameter of a population the shape of the largest: a size of 1 is one value for all."""
    arrays = {name: np.atleast_1d(values[name]) for name in _PER_NEURON if name in values}
    try:
        shape = np.broadcast_shapes(*(array.shape for array in arrays.values()))
    except ValueError:
        shapes = join_names(f"{name} {list(array.shape)}" for name, array in arrays.items())
        raise NIRError(place, f"its parameters have shapes that do not fit: {shapes}") from None
    for name, array in arrays.items():
        values[name] = np.ascontiguousarray(np.broadcast_to(array, shape))


def iterate_nodes(graph: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the nodes of a graph and of the graphs in it, with their paths; a graph comes before its nodes."""
    for name, node in graph.nodes.items():
        yield f"{prefix}{name}", node
        if hasattr(node, "nodes"):
            yield from iterate_nodes(node, f"{prefix}{name}.")
