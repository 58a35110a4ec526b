"""The processes of a training as rank 0 sees them: started, or found there, told what to do, ended together.

Not started by Lightning's launcher, nor by torch's: the one runs `sys.argv` once more, which a notebook does not have
and by which a user's script would do twice what it does beside, and where a process dies it kills the rest without a
word; the other takes all signals for itself, for good, and leaves processes behind whose first one was killed. Both
let the processes meet at a port that listens on all addresses.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import torch
from torch.distributed import FileStore, PrefixStore  # pyright: ignore[reportPrivateImportUsage]

from snnlab.config.schema import Experiment
from snnlab.errors import ConfigError, ProcessError
from snnlab.session.cluster import connect
from snnlab.session.last_checkpoint import read_resumption
from snnlab.training.distributed import is_loss, join, leave
from snnlab.training.ranks import ALONE, Team
from snnlab.training.resuming import Resumption

# Mappings whose keys are no texts, such as classes by number.
_PAIRS = "snnlab/pairs"


@dataclass(frozen=True)
class Job:
    """One training.

    Args:
        folder: Where rank 0 records it.
        resumption: What it goes on from, or None.
        identity: What its checkpoints belong to.
        threads: Of each process.
    """

    experiment: Experiment
    folder: Path
    resumption: Resumption | None
    identity: Mapping[str, Any]
    threads: int
    gpu: bool

    def packed(self) -> bytes:
        """Return it as it travels to another process, which reads the checkpoint itself."""
        experiment = replace(self.experiment, origin=None, threads=self.threads)
        resumption = None if self.resumption is None else replace(self.resumption, node={})
        page = {field.name: getattr(self, field.name) for field in fields(self)}
        page |= {"experiment": asdict(experiment), "resumption": resumption and asdict(resumption)}
        return json.dumps(_plain(page)).encode()


def unpacked(content: bytes) -> Job:
    """Return what `Job.packed` made.

    Raises:
        RecordError: if the checkpoint cannot be read.
    """
    page = json.loads(content, object_hook=lambda node: dict(node[_PAIRS]) if _PAIRS in node else node)
    said, folder, resumption = page["experiment"], Path(page["folder"]), page["resumption"]
    of_run = said["of_run"] and Path(said["of_run"])
    page |= {"experiment": Experiment(**{**said, "of_run": of_run}), "folder": folder}
    if resumption is not None:
        found = read_resumption(folder, resumption["changed"], longer=resumption["longer"])
        page["resumption"] = replace(found, at=resumption["at"], command=resumption["command"])
    return Job(**page)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        pairs = [[key, _plain(inner)] for key, inner in value.items()]
        return dict(pairs) if all(isinstance(key, str) for key in value) else {_PAIRS: pairs}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


# Exit status of a process that lost the others; it has nothing to say, rank 0 does.
LOST = 3
# Keys: what to do; what went wrong in another process, in a user's words; that one only waits for the others.
JOB, TROUBLE, READY = "job", "trouble", "ready/{rank}"
_POLL_S = 0.05
# How long the others may take to end; to be found dead, when the connection to one broke; and how long a call that
# waits for one that is dead may go on: on a GPU nothing else would end it for minutes.
_END_S, _FIND_S, _HANG_S = 2.0, 10.0, 60.0
_numbers = itertools.count()
_connected = lru_cache(maxsize=1)(connect)


def part_of(store: Any, number: int) -> Any:
    """Return the part of a store for a job; of this the part "connection" is torch's."""
    return PrefixStore(f"snnlab/{number}", store)


