"""Downloads of datasets, resumable and with checksums, with hints for failures.

pooch is not used: it starts again after each interruption and writes URLs with their passwords into the log
(`tests/data/test_downloading.py`: a killed process and a cut connection are resumed).
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import re
import shutil
import ssl
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen
from zipfile import BadZipFile, ZipFile, is_zipfile

from filelock import FileLock
from rich.console import Console
from rich.progress import wrap_file

from snnlab.errors import ConfigError, DataError, error_context
from snnlab.files import remove_empty
from snnlab.printable import masked
from snnlab.spec.signatures import check_settings

_log = logging.getLogger(__name__)

TIMEOUT_S = 60.0
# Number of connections in a row that may fail without new data.
ATTEMPTS = 5
PAUSE_S = 1.0  # before the second attempt; doubles before each further one
# Status codes of a busy server; another attempt may succeed.
BUSY_STATUS = (408, 429, 500, 502, 503, 504)
# A host that cannot be reached at all is a URLError, and is not tried again.
CUT_CONNECTION = (HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


@dataclass(frozen=True)
class Archive:
    """A file to download: an archive of recordings, or a file of recordings.

    Args:
        name: Its file name in the dataset's folder.
        md5: Its MD5 checksum, 32 hexadecimal digits.
        url: Its URL, http, https or file; null: it can only be downloaded by hand.
    """

    name: str
    md5: str
    url: str | None = None

    def __post_init__(self) -> None:
        if not self.name or Path(self.name).name != self.name:
            raise ConfigError("name", f"must be a file name without folders, got '{self.name}'")
        if not re.fullmatch("[0-9a-f]{32}", self.md5):
            raise ConfigError("md5", f"must be 32 of 0-9 and a-f, got '{self.md5}'")
        if self.url is not None and not self.url.startswith(("http://", "https://", "file://")):
            raise ConfigError("url", f"must begin with https://, http:// or file://, got '{masked(self.url)}'")


def parse_archives(nodes: Sequence[Mapping[str, Any]]) -> list[Archive]:
    """Return the archives of a YAML."""
    archives = []
    for number, node in enumerate(nodes):
        place = f"archives[{number}]"
        if not isinstance(node, Mapping):
            raise ConfigError(place, f"expected a mapping such as {{name: a.zip, md5: ..., url: ...}}, got {node!r}")
        check_settings(Archive, node, place, "an archive")
        with error_context(place):
            archives.append(Archive(**node))
    return archives


def fetch_archive(archive: Archive, folder: Path) -> Path:
    """Return the path of an archive in a folder; download it if it is missing.

    Args:
        archive: The archive.
        folder: Its folder; the incomplete download is `NAME.part` there.

    Raises:
        DataError: if the file, or the download, has another checksum.
        OSError: if it cannot be reached or written.
    """
    path = folder / archive.name
    found = md5_of(path) if path.is_file() else None
    if found == archive.md5:
        return path
    if archive.url is None:
        raise DataError(path, f"has md5 {found}, expected {archive.md5}", "fetch it again")
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    _download(archive.url, part)
    found = md5_of(part)
    if found != archive.md5:
        part.unlink()
        raise DataError(
            archive.name,
            f"the download from {masked(archive.url)} has md5 {found}, expected {archive.md5}",
            "the download is removed",
        )
    return part.replace(path)


def md5_of(path: Path) -> str:
    """Return a file's MD5, which detects transfer errors, not attacks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _download(url: str, part: Path) -> None:
    """Download a file, and go on where it ended after interruptions."""
    largest = failures = 0
    while failures < ATTEMPTS:
        try:
            if _receive(url, part):
                return
        except HTTPError as error:
            if error.code == 416 and part.exists():  # nothing is left to fetch; the checksum is compared later
                return
            if error.code not in BUSY_STATUS:
                raise
        except CUT_CONNECTION as error:
            _log.debug("%s: %s", masked(url), error)
        size = part.stat().st_size if part.exists() else 0
        # If a server restarts each download, it must get further than before, or this loop would never end.
        largest, failures = (size, 0) if size > largest else (largest, failures + 1)
        time.sleep(PAUSE_S * 2**failures)
    raise ConnectionError(f"{masked(url)}: the host was busy or the connection was cut, {ATTEMPTS} times")


