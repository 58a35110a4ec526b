"""Arrays in HDF5 files."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from snnlab.errors import DataError

# The most that HDF5's usual compression can save; values that were never written take no place in the file.
_MOST_COMPRESSION = 1100


def get_local(group: h5py.Group, name: str) -> Any:
    """Return a group or a dataset of an HDF5 file, if its values are in this file.

    Raises:
        DataError: if the values are in another file: a file from elsewhere could read the user's private files.
        KeyError: if the name does not exist.
    """
    found = group[name]
    if isinstance(found, h5py.Dataset) and found.nbytes > _MOST_COMPRESSION * found.file.id.get_filesize():
        raise DataError(group.file.filename, f"{name} claims to hold {found.nbytes:,} bytes", "its file is damaged")
    elsewhere = found.file.filename != group.file.filename
    if elsewhere or (isinstance(found, h5py.Dataset) and (found.external or found.is_virtual)):
        raise DataError(
            group.file.filename, f"{name} is in another file, which is not opened", "copy its values into this file"
        )
    return found


def read_columns(path: str) -> dict[str, np.ndarray]:
    """Return the columns of events at the top of a file, or in the group that camera tools use; `table` is an array.

    Raises:
        DataError: if there are none, or their values are in another file.
    """
    with h5py.File(path, "r") as file:
        name_in_file = next((name for name in ("events", "CD/events") if name in file), "/")
        group: Any = get_local(file, name_in_file)
        if isinstance(group, h5py.Dataset):
            return {"table": group[()]}
        if not isinstance(group, h5py.Group):
            raise DataError(path, f"{name_in_file} holds no events")
        parts = {name: get_local(group, name) for name in group if isinstance(name, str)}
        return {name: part[()] for name, part in parts.items() if isinstance(part, h5py.Dataset) and part.ndim == 1}
