"""A run's folder: written whole or not at all, read back, shown."""

from __future__ import annotations
