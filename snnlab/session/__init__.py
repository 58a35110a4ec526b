"""From an experiment to its objects: `Session`, which comes when it is asked for; `cluster` needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snnlab.session.session import Session as Session


def __getattr__(name: str) -> Any:
    if name != "Session":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from snnlab.session.session import Session

    return Session
