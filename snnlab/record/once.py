"""Numbers that a log has at a step already."""

from __future__ import annotations

from collections.abc import Mapping

_NEVER = -1


class Once:
    """Knows at which step each number was logged last."""

    def __init__(self) -> None:
        self._at: dict[str, int | None] = {}

    def new(self, metrics: Mapping[str, float], step: int | None) -> dict[str, float]:
        """Return those that were not logged at this step, and remember them."""
        found = {name: value for name, value in metrics.items() if self._at.get(name, _NEVER) != step}
        self._at.update(dict.fromkeys(found, step))
        return found
