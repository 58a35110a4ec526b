"""Files of `torch.save` from strangers, read without executing anything.

Such a file is a ZIP archive of a pickle and of one record for each storage. Before it is loaded, its pickle may only
name tensors.
"""

from __future__ import annotations

import pickle
import pickletools
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from snnlab.errors import DataError, one_line
from snnlab.files import open_regular
from snnlab.printable import printable

# The classes and functions that the pickle of a state dict names; torch itself allows more, such as `bytearray`, which
# takes as much memory as the file asks for.
_TENSORS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch (Size|\w+Storage)|"
    r"torch\.storage UntypedStorage"
)
# What torch raises for a pickle of tensors that is broken.
_BROKEN = (
    *(OSError, RuntimeError, EOFError, MemoryError, pickle.UnpicklingError),
    *(ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError),
)
# The first bytes of a file of torch.save before torch 1.6: the pickle of a number.
_BEFORE_ARCHIVES = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
# The pickles of torch.save by default.
_PROTOCOL = 2
# Operations of pickles that name a class by other texts of the pickle; torch.save does not write them.
_INDIRECT = {"STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"}


def read_torch_file(path: Path) -> Any:
    """Return the content of a file of `torch.save`: tensors and plain values.

    Raises:
        DataError: if it is missing, damaged, or contains anything else.
    """
    try:
        _require_plain(path)
        # Not mapped: torch then reads on after a record that is shorter than its tensor.
        return torch.load(path, map_location="cpu", weights_only=True)
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(path, "is not there") from error
    except IsADirectoryError as error:
        raise DataError(path, "is a folder", "name a file of torch.save") from error
    except zipfile.BadZipFile as error:
        with open_regular(path) as file:
            is_old = file.read(len(_BEFORE_ARCHIVES)) == _BEFORE_ARCHIVES
        if is_old:
            again = "save it again: torch.save(torch.load(FILE, map_location='cpu', weights_only=True), NEW_FILE)"
            raise DataError(path, "was saved before torch 1.6, in another form", again) from error
        raise DataError(path, f"is not a whole file of torch.save ({one_line(error)})", "copy it again") from error
    except _BROKEN as error:
        raise DataError(path, f"cannot be read as tensors ({printable(one_line(error))})") from error


def _require_plain(path: Path) -> None:
    """Raise an error unless a file is an undamaged archive of tensors, with no more in it than its size."""
    with open_regular(path) as file, zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        packed = any(info.compress_type != zipfile.ZIP_STORED for info in infos)
        if packed or sum(info.file_size for info in infos) > path.stat().st_size:
            raise DataError(path, "is not a file of torch.save: its parts are packed, or larger than the file")
        damaged = archive.testzip()  # torch writes checksums, but does not verify them
        if damaged is not None:
            raise DataError(path, f"is damaged: the checksum of {printable(damaged)} does not match")
        pickles = [info for info in infos if info.filename.lower().endswith("data.pkl")]  # torch ignores the case
        if len(pickles) != 1:
            raise DataError(path, "is not a file of torch.save: it has no data.pkl")
        content = archive.read(pickles[0])
    for operation, argument, _ in pickletools.genops(content):
        if operation.name == "PROTO" and argument != _PROTOCOL:
            raise DataError(path, f"has a pickle of protocol {argument}, not {_PROTOCOL}, the default of torch.save")
        named = str(argument) if operation.name == "GLOBAL" else ""
        if operation.name in _INDIRECT or (named and not _TENSORS.fullmatch(named)):
            what = printable(named.replace(" ", ".")) or "classes"
            raise DataError(path, f"contains {what}, not only tensors; nothing in it was loaded", "save its state_dict")
