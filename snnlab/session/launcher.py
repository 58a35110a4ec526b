"""The launcher: rank 0 starts the other ranks, or connects to those of torchrun or SLURM, and ends them.

It replaces the launchers of Lightning and torch. Lightning's runs `sys.argv` again: a notebook has none, a user's
script would run all its code twice, and if a process dies, the rest is killed without a message. Torch's takes over
all signals for good, and does not end the other ranks if rank 0 is killed. Both open a rendezvous port that listens
on all addresses.
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
from snnlab.spec.nodes import load
from snnlab.training.distributed import is_lost_process, join, leave
from snnlab.training.ranks import SINGLE_PROCESS, RankInfo
from snnlab.training.resuming import Resumption

# Marks mappings whose keys are not strings, such as class numbers.
_PAIRS = "snnlab/pairs"


@dataclass(frozen=True)
class TrainingSpec:
    """One training, as rank 0 sends it to the other ranks.

    Args:
        folder: The run folder, which rank 0 writes.
        resumption: The checkpoint to resume from, or None.
        identity: Hashes of configuration and data, for the checkpoints.
        threads: Threads of each process.
        gpu: True for CUDA devices.
    """

    experiment: Experiment
    folder: Path
    resumption: Resumption | None
    identity: Mapping[str, Any]
    threads: int
    gpu: bool

    def to_bytes(self) -> bytes:
        """Serialize it for another process, which reads the checkpoint itself."""
        experiment = replace(self.experiment, origin=None, threads=self.threads)
        resumption = None if self.resumption is None else replace(self.resumption, node={})
        fields_by_name = {field.name: getattr(self, field.name) for field in fields(self)}
        fields_by_name |= {"experiment": asdict(experiment), "resumption": resumption and asdict(resumption)}
        return json.dumps(_to_json(fields_by_name)).encode()


def spec_from_bytes(content: bytes) -> TrainingSpec:
    """Deserialize the bytes of `TrainingSpec.to_bytes`.

    Raises:
        RunFolderError: if the checkpoint cannot be read.
    """
    fields_by_name = json.loads(content, object_hook=lambda node: dict(node[_PAIRS]) if _PAIRS in node else node)
    experiment, folder, resumption = (
        fields_by_name["experiment"],
        Path(fields_by_name["folder"]),
        fields_by_name["resumption"],
    )
    of_run = experiment["of_run"] and Path(experiment["of_run"])
    fields_by_name |= {"experiment": load(Experiment, {**experiment, "of_run": of_run}, "", ""), "folder": folder}
    if resumption is not None:
        found = read_resumption(folder, resumption["changed"], extend_schedule=resumption["extend_schedule"])
        fields_by_name["resumption"] = replace(found, at=resumption["at"], command=resumption["command"])
    return TrainingSpec(**fields_by_name)


def _to_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        pairs = [[key, _to_json(inner)] for key, inner in value.items()]
        return dict(pairs) if all(isinstance(key, str) for key in value) else {_PAIRS: pairs}
    if isinstance(value, list | tuple):
        return [_to_json(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


# Exit status of a rank that lost its connection; it prints nothing, rank 0 reports the error.
LOST_STATUS = 3
# Keys of the store: the training; the error of another rank, as text; a rank is ready to connect.
TRAINING, ERROR, READY = "training", "error", "ready/{rank}"
_POLL_S = 0.05
# Time limits: for the other ranks to exit; to find the rank that ended when a connection breaks; for a call that waits
# for a dead rank (on a GPU nothing else would end it for minutes).
_EXIT_TIMEOUT_S, _DETECT_TIMEOUT_S, _HANG_TIMEOUT_S = 2.0, 10.0, 60.0
_training_numbers = itertools.count()
_connect_once = lru_cache(maxsize=1)(connect)


def training_store(store: Any, number: int) -> Any:
    """Return the part of a store for one training; its prefix "connection" is for torch."""
    return PrefixStore(f"snnlab/{number}", store)


class ProcessGroup:
    """The processes of one training.

    Args:
        rank_info: The rank of this process and the world size.
        store: The key-value store of all ranks; None for a single process.
        started: The processes that this one has started, by rank from 1 on.
    """

    def __init__(self, rank_info: RankInfo, store: Any = None, started: Sequence[subprocess.Popen[bytes]] = ()) -> None:
        self.rank_info, self._store, self._started = rank_info, store, list(started)
        self._stop_watching = threading.Event()

    def join(self, *, gpu: bool) -> None:
        """Connect all ranks, as soon as each is ready.

        Raises:
            ProcessError: if a rank ends before.
        """
        if self._store is None:
            return
        waits = [READY.format(rank=rank) for rank in range(1, self.rank_info.world_size)]
        while not self._store.check(waits):
            if self._failed_ranks() or self._store.check([ERROR]):
                raise ProcessError("", self._failure_text())
            time.sleep(_POLL_S)
        threading.Thread(target=self._watch_ranks, daemon=True, name="snnlab-processes").start()
        join(self.rank_info, PrefixStore("connection", self._store), gpu=gpu)

    @contextmanager
    def explain_lost_rank(self, folder: Path) -> Iterator[None]:
        """Turn a broken connection into an error that names the rank that ended."""
        try:
            yield
        except RuntimeError as error:
            if self._store is None or not is_lost_process(error):
                raise
            raise ProcessError("", self._failure_text(), f"snnlab train resume={folder} continues it") from error

    def end(self, *, succeeded: bool) -> None:
        """End all ranks; those that this process started have exited afterwards.

        Args:
            succeeded: The training is complete, so the other ranks exit by themselves.
        """
        self._stop_watching.set()
        if succeeded:
            leave()  # the other ranks do the same now
        for process in self._started:
            assert process.stdin is not None
            process.stdin.close()  # the rank takes this for the end of rank 0
        for process in self._started:
            try:
                process.wait(_EXIT_TIMEOUT_S)
            except subprocess.TimeoutExpired:  # it waits in torch, where only SIGKILL reaches it
                process.kill()
                process.wait()
        leave()

    def _failed_ranks(self) -> dict[int, int]:
        found = {rank: process.poll() for rank, process in enumerate(self._started, 1)}
        return {rank: status for rank, status in found.items() if status}

    def _failure_text(self) -> str:
        """Return which rank ended, and how, as text."""
        deadline = time.monotonic() + _DETECT_TIMEOUT_S
        ended: dict[int, int] = {}
        while self._started and time.monotonic() < deadline:
            ended = self._failed_ranks()
            if any(status != LOST_STATUS for status in ended.values()) or len(ended) == len(self._started):
                break
            time.sleep(_POLL_S)
        if self._store.check([ERROR]):
            return self._store.get(ERROR).decode()
        failed_rank = min(ended, key=lambda rank: (ended[rank] == LOST_STATUS, ended[rank]), default=None)
        if failed_rank is None or ended[failed_rank] == LOST_STATUS:
            return f"the connection to another of the {self.rank_info.world_size} processes of this training broke"
        status = ended[failed_rank]
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return f"rank {failed_rank} of {self.rank_info.world_size} processes {how}; the others were ended too"

    def _watch_ranks(self) -> None:
        """Exit if this process still waits for a dead rank after the time limit."""
        while not self._stop_watching.wait(1.0):
            if self._failed_ranks() and not self._stop_watching.wait(_HANG_TIMEOUT_S):
                self._exit_with_failure()

    def _exit_with_failure(self) -> NoReturn:
        print(f"snnlab: {self._failure_text()}", file=sys.stderr, flush=True)
        os._exit(2)


@contextmanager
def process_group(
    spec: TrainingSpec, world_size: int, local_world_size: int, external: RankInfo | None
) -> Iterator[ProcessGroup]:
    """Start the ranks of a training, or take those of torchrun or SLURM, and end them with it.

    Args:
        world_size: The world size that the experiment asks for.
        local_world_size: The number of ranks on this machine.
        external: The processes of torchrun or SLURM; None: this process starts the other ranks.
    """
    if external is not None and (external.world_size, external.local_world_size) != (world_size, local_world_size):
        machines = external.world_size // external.local_world_size
        raise ConfigError(
            "trainer.devices",
            (
                f"the trainer needs {local_world_size} processes on each of {world_size // local_world_size} machines,"
                f" and {external.launcher} started {external.local_world_size} on each of {machines}"
            ),
            f"set trainer.devices={external.local_world_size} and trainer.num_nodes={machines}",
        )
    if world_size != local_world_size and external is None:
        raise ConfigError(
            "trainer.num_nodes",
            "on several machines torchrun must start the processes, or srun with trainer=slurm",
        )
    if world_size == 1:
        yield ProcessGroup(SINGLE_PROCESS)
        return
    rank_info = external or RankInfo(0, world_size, 0, world_size)
    with TemporaryDirectory(prefix="snnlab_", ignore_cleanup_errors=True) as folder, _rank_environment(rank_info):
        if external:
            store, started = training_store(_connect_once(external), next(_training_numbers)), []
            store.set(TRAINING, spec.to_bytes())
        else:
            store, started = training_store(FileStore(f"{folder}/store", world_size), 0), []
            store.set(TRAINING, spec.to_bytes())
            started = _start_ranks(folder, world_size, spec.threads)
        group, succeeded = ProcessGroup(rank_info, store, started), False
        try:
            yield group
            succeeded = True
        finally:
            group.end(succeeded=succeeded)


def open_rendezvous(rank_info: RankInfo) -> None:
    """Open the rendezvous of torchrun or SLURM early, so that the other ranks do not wait forever."""
    _connect_once(rank_info)


def end_other_ranks(rank_info: RankInfo) -> None:
    """End the other ranks of torchrun or SLURM: no further training follows."""
    training_store(_connect_once(rank_info), next(_training_numbers)).set(TRAINING, b"")


@contextmanager
def share_threads(requested: int | None, processes: int) -> Iterator[int]:
    """Set the number of torch threads of this process during the training, and yield it.

    Args:
        requested: The experiment's `threads`, of each process; None: an equal share of torch's default.
        processes: The number of processes on this machine.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // processes) if requested is None else requested)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


@contextmanager
def _rank_environment(rank_info: RankInfo) -> Iterator[None]:
    """Set the environment variables from which Lightning reads rank and world size, during the training."""
    before: Mapping[str, str] = dict(os.environ)
    os.environ.update(rank_info.as_environment())
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _start_ranks(folder: str, world_size: int, threads: int) -> list[subprocess.Popen[bytes]]:
    """Start all ranks except 0 on this machine.

    Args:
        folder: A private folder with the rendezvous file.
        world_size: World size.
        threads: CPU threads of each rank.
    """
    # sys.path, not PYTHONPATH: the user's script may have added the folder of its plugins.
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    counts = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}
    return [
        subprocess.Popen(
            [sys.executable, "-P", "-m", "snnlab.session.rank", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={
                **os.environ,
                "PYTHONPATH": path,
                **counts,
                **RankInfo(rank, world_size, rank, world_size).as_environment(),
            },
            start_new_session=True,  # Ctrl-C reaches only rank 0, which ends the others
        )
        for rank in range(1, world_size)
    ]
