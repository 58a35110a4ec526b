"""The first process of a training: it starts the others, or finds them there, and sees that all end together."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

from snnlab.commands.processes.job import LOST, Job, connection_key, job_key, ready_key, trouble_key
from snnlab.commands.processes.outside import Outside, connect
from snnlab.errors import ConfigError, ProcessError
from snnlab.training.processes.meeting import Meeting
from snnlab.training.processes.team import ALONE, Team, is_loss, join, leave

_MEMBER = "snnlab.commands.processes.member"
_POLL_S = 0.05
# How long the others may take to end; to be found dead, when the connection to one broke; and how long a call that
# waits for one that is dead may go on: on a GPU nothing else would end it for minutes.
_END_S, _FIND_S, _HANG_S = 2.0, 10.0, 60.0

_numbers = itertools.count()
_connected = lru_cache(maxsize=1)(connect)


class Crew:
    """The processes of one training, as the first of them sees them.

    Args:
        team: The processes.
        meeting: Where they find each other; None where there is one process only.
        number: Of the job there.
        started: Those that this process has started, by rank from 1 on.
    """

    def __init__(
        self, team: Team, meeting: Meeting | None, number: int = 0, started: Sequence[subprocess.Popen[bytes]] = ()
    ) -> None:
        self.team, self.number, self.started = team, number, list(started)
        self._meeting = meeting
        self._over = threading.Event()

    def join(self, *, gpu: bool) -> None:
        """Connect with the others, once each has everything ready.

        Raises:
            ProcessError: if one of them ends before.
        """
        if self._meeting is None:
            return
        waits = [ready_key(self.number, rank) for rank in range(1, self.team.world)]
        while not self._meeting.has(waits):
            if self._ended() or self._meeting.has([trouble_key(self.number)]):
                raise ProcessError(self._blame())
            time.sleep(_POLL_S)
        threading.Thread(target=self._watch, daemon=True, name="snnlab-crew").start()
        join(self.team, self._meeting.part(connection_key(self.number)), gpu=gpu)

    @contextmanager
    def or_lost(self, folder: Path) -> Iterator[None]:
        """Put into words that a connection broke because another process ended.

        Args:
            folder: The run's folder.

        Raises:
            ProcessError: then.
        """
        try:
            yield
        except RuntimeError as error:
            if self._meeting is None or not is_loss(error):
                raise
            raise ProcessError(f"{self._blame()}\n  snnlab train resume={folder} goes on") from error

    def end(self, *, well: bool) -> None:
        """Let all processes end; those that this one started are gone afterwards.

        Args:
            well: Whether the others end by themselves.
        """
        self._over.set()
        if well:
            leave()  # as the others do at this moment
        for process in self.started:
            assert process.stdin is not None
            process.stdin.close()  # which it takes for the end of this process
        for process in self.started:
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:  # it waits for this one in torch, where nothing else reaches it
                process.kill()
                process.wait()
        leave()

    def _ended(self) -> dict[int, int]:
        """Return the status of those that ended with trouble, by rank."""
        found = {rank: process.poll() for rank, process in enumerate(self.started, 1)}
        return {rank: status for rank, status in found.items() if status}

    def _blame(self) -> str:
        """Return in words which of the others ended, and how."""
        deadline = time.monotonic() + _FIND_S
        ended: dict[int, int] = {}
        while self.started and time.monotonic() < deadline:
            ended = self._ended()
            if any(status != LOST for status in ended.values()) or len(ended) == len(self.started):
                break
            time.sleep(_POLL_S)
        assert self._meeting is not None
        if self._meeting.has([trouble_key(self.number)]):
            return self._meeting.told(trouble_key(self.number)).decode()
        guilty = min(ended, key=lambda rank: (ended[rank] == LOST, ended[rank]), default=None)
        if guilty is None or ended[guilty] == LOST:
            return f"the connection to another of the {self.team.world} processes of this training broke"
        status = ended[guilty]
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return f"rank {guilty} of {self.team.world} processes {how}; the others were ended too"

    def _watch(self) -> None:
        """End this process if it goes on waiting for one that is dead."""
        while not self._over.wait(1.0):
            if self._ended() and not self._over.wait(_HANG_S):
                self._give_up()

    def _give_up(self) -> NoReturn:
        print(f"snnlab: {self._blame()}", file=sys.stderr, flush=True)
        os._exit(2)


@contextmanager
def crew(job: Job, world: int, local_world: int, place: Outside | None) -> Iterator[Crew]:
    """Bring the processes of a training together, and let them end with it.

    Args:
        job: What they do.
        world: How many the experiment asks for.
        local_world: How many of them on this machine.
        place: What torchrun or SLURM has started; None: this process starts the others.

    Raises:
        ConfigError: if there are more or fewer than are asked for.
    """
    if place is not None and (place.world, place.local_world) != (world, local_world):
        raise ConfigError(
            f"trainer.devices: this asks for {local_world} processes on each of {world // local_world} machines, and"
            f" {place.by} started {place.local_world} on each of {place.world // place.local_world};"
            f" set trainer.devices={place.local_world} and trainer.num_nodes={place.world // place.local_world}"
        )
    if world != local_world and place is None:
        raise ConfigError(
            "trainer.num_nodes: the processes of several machines are started by torchrun, or by srun with"
            " trainer=slurm"
        )
    gathered = _alone() if world == 1 else _found(job, place) if place else _started(job, world)
    well = False
    try:
        yield gathered
        well = True
    finally:
        gathered.end(well=well)


def open_meeting(place: Outside) -> None:
    """Let the processes of torchrun or SLURM find each other: those that wait for this one do not wait for ever.

    Args:
        place: This one, the first.
    """
    _connected(place)


def end_of_jobs(place: Outside) -> None:
    """Tell the processes of torchrun or SLURM that no other job comes.

    Args:
        place: This one, the first.
    """
    _connected(place).tell(job_key(next(_numbers)), b"")


def _alone() -> Crew:
    return Crew(ALONE, None)


def _found(job: Job, place: Outside) -> Crew:
    meeting, number = _connected(place), next(_numbers)
    meeting.tell(job_key(number), job.packed())
    return Crew(Team(place.rank, place.world, place.local_rank, place.local_world), meeting, number)


def _started(job: Job, world: int) -> Crew:
    meeting = Meeting.hosted()
    meeting.tell(job_key(0), job.packed())
    # Not this process's PYTHONPATH: plugins may stand in a folder that only a script of the user's has added.
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    threads = {name: str(job.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}
    started = []
    for rank in range(1, world):
        ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank)}  # for what Lightning says when it is imported
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", _MEMBER, str(meeting.port), str(rank), str(world)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path, **threads, **ranks},
            start_new_session=True,  # Ctrl-C is for the first process, which tells the others
        )
        started.append(process)
    return Crew(Team(0, world, 0, world), meeting, 0, started)
