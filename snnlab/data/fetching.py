"""Fetch what is missing of a dataset, and say what to do where that fails."""

from __future__ import annotations

import gzip
import logging
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.error import HTTPError, URLError
from zipfile import BadZipFile, ZipFile, is_zipfile

from filelock import FileLock

from snnlab.data.downloading import archives_of, obtain
from snnlab.errors import DataError
from snnlab.files import remove_empty
from snnlab.masking import masked

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
                        raise DataError(archive, f"names a file outside its folder, {name}", "it is not unpacked")
                file.extractall(folder)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as file:
                file.extractall(folder, filter="data")
        elif archive.suffix.lower() == ".gz" and ".tar" not in archive.suffixes:
            with gzip.open(archive) as file, (folder / archive.stem).open("wb") as whole:
                shutil.copyfileobj(file, whole)
        else:
            raise DataError(archive, "is neither a zip nor a tar archive")
    except tarfile.FilterError as error:
        raise DataError(archive, f"names a file outside its folder ({error})", "it is not unpacked") from error
    except (BadZipFile, tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(archive, f"is damaged ({error})", "remove it, and it is fetched again") from error


def _move(beside: Path, folder: Path) -> None:
    for path in sorted(beside.rglob("*")):
        place = folder / path.relative_to(beside)
        if path.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        elif "__MACOSX" not in path.parts:
            path.replace(place)


_log = logging.getLogger(__name__)

Counts = Mapping[str, int]


def fetch_missing(
    nodes: Sequence[Mapping[str, Any]], folder: Path, count: Callable[[], Counts], whole: Counts, *, download: bool
) -> None:
    """Fetch and unpack a dataset's archives where recordings are missing.

    Archives without an address are used where they lie in the folder.

    Args:
        nodes: The YAML's `archives`.
        folder: The dataset's own folder.
        count: Counts the recordings that are there, by part.
        whole: How many each part has.
        download: Whether anything is to be fetched or unpacked.

    Raises:
        ConfigError: if an archive's settings cannot be used.
        DataError: if one cannot be fetched, has another checksum, or cannot be unpacked.
    """
    archives = archives_of(nodes)
    usable = [archive for archive in archives if archive.url or (folder / archive.name).is_file()]
    if not (download and usable) or _complete(count(), whole):
        return
    have = ", ".join(f"{found:,} of {whole[part]:,} in {folder / part}" for part, found in count().items())
    archive = usable[0]
    try:
        with _locked(folder):
            for archive in usable:
                # Another process may have fetched it while this one waited.
                if not _complete(count(), whole):
                    if archive.url and not (folder / archive.name).is_file():
                        where = f"{masked(archive.url)} to {folder}"
                        _log.info(f"found {have}; fetching {where}; data.download=false fetches nothing")
                    path = obtain(archive, folder)
                    if is_packed(path):
                        unpack(path, folder)
    except (OSError, DataError) as error:
        hand = (
            f", or fetch {masked(archive.url)} by hand and put the file at {folder / archive.name}"
            if archive.url
            else ""
        )
        raise DataError(
            "data.root",
            f"found {have}, and fetching the rest failed ({masked(str(_reason(error)))})",
            f"data.download=false uses what is there, data.root=FOLDER names the folder that holds {folder.name}{hand}",
        ) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time fetch; what is made for it is gone afterwards, unless something was put there."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / ".fetching.lock"
    try:
        with FileLock(file):
            try:
                yield
            finally:
                file.unlink(missing_ok=True)  # while it is held: who waits for it sees that it is gone
    finally:
        if made:
            remove_empty(folder, len(made) - 1)


def _reason(error: Exception) -> object:
    """Return what kept urllib from a host, without the brackets in which it says so."""
    return error.reason if isinstance(error, URLError) and not isinstance(error, HTTPError) else error


def _complete(found: Counts, whole: Counts) -> bool:
    return all(found[part] >= number for part, number in whole.items())
