from __future__ import annotations

from ...security.conftest import canary, digits_store, server, snnlab, theirs, workplace

__all__ = ["canary", "digits_store", "server", "snnlab", "theirs", "workplace"]
