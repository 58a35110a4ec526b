"""A network in one file, NAME.snn: a zip of a run's configuration, result, weights and card, which holds no code.

`snnlab.session.bundle_export` writes one. Commands and Python take it in place of a run's folder: it is unpacked
once, into the user's cache. Only files of known names are taken from it, and plugins that its configuration names are
imported only where the user names them too.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from platformdirs import user_cache_path
from safetensors import SafetensorError, deserialize

from snnlab.errors import RunFolderError

SUFFIX = ".snn"
# Stored as they are: they hardly compress, and so take no more than the bundle.
_WEIGHTS = "weights.safetensors"
# The files of a bundle; the first three are in each.
FILES = (
    *("config.yaml", "result.json", _WEIGHTS),
    *("card.yaml", "split.json", "hot_pixels.json", "trained_on.npy"),
)
NEEDED = FILES[:3]
# The most bytes of each other file: the indices of some millions of recordings.
_MOST_BYTES = 1 << 25


def bundle_folder(path: Path) -> Path:
    """Return the folder of the files of a bundle, a regular file; it is unpacked into the user's cache where needed.

    The folder has the bundle's name, without its ending.

    Raises:
        RunFolderError: if it is no bundle, is damaged, or the cache cannot be written.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            folder = _unpacked() / digest / path.stem
            if not folder.is_dir():
                file.seek(0)
                _unpack(_read(file, path), folder)
    except OSError as error:
        raise RunFolderError(path, f"cannot be opened ({error.strerror or error})") from error
    return folder


def is_bundle(folder: Path) -> bool:
    """Return whether a folder is that of an unpacked bundle, in which nothing is written."""
    return folder.parent.parent == _unpacked()


def with_bundle_names(text: str) -> str:
    """Return a text in which the files of an unpacked bundle are named by the bundle: `NAME.snn/result.json`."""
    return re.sub(rf"{re.escape(str(_unpacked()))}/[0-9a-f]{{64}}/([^/\n]+?)(?=[/'\";:,)]|\s|$)", rf"\1{SUFFIX}", text)


def _unpacked() -> Path:
    return user_cache_path("snnlab") / "bundles"


def _read(file: object, path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(file) as archive:  # type: ignore[arg-type]
            infos = {info.filename: info for info in archive.infolist()}
            unknown = [name for name in infos if name not in FILES]
            missing = [name for name in NEEDED if name not in infos]
            if unknown or missing or len(infos) < len(archive.infolist()):
                wrong = f"holds {unknown[0]!a}" if unknown else f"lacks {missing[0]}" if missing else "repeats a file"
                raise RunFolderError(path, f"is no bundle of snnlab: it {wrong}", "snnlab export RUN --bundle FILE.snn")
            for name, info in infos.items():
                if info.compress_type != zipfile.ZIP_STORED if name == _WEIGHTS else info.file_size > _MOST_BYTES:
                    problem = "are packed" if name == _WEIGHTS else f"claims to have {info.file_size:,} bytes"
                    raise RunFolderError(path, f"its {name} {problem}", "it is damaged; fetch the file again")
            content = {name: archive.read(info) for name, info in infos.items()}
            deserialize(content[_WEIGHTS])
            return content
    except SafetensorError as error:
        raise RunFolderError(path, "its weights are damaged", "fetch the file again") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise RunFolderError(path, "is no bundle of snnlab, or damaged", "fetch the file again") from error


def _unpack(files: Mapping[str, bytes], folder: Path) -> None:
    """Write the files into a new folder beside, and rename it when it is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        for name, content in files.items():
            (beside / name).write_bytes(content)
        os.rename(beside, folder)
    except OSError:
        shutil.rmtree(beside, ignore_errors=True)
        if not folder.is_dir():  # another process may have been faster
            raise
