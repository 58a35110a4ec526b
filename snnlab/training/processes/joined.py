"""What Lightning is told of processes that it has not started itself."""

from __future__ import annotations

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy

from snnlab.training.processes.team import Team


class Given(ClusterEnvironment):
    """The processes that are there.

    Args:
        team: The processes.
    """

    def __init__(self, team: Team) -> None:
        super().__init__()
        self.team = team

    @property
    def creates_processes_externally(self) -> bool:
        """Lightning has to start none."""
        return True

    @property
    def main_address(self) -> str:
        """Nobody asks for it: the processes are connected already."""
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        """Nobody asks for it: the processes are connected already."""
        return 0

    @staticmethod
    def detect() -> bool:
        """Return whether Lightning may take this one by itself."""
        return False

    def world_size(self) -> int:
        """Return the number of processes."""
        return self.team.world

    def set_world_size(self, size: int) -> None:
        """Take nothing: the number is known."""

    def global_rank(self) -> int:
        """Return which of all processes this is."""
        return self.team.rank

    def set_global_rank(self, rank: int) -> None:
        """Take nothing: the rank is known."""

    def local_rank(self) -> int:
        """Return which of this machine's processes this is."""
        return self.team.local_rank

    def node_rank(self) -> int:
        """Return which machine this is."""
        return self.team.machine


class Joined(DDPStrategy):
    """Data-parallel training among processes that are connected already."""

    def _configure_launcher(self) -> None:
        # Lightning's own would set the number of threads, and its watch kills this process without a word.
        self._launcher = None
