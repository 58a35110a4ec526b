"""Training and testing without denormal numbers."""

from __future__ import annotations

from typing import Any

import lightning as L

from snnlab.threads import flush_denormals, flushes_denormals


class FlushDenormals(L.Callback):
    """Takes denormal numbers for zeros during a training or a test, and restores the setting of before."""

    def __init__(self) -> None:
        self._before: bool | None = None

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Flush denormal numbers."""
        self._before = flushes_denormals()
        flush_denormals(True)

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Restore the setting."""
        self._restore()

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Restore the setting."""
        self._restore()

    def _restore(self) -> None:
        if self._before is not None:
            flush_denormals(self._before)
            self._before = None
