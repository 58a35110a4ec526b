"""HDF5 files, which may show what lies in other files as their own: that is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from snnlab.errors import DataError

if TYPE_CHECKING:
    import h5py


def own(group: h5py.Group, name: str) -> Any:
    """Return a group or a dataset whose values are in its own file.

    Raises:
        DataError: if they are in another one: a stranger's file of events would show the user's files as events.
        KeyError: if there is none of this name.
    """
    import h5py

    found = group[name]
    elsewhere = found.file.filename != group.file.filename
    if elsewhere or (isinstance(found, h5py.Dataset) and (found.external or found.is_virtual)):
        raise DataError(group.file.filename, f"{name} is in another file, which is not opened", "copy its values here")
    return found
