"""Datasets by name, splits, and the Lightning data module; `tonic_adapter` is the only file that imports tonic.

`snnlab.data.to_frames` makes frames of events.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snnlab.data.formats import to_frames

__all__ = ["to_frames"]


def __getattr__(name: str) -> Any:
    """Import `to_frames` at the first access, so that `import snnlab.data.events` does not import PyTorch."""
    if name == "to_frames":
        return import_module("snnlab.data.formats").to_frames
    raise AttributeError(f"module 'snnlab.data' has no attribute '{name}'")


def __dir__() -> list[str]:
    """Return the names for completion."""
    return sorted({*__all__, *globals()})
