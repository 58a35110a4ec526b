"""The content of an HDF5 file of a NIR graph as nested dicts.

Before a value is read the tree is checked: no links to elsewhere, no cycles, no arrays that are larger than a file may
be, or than what of them is in the file. Nothing in it is executed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5g, h5l, h5o  # pyright: ignore[reportAttributeAccessIssue]

from snnlab.errors import SnnlabError, one_line
from snnlab.printable import is_printable, printable

# The group of a NIR graph.
_NODE = b"node"
# Limits of a file: bytes of all arrays together, values of an array of text, groups and arrays, depth.
MOST_BYTES, MOST_TEXTS, MOST_ENTRIES, MOST_DEPTH = 2**31, 10**6, 10**6, 32
# Bytes of one compressed byte, at most: those of deflate.
_MOST_EXPANSION = 1032
# Errors of h5py and HDF5 for a truncated or changed file.
_FILE_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, EOFError, AttributeError, OverflowError)


class NIRError(SnnlabError, ValueError):
    """A NIR graph that cannot be read; its place is the file, or the node."""


def read_tree(path: Path, checked: Callable[[int], None] = lambda size: None) -> tuple[dict[str, Any], str]:
    """Return the graph's group as nested dicts, and the version of `nir` that wrote it, or "".

    Args:
        path: The file.
        checked: Called with the bytes of all arrays, before one is read.

    Raises:
        NIRError: if it is no NIR graph, truncated or too large; its place is the file, or the node.
    """
    try:
        with path.open("rb") as stream, h5py.File(stream, "r") as file:
            return _read(file, path, checked)
    except NIRError:
        raise
    except _FILE_ERRORS as error:
        raise NIRError(path, f"is no HDF5 file, or is truncated ({printable(one_line(error))})") from error


def _read(file: h5py.File, path: Path, checked: Callable[[int], None]) -> tuple[dict[str, Any], str]:
    node = _item(file, _NODE) if _NODE in file and _is_own(file, _NODE) else None
    if not isinstance(node, h5py.Group):
        raise NIRError(path, "is an HDF5 file, but no NIR graph: it has no group 'node'")
    budget = _Budget(path)
    budget.check(node, "", 0)
    if "type" not in node:
        raise NIRError(path, "is an HDF5 file, but no NIR graph: its group 'node' has no 'type'")
    recorded = _item(file, b"version") if "version" in file and _is_own(file, b"version") else None
    if recorded is not None:
        budget.check_entry(recorded, "version", 0)
    checked(budget.bytes)
    return _content(node), text_of(recorded[()]) if isinstance(recorded, h5py.Dataset) else ""


def _content(group: h5py.Group) -> dict[str, Any]:
    items: dict[str, Any] = {_name(raw): _item(group, raw) for raw in group.id}
    return {name: _content(item) if isinstance(item, h5py.Group) else _value(item[()]) for name, item in items.items()}


# h5py's functions of one call each: `group[name]` and `group.get(name, getlink=True)` take several times as long.


def _name(raw: bytes) -> str:
    return raw.decode("utf8", "surrogateescape")


def _is_own(group: h5py.Group, raw: bytes) -> bool:
    """Return whether an entry is in the group, and no link to elsewhere."""
    return group.id.links.get_info(raw).type == h5l.TYPE_HARD


def _item(group: h5py.Group, raw: bytes) -> Any:
    """Return an entry: a `Group`, a `Dataset`, or the identifier of another object."""
    found = h5o.open(group.id, raw)
    kinds = {h5g.GroupID: h5py.Group, h5d.DatasetID: h5py.Dataset}
    return kinds[type(found)](found) if type(found) in kinds else found


def _value(value: Any) -> Any:
    """Return a text, or numbers in the byte order and a precision that torch takes."""
    if isinstance(value, bytes):
        return value.decode("utf8")
    array = np.asarray(value)
    if array.dtype.kind != "f" or (array.dtype.isnative and array.dtype.itemsize <= 8):
        return value
    return array.astype(np.float64 if array.dtype.itemsize > 8 else array.dtype.newbyteorder("="))


def text_of(value: Any) -> str:
    """Return a text of a file, without control characters."""
    return printable(value.decode("utf8", "replace") if isinstance(value, bytes) else str(value))


class _Budget:
    """Checks a tree before it is read, and counts what it would take."""

    def __init__(self, path: Path) -> None:
        self.path, self.bytes, self.entries = path, 0, 0

    def check(self, group: h5py.Group, place: str, depth: int) -> None:
        """Raise a NIRError if a group has links to elsewhere, cycles, or more than a file may have."""
        if depth > MOST_DEPTH:
            raise NIRError(self.path, f"its groups are nested more than {MOST_DEPTH} deep")
        for raw in group.id:
            name = _name(raw)
            where = f"{place}/{name}" if place else name
            if not is_printable(name):
                raise NIRError(_place(self.path, where), "has control characters in its name")
            self.entries += 1
            if self.entries > MOST_ENTRIES:
                raise NIRError(self.path, f"has more than {MOST_ENTRIES:,} entries")
            if not _is_own(group, raw):
                raise NIRError(_place(self.path, where), "is a link to elsewhere, which is not followed")
            self.check_entry(_item(group, raw), where, depth)

    def check_entry(self, item: Any, where: str, depth: int) -> None:
        """Raise a NIRError if an entry is no group or array, or not one that is read."""
        if isinstance(item, h5py.Group):
            self.check(item, where, depth + 1)
        elif isinstance(item, h5py.Dataset):
            self._check_array(item, where)
        else:
            raise NIRError(_place(self.path, where), "is neither a group nor an array")

    def _check_array(self, array: h5py.Dataset, where: str) -> None:
        problem = self._problem(array)
        if problem:
            raise NIRError(_place(self.path, where), problem)

    def _problem(self, array: h5py.Dataset) -> str | None:
        """Return why an array is not read, or None; count its bytes."""
        stored_as, dtype, shape = array.id.get_create_plist(), array.dtype, array.shape
        if stored_as.get_layout() == h5d.VIRTUAL or stored_as.get_external_count():
            return "is stored in another file, which is not read"
        text = h5py.check_string_dtype(dtype) is not None
        if not (text or dtype.kind in "biuf") or shape is None:
            return f"holds {dtype}, not numbers or texts"
        number = math.prod(int(size) for size in shape)
        self.bytes += number * (64 if text else dtype.itemsize)
        if text and number > MOST_TEXTS:
            return f"has {number:,} texts; {MOST_TEXTS:,} at most are read"
        if self.bytes > MOST_BYTES:
            return f"has {number:,} values; the arrays of a graph have {MOST_BYTES / 1e9:.0f} GB together at most"
        stored = array.id.get_storage_size()
        most = stored * (_MOST_EXPANSION if stored_as.get_nfilters() else 1)
        if number * array.id.get_type().get_size() > most:
            return f"has {number:,} values, but only {stored:,} bytes of them are in the file"
        return None


def _place(path: Path, where: str) -> str:
    """Return the place of an entry: the file and the node, with the field after a dot."""
    parts = printable(where).split("/")
    node = ".".join(part for at, part in enumerate(parts) if not (part == "nodes" and at % 2 == 0))
    return f"{path}: {node}"