def _receive(url: str, part: Path) -> bool:
    """Download the missing bytes of a file in one connection, and return True if it is complete."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "snnlab", **({"Range": f"bytes={have}-"} if have else {})}
    with urlopen(Request(url, headers=headers), timeout=TIMEOUT_S) as response:
        status = getattr(response, "status", None) or 200  # None for file URLs
        if status not in (200, 206):
            raise OSError(f"{masked(url)}: the host answers {status} without data")
        have = have if status == 206 else 0  # from the start, if the server does not support ranges
        left = response.headers.get("Content-Length")
        shown = {"description": f"fetching {part.stem}", "console": Console(stderr=True)}
        with wrap_file(response, int(left or 0), **shown) as source, part.open("ab" if have else "wb") as file:
            shutil.copyfileobj(source, file)
    return left is None or part.stat().st_size >= have + int(left)


# Endings of archives that are unpacked; other files, such as .h5, are used as they are.
PACKED = (".zip", ".tar.gz", ".tgz", ".tar", ".gz")


def is_packed(path: Path) -> bool:
    """Return True if a file is an archive, by its name."""
    return path.name.lower().endswith(PACKED)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive, and the archives in it, into a folder; files of the same name are replaced.

    Args:
        archive: A zip file, a tar file that may be compressed, or a gzip file.
        folder: The target folder. Existing files stay.

    Raises:
        DataError: if it is damaged, or a tar file that names files outside the folder.
        OSError: if the folder cannot be written.
    """
    temporary = folder / f"{archive.name}.unpacking"
    shutil.rmtree(temporary, ignore_errors=True)  # left by a killed process
    try:
        _extract(archive, temporary)
        for inner in sorted(path for path in temporary.rglob("*") if path.is_file() and is_packed(path)):
            _extract(inner, inner.parent)
            inner.unlink()
        _move(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _extract(archive: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if is_zipfile(archive):
            with ZipFile(archive) as file:
                file.extractall(folder)  # names of files outside the folder are changed to ones in it
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as file:
                file.extractall(folder, filter="data")
        elif archive.suffix.lower() == ".gz" and ".tar" not in archive.suffixes:
            with gzip.open(archive) as file, (folder / archive.stem).open("wb") as whole:
                shutil.copyfileobj(file, whole)
        else:
            raise DataError(archive, "is neither a zip nor a tar archive")
    except (BadZipFile, tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(archive, f"cannot be unpacked ({error})", "remove it, and it is fetched again") from error


def _move(temporary: Path, folder: Path) -> None:
    for path in sorted(temporary.rglob("*")):
        target = folder / path.relative_to(temporary)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif "__MACOSX" not in path.parts:
            path.replace(target)


Counts = Mapping[str, int]


def fetch_missing(
    nodes: Sequence[Mapping[str, Any]], folder: Path, count: Callable[[], Counts], whole: Counts, *, download: bool
) -> None:
    """Fetch and unpack a dataset's archives if recordings are missing.

    Archives without URL are used if they are in the folder.

    Args:
        nodes: The YAML's `archives`.
        folder: The dataset's own folder.
        count: Returns the number of existing recordings of each part.
        whole: Complete number of recordings of each part.
        download: Whether archives are fetched or unpacked.

    Raises:
        DataError: if one cannot be fetched, has another checksum, or cannot be unpacked.
    """

    def is_complete() -> bool:
        existing = count()
        return all(existing[part] >= number for part, number in whole.items())

    archives = [archive for archive in parse_archives(nodes) if archive.url or (folder / archive.name).is_file()]
    if not (download and archives) or is_complete():
        return
    have = ", ".join(f"{existing:,} of {whole[part]:,} in {folder / part}" for part, existing in count().items())
    archive = archives[0]
    try:
        with _locked(folder):
            for archive in archives:
                if is_complete():  # another process may have fetched it during the wait
                    break
                if archive.url and not (folder / archive.name).is_file():
                    where = f"{masked(archive.url)} to {folder}"
                    _log.info(f"found {have}; fetching {where}; data.download=false fetches nothing")
                path = fetch_archive(archive, folder)
                if is_packed(path):
                    unpack(path, folder)
    except (OSError, DataError) as error:
        # The text of a URLError encloses its reason in brackets.
        reason = error.reason if type(error) is URLError else error
        path = folder / archive.name
        by_hand = f", or fetch {masked(archive.url)} by hand and put the file at {path}" if archive.url else ""
        raise DataError(
            "data.root",
            f"found {have}, and fetching the rest failed ({masked(str(reason))})",
            f"data.download=false uses what is there, data.root=FOLDER is the folder with {folder.name}{by_hand}",
        ) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time fetch; afterwards remove the folders made for it that are still empty."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / ".fetching.lock"
    try:
        with FileLock(file):
            try:
                yield
            finally:
                file.unlink(missing_ok=True)  # while it is held: a waiting process notices
    finally:
        if made:
            remove_empty(folder, len(made) - 1)
