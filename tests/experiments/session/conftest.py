from __future__ import annotations

from ...cli.conftest import digits_store, snnlab, workplace

__all__ = ["digits_store", "snnlab", "workplace"]
