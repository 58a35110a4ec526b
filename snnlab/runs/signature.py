"""Signatures of run folders: they prove that this user's snnlab wrote the folder, its path, its page and its plugins.

The signature of a folder that was copied, moved, edited, or made by another user is not valid: the key is a file in
the user's data folder, created once, that no other user may read, and that is in no run folder.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

from snnlab.files import open_regular, write_json

FILE = "signature.json"
_KEY_FILE = "key"
_KEY_BYTES = 32
# A signature with a thousand plugins is smaller.
_MAX_FILE_BYTES = 1_000_000


@dataclass(frozen=True)
class Signature:
    """The content of a valid signature.

    Attributes:
        plugins: File and SHA-256 of each imported plugin.
    """

    plugins: Mapping[str, tuple[Path, str]]


def sign(folder: Path, file_name: str, text: str, plugins: Mapping[str, Path] | None = None) -> None:
    """Sign a folder before its page is written; without a key the folder gets no signature.

    The signature of the earlier page is kept: a process killed before it has written the page leaves the earlier one.

    Args:
        folder: The folder of a run or a search.
        file_name: The file in it that defines it, such as `config.yaml`.
        text: The future content of that file.
        plugins: The file of each imported plugin.

    Raises:
        OSError: if the folder cannot be written.
    """
    key = _key(create=True)
    if key is None:
        return
    plugin_hashes = {name: {"file": str(path), "sha256": file_hash(path)} for name, path in (plugins or {}).items()}
    new = {
        "plugins": plugin_hashes,
        "hmac": _hmac(key, folder, file_name, hashlib.sha256(text.encode()).hexdigest(), plugin_hashes),
    }
    earlier = [
        signature
        for signature in _read_signatures(folder)
        if signature != new and _is_valid(key, folder, file_name, signature)
    ]
    write_json(folder / FILE, {"signatures": [new, *earlier[:1]]})


def read_signature(folder: Path, file_name: str) -> Signature | None:
    """Return the signature of a folder, or None if it has no valid one."""
    key = _key(create=False)
    for signature in _read_signatures(folder):
        if key is not None and _is_valid(key, folder, file_name, signature):
            return Signature(
                {name: (Path(plugin["file"]), plugin["sha256"]) for name, plugin in signature["plugins"].items()}
            )
    return None


def _is_valid(key: bytes, folder: Path, file_name: str, signature: Mapping[str, Any]) -> bool:
    """Return whether a signature is valid for the folder's present page, and the page belongs to the user."""
    try:
        path = folder / file_name
        code = _hmac(key, folder, file_name, file_hash(path), signature["plugins"])
        return _belongs_to_user(path.stat()) and hmac.compare_digest(str(signature["hmac"]).encode(), code.encode())
    except (OSError, KeyError, TypeError, ValueError):
        return False


def _read_signatures(folder: Path) -> list[Mapping[str, Any]]:
    """Return the unchecked signatures in the folder's file."""
    path = folder / FILE
    try:
        found = json.loads(path.read_bytes()[:_MAX_FILE_BYTES]) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return []
    listed = found.get("signatures") if isinstance(found, dict) else None
    return [signature for signature in listed if isinstance(signature, dict)] if isinstance(listed, list) else []


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hmac(key: bytes, folder: Path, file_name: str, content: str, plugins: Mapping[str, Any]) -> str:
    signed_content = {"folder": str(folder.resolve()), "page": file_name, "sha256": content, "plugins": plugins}
    return hmac.new(key, json.dumps(signed_content, sort_keys=True).encode(), hashlib.sha256).hexdigest()


def _key(*, create: bool) -> bytes | None:
    """Return the user's key; None if there is none, or if other users could have read or written it."""
    path = user_data_path("snnlab") / _KEY_FILE
    try:
        if create and not path.exists():
            _create_key(path)
        with open_regular(path) as file:
            found = os.fstat(file.fileno())
            key = file.read(_KEY_BYTES + 1)
    except OSError:
        return None
    private = _belongs_to_user(found) and not found.st_mode & 0o077
    return key if private and len(key) == _KEY_BYTES else None


def _create_key(path: Path) -> None:
    """Create a new key atomically; of two processes that create one, the first one's key is kept."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{_KEY_FILE}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
    finally:
        temporary.unlink(missing_ok=True)


def _belongs_to_user(found: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or found.st_uid == os.geteuid()
