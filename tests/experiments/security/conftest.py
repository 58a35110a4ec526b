from __future__ import annotations

from ...security.conftest import canary, server, snnlab, theirs, workplace

__all__ = ["canary", "server", "snnlab", "theirs", "workplace"]
