"""A rank other than 0: it trains its share, writes no files, and reports only its error."""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NoReturn

from lightning.fabric.utilities.rank_zero import rank_zero_only
from torch.distributed import FileStore, PrefixStore  # pyright: ignore[reportPrivateImportUsage]

from snnlab.console import quiet_lightning
from snnlab.errors import SnnlabError
from snnlab.process import open_streams
from snnlab.session import Session
from snnlab.session.cluster import connect
from snnlab.session.fit import received_signal, train_other_rank
from snnlab.session.launcher import (
    ERROR,
    LOST_STATUS,
    READY,
    TRAINING,
    end_other_ranks,
    open_rendezvous,
    spec_from_bytes,
    training_store,
)
from snnlab.training.distributed import is_lost_process, join, leave
from snnlab.training.ranks import RankInfo

# Rank 0 may have to pack a large dataset first.
_WAIT = timedelta(days=7)


def main() -> int:
    """Run the rank that the launcher has started; return the exit status."""
    folder = sys.argv[1]
    threading.Thread(target=_exit_with_rank_zero, args=(LOST_STATUS, folder), daemon=True).start()

    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return follow_rank_zero(RankInfo(rank, world_size, rank, world_size), FileStore(f"{folder}/store", world_size))


def run_rank(rank_info: RankInfo, lead: Callable[[], int]) -> int:
    """Run one rank of torchrun or SLURM; return the exit status.

    Args:
        lead: The command of rank 0; the other ranks join its trainings.
    """
    if not rank_info.is_rank_zero:
        return follow_rank_zero(rank_info, connect(rank_info))
    open_rendezvous(rank_info)
    try:
        return lead()
    finally:
        end_other_ranks(rank_info)


def follow_rank_zero(rank_info: RankInfo, store: Any) -> int:
    """Join all trainings of rank 0; return the exit status.

    Args:
        store: The key-value store of all ranks.
    """
    _silence(rank_info)
    os.environ.update(rank_info.as_environment())
    for number in itertools.count():
        prefix_store = training_store(store, number)
        try:
            prefix_store.wait([TRAINING], _WAIT)
            content = prefix_store.get(TRAINING)
        except RuntimeError:  # rank 0 has ended
            return 0
        if not content:
            return 0
        if status := _train_share(prefix_store, content, rank_info):
            _exit_now(status)
    return 0


def _train_share(prefix_store: Any, content: bytes, rank_info: RankInfo) -> int:
    """Train the share of this rank in one training; return the exit status."""
    try:
        with quiet_lightning():
            spec = spec_from_bytes(content)
            session = Session(spec.experiment, spec.folder)
            session.prepare()
            prefix_store.set(READY.format(rank=rank_info.rank), b"1")
            join(rank_info, PrefixStore("connection", prefix_store), gpu=spec.gpu)
            train_other_rank(spec, session, rank_info)
    except SnnlabError as error:
        prefix_store.set(ERROR, f"rank {rank_info.rank}: {error}".encode())
        return 2
    except BaseException as error:
        if received_signal(error):  # a signal to any rank stops all, and rank 0 reports it
            return 0
        if not (isinstance(error, RuntimeError) and is_lost_process(error)):
            raise
        return LOST_STATUS
    leave()  # only after success: it waits for the other ranks, which may have died
    return 0


def _silence(rank_info: RankInfo) -> None:
    rank_zero_only.rank = rank_info.rank  # pyright: ignore[reportFunctionMemberAccess]
    for name in ("snnlab", "lightning.pytorch", "lightning.fabric", "py.warnings"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")


def _exit_with_rank_zero(status: int, folder: str) -> None:
    """Exit when rank 0 does, in whatever way: its end of the pipe closes then."""
    while os.read(0, 1):
        pass
    shutil.rmtree(folder, ignore_errors=True)  # rank 0 cannot do this if it was killed
    os._exit(status)


def _exit_now(status: int) -> NoReturn:
    """Exit at once: a normal exit would wait in torch for dead processes."""
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    open_streams()
    try:
        _exit_now(main())
    except BaseException:
        traceback.print_exc()
        _exit_now(1)