class ProcessGroup:
    """The processes of one training.

    Args:
        team: Which of them this is.
        store: Where they leave words for each other; None where there is one process only.
        started: Those that this process has started, by rank from 1 on.
    """

    def __init__(self, team: Team, store: Any = None, started: Sequence[subprocess.Popen[bytes]] = ()) -> None:
        self.team, self._store, self._started = team, store, list(started)
        self._over = threading.Event()

    def join(self, *, gpu: bool) -> None:
        """Connect with the others, once each has everything ready.

        Raises:
            ProcessError: if one of them ends before.
        """
        if self._store is None:
            return
        waits = [READY.format(rank=rank) for rank in range(1, self.team.world)]
        while not self._store.check(waits):
            if self._ended() or self._store.check([TROUBLE]):
                raise ProcessError("", self._blame())
            time.sleep(_POLL_S)
        threading.Thread(target=self._watch, daemon=True, name="snnlab-processes").start()
        join(self.team, PrefixStore("connection", self._store), gpu=gpu)

    @contextmanager
    def or_lost(self, folder: Path) -> Iterator[None]:
        """Put into words that a connection broke because another process ended."""
        try:
            yield
        except RuntimeError as error:
            if self._store is None or not is_loss(error):
                raise
            raise ProcessError("", self._blame(), f"snnlab train resume={folder} goes on") from error

    def end(self, *, well: bool) -> None:
        """Let all processes end; those that this one started are gone afterwards.

        Args:
            well: Whether the others end by themselves.
        """
        self._over.set()
        if well:
            leave()  # as the others do at this moment
        for process in self._started:
            assert process.stdin is not None
            process.stdin.close()  # which it takes for the end of this process
        for process in self._started:
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:  # it waits for this one in torch, where nothing else reaches it
                process.kill()
                process.wait()
        leave()

    def _ended(self) -> dict[int, int]:
        found = {rank: process.poll() for rank, process in enumerate(self._started, 1)}
        return {rank: status for rank, status in found.items() if status}

    def _blame(self) -> str:
        """Return in words which of the others ended, and how."""
        deadline = time.monotonic() + _FIND_S
        ended: dict[int, int] = {}
        while self._started and time.monotonic() < deadline:
            ended = self._ended()
            if any(status != LOST for status in ended.values()) or len(ended) == len(self._started):
                break
            time.sleep(_POLL_S)
        if self._store.check([TROUBLE]):
            return self._store.get(TROUBLE).decode()
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
def process_group(job: Job, world: int, local_world: int, found: Team | None) -> Iterator[ProcessGroup]:
    """Bring the processes of a training together, and let them end with it.

    Args:
        world: How many the experiment asks for.
        local_world: How many of them on this machine.
        found: What torchrun or SLURM has started; None: this process starts the others.

    Raises:
        ConfigError: if there are more or fewer than are asked for.
    """
    if found is not None and (found.world, found.local_world) != (world, local_world):
        machines = found.world // found.local_world
        raise ConfigError(
            "trainer.devices",
            (
                f"this asks for {local_world} processes on each of {world // local_world} machines,"
                f" and {found.by} started {found.local_world} on each of {machines}"
            ),
            f"set trainer.devices={found.local_world} and trainer.num_nodes={machines}",
        )
    if world != local_world and found is None:
        raise ConfigError(
            "trainer.num_nodes",
            "the processes of several machines are started by torchrun, or by srun with trainer=slurm",
        )
    if world == 1:
        yield ProcessGroup(ALONE)
        return
    team = found or Team(0, world, 0, world)
    with TemporaryDirectory(prefix="snnlab_", ignore_cleanup_errors=True) as folder, _environment(team):
        if found:
            store, started = part_of(_connected(found), next(_numbers)), []
            store.set(JOB, job.packed())
        else:
            store, started = part_of(FileStore(f"{folder}/store", world), 0), []
            store.set(JOB, job.packed())
            started = _started(folder, world, job.threads)
        group, well = ProcessGroup(team, store, started), False
        try:
            yield group
            well = True
        finally:
            group.end(well=well)


def open_meeting(team: Team) -> None:
    """Let the processes of torchrun or SLURM find each other: those that wait for this one do not wait for ever."""
    _connected(team)


def end_of_jobs(team: Team) -> None:
    """Tell the processes of torchrun or SLURM that no other job comes."""
    part_of(_connected(team), next(_numbers)).set(JOB, b"")


@contextmanager
def shared_threads(asked: int | None, processes: int) -> Iterator[int]:
    """Let each process have its share of torch's threads as long as they train; give the number.

    Args:
        asked: The experiment's `threads`, those of each process; None shares out what torch would use alone.
        processes: How many there are on this machine.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // processes) if asked is None else asked)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


@contextmanager
def _environment(team: Team) -> Iterator[None]:
    """Tell Lightning by the environment which process this is, as long as they train."""
    before: Mapping[str, str] = dict(os.environ)
    os.environ.update(team.as_environment())
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _started(folder: str, world: int, threads: int) -> list[subprocess.Popen[bytes]]:
    """Start all ranks but 0 on this machine.

    Args:
        folder: A private one, in which they find this process.
        world: Number of ranks.
        threads: CPU threads of each.
    """
    # Not this process's PYTHONPATH: plugins may stand in a folder that only a script of the user's has added.
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    counts = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}
    return [
        subprocess.Popen(
            [sys.executable, "-P", "-m", "snnlab.session.rank", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path, **counts, **Team(rank, world, rank, world).as_environment()},
            start_new_session=True,  # Ctrl-C is for rank 0, which tells the others
        )
        for rank in range(1, world)
    ]
