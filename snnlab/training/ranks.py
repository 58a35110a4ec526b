"""Which of the processes of a training this is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Team:
    """The processes of a training, as one of them sees them.

    Args:
        rank: Which of them this is, 0 <= rank < world; 0 writes the record.
        world: Number of processes on all machines.
        local_rank: Which of those on this machine this is.
        local_world: Number of processes on this machine.
        by: Who has started them, if not rank 0, in words.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    by: str | None = None

    @property
    def leads(self) -> bool:
        """Whether this is the process that decides, writes and speaks."""
        return self.rank == 0

    def as_environment(self) -> dict[str, str]:
        """Return the same as torchrun puts it into the environment, where Lightning finds it."""
        ranks = {"RANK": self.rank, "WORLD_SIZE": self.world, "LOCAL_RANK": self.local_rank}
        machines = {"LOCAL_WORLD_SIZE": self.local_world, "GROUP_RANK": self.rank // self.local_world}
        return {name: str(number) for name, number in {**ranks, **machines}.items()}


ALONE = Team()
