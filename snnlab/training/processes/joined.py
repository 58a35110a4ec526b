"""What Lightning is told of processes that it has not started itself."""

from __future__ import annotations

from lightning.pytorch.strategies import DDPStrategy


class Joined(DDPStrategy):
    """Data-parallel training among processes that are connected already, and known by torchrun's environment."""

    def _configure_launcher(self) -> None:
        # Lightning's own refuses notebooks, sets the number of threads, and kills this process without a word.
        self._launcher = None
