"""Whether a folder is as this user's own snnlab left it: where it lies, what its page says, by which code it was made.

A folder that was copied, moved, edited, or made by somebody else is not signed: the key is a file of the user's, made
once, that no other user may read, and no run holds it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

from snnlab.files import write_json

FILE = "signature.json"
_KEY = "key"
_BYTES = 32
# A signature of a thousand plugins is smaller.
_LARGEST = 1_000_000


@dataclass(frozen=True)
class Signed:
    """What a valid signature says.

    Attributes:
        plugins: Of each plugin that was imported the file and its SHA-256.
    """

    plugins: Mapping[str, tuple[Path, str]]


def sign(folder: Path, page: str, text: str, plugins: Mapping[str, Path] | None = None) -> None:
    """Sign a folder as it will be once its page is written; where there can be no key, it stays without a signature.

    What was signed before stays so: a process that is killed before it has written the page leaves the one before.

    Args:
        folder: The folder of a run or a search.
        page: The file in it that says what it is, such as `config.yaml`.
        text: What that file will hold.
        plugins: The file of each plugin that was imported.

    Raises:
        OSError: if the folder cannot be written.
    """
    key = _key(make=True)
    if key is None:
        return
    said = {name: {"file": str(path), "sha256": file_hash(path)} for name, path in (plugins or {}).items()}
    new = {"plugins": said, "hmac": _code(key, folder, page, hashlib.sha256(text.encode()).hexdigest(), said)}
    before = [one for one in _read(folder) if one != new and _is_valid(key, folder, page, one)]
    write_json(folder / FILE, {"signatures": [new, *before[:1]]})


def signed(folder: Path, page: str) -> Signed | None:
    """Return what the signature of a folder says; None where it has none that is valid."""
    key = _key(make=False)
    for one in _read(folder):
        if key is not None and _is_valid(key, folder, page, one):
            return Signed({name: (Path(of["file"]), of["sha256"]) for name, of in one["plugins"].items()})
    return None


def _is_valid(key: bytes, folder: Path, page: str, one: Mapping[str, Any]) -> bool:
    """Return whether a signature is of the folder's page as it is, and the page is the user's."""
    try:
        path = folder / page
        code = _code(key, folder, page, file_hash(path), one["plugins"])
        return _mine(path.stat()) and hmac.compare_digest(str(one["hmac"]).encode(), code.encode())
    except (OSError, KeyError, TypeError, ValueError):
        return False


def _read(folder: Path) -> list[Mapping[str, Any]]:
    """Return what the folder's file of signatures holds, whoever wrote it."""
    path = folder / FILE
    try:
        found = json.loads(path.read_bytes()[:_LARGEST]) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return []
    listed = found.get("signatures") if isinstance(found, dict) else None
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _code(key: bytes, folder: Path, page: str, content: str, plugins: Mapping[str, Any]) -> str:
    what = {"folder": str(folder.resolve()), "page": page, "sha256": content, "plugins": plugins}
    return hmac.new(key, json.dumps(what, sort_keys=True).encode(), hashlib.sha256).hexdigest()


def _key(*, make: bool) -> bytes | None:
    """Return the user's key; None where there is none, or others could have read or written it."""
    path = user_data_path("snnlab") / _KEY
    try:
        if make and not path.exists():
            _make(path)
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            key = file.read(_BYTES + 1)
    except OSError:
        return None
    private = _mine(found) and stat.S_ISREG(found.st_mode) and not found.st_mode & 0o077
    return key if private and len(key) == _BYTES else None


def _make(path: Path) -> None:
    """Write a new key whole or not at all; of two processes that do so, the first one's stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f".{_KEY}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(beside, path)
        except FileExistsError:
            return
    finally:
        beside.unlink(missing_ok=True)


def _mine(found: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or found.st_uid == os.geteuid()
