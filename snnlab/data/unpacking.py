"""Unpack an archive beside its place, and move its files there when all are whole."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile, is_zipfile

from snnlab.errors import DataError

# Ends of names that are unpacked; others, such as .h5, are used as they are.
PACKED = (".zip", ".tar.gz", ".tgz", ".tar", ".gz")


def is_packed(path: Path) -> bool:
    """Return whether a file is an archive of others, by its name."""
    return path.name.lower().endswith(PACKED)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive, and the archives in it, below a folder; files of the same name are replaced.

    Args:
        archive: A zip, a tar that may be compressed, or a file that gzip has compressed.
        folder: Where its files go. What lies there already stays.

    Raises:
        DataError: if it is damaged, or names files outside the folder.
        OSError: if the folder cannot be written.
    """
    beside = folder / f"{archive.name}.unpacking"
    shutil.rmtree(beside, ignore_errors=True)  # of a process that was killed
    try:
        _extract(archive, beside)
        for inner in sorted(path for path in beside.rglob("*") if path.is_file() and is_packed(path)):
            _extract(inner, inner.parent)
            inner.unlink()
        _move(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _extract(archive: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if is_zipfile(archive):
            with ZipFile(archive) as file:
                for name in file.namelist():
                    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                        raise DataError(f"{archive}: names a file outside its folder, {name}; it is not unpacked")
                file.extractall(folder)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as file:
                file.extractall(folder, filter="data")
        elif archive.suffix.lower() == ".gz" and ".tar" not in archive.suffixes:
            with gzip.open(archive) as file, (folder / archive.stem).open("wb") as whole:
                shutil.copyfileobj(file, whole)
        else:
            raise DataError(f"{archive}: is neither a zip nor a tar archive")
    except tarfile.FilterError as error:
        raise DataError(f"{archive}: names a file outside its folder ({error}); it is not unpacked") from error
    except (BadZipFile, tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{archive}: is damaged ({error}); remove it, and it is fetched again") from error


def _move(beside: Path, folder: Path) -> None:
    for path in sorted(beside.rglob("*")):
        place = folder / path.relative_to(beside)
        if path.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        elif "__MACOSX" not in path.parts:
            path.replace(place)
