"""The page of a packed store that says what the other files are."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from snnlab.errors import StoreError

FORMAT = 2
COLUMNS = {"t": "<i8", "x": "<i2", "y": "<i2", "p": "|b1"}
"""Per event, in raw files `<key>.bin`."""
ARRAYS = {"offsets": "<i8", "targets": "<i8", "split": "|u1", "groups": "<i8", "last_t": "<i8", "hashes": "<u8"}
"""Per recording, in `<key>.npy`; targets may be more, see `snnlab.events.targets`."""
VALUES = "<f4"
"""Targets that are values."""
BY_EVENTS = ("last_t", "hashes")
"""Arrays that follow from the columns."""
FREE = ("split", "groups")
"""Arrays that users change without changing a recording."""
CURE = "delete this folder, the next run packs the recordings again"


def column_types(polarities: int) -> dict[str, str]:
    """Return the types of the events' columns; of more than two polarities, as colours are, each has a number."""
    return COLUMNS if polarities <= 2 else COLUMNS | {"p": "|u1"}


@dataclass(frozen=True)
class Manifest:
    """What a store holds, and from what it was made.

    Args:
        format: Version of the layout.
        source: The source's fingerprint.
        recordings: Number of recordings.
        events: Number of events of all recordings.
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).
        dtypes: NumPy type of each file's values, by key.
        sha256: Checksum of each file's values, by key.
        content: Checksum of all values: the data's fingerprint in a run's record.
        bad: Place of each recording that could not be used, which is here without events, and the reason.
        versions: Of snnlab and NumPy when it was packed; for people, never compared.
    """

    format: int
    source: dict[str, Any]
    recordings: int
    events: int
    sensor_size: list[int]
    dtypes: dict[str, str]
    sha256: dict[str, str]
    content: str
    bad: list[list[Any]]
    versions: dict[str, str]

    def write(self, folder: Path) -> None:
        """Write `manifest.json` into the folder."""
        text = json.dumps(asdict(self), indent=2, allow_nan=False)
        (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read `manifest.json` of the folder.

        Raises:
            StoreError: If it is missing, not JSON, of another format, or incomplete.
        """
        try:
            page = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StoreError(folder, f"manifest.json cannot be read ({error})", CURE) from error
        found = page.get("format") if isinstance(page, dict) else None
        if found != FORMAT:
            raise StoreError(folder, f"has format {found}, this snnlab reads {FORMAT}", CURE)
        if set(page) != {field.name for field in fields(cls)}:
            raise StoreError(folder, "manifest.json lacks entries or has foreign ones", CURE)
        return cls(**page)


def canonical_hash(value: Any) -> str:
    """Return the sha256 of the value's JSON with sorted keys and no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def content_hash(sha256: dict[str, str]) -> str:
    """Return one checksum of all files that say something of their own."""
    return canonical_hash({key: value for key, value in sha256.items() if key not in BY_EVENTS})
