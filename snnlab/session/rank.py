"""Any process of a training but rank 0: it does its share, writes nothing, and says only what went wrong."""

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
from snnlab.session import Session
from snnlab.session.cluster import connect
from snnlab.session.fit import received_signal, take_share
from snnlab.session.launcher import JOB, LOST, READY, TROUBLE, end_of_jobs, open_meeting, part_of, unpacked
from snnlab.training.distributed import is_loss, join, leave
from snnlab.training.ranks import Team

# Rank 0 may have to pack a large dataset first.
_PATIENCE = timedelta(days=7)


def main() -> int:
    """Take part in the training of the process that started this one; return the exit status."""
    folder = sys.argv[1]
    threading.Thread(target=_end_with_the_first, args=(LOST, folder), daemon=True).start()

    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return serve(Team(rank, world, rank, world), FileStore(f"{folder}/store", world))


def take_part(team: Team, lead: Callable[[], int]) -> int:
    """Be one of the processes that torchrun or SLURM has started; return the exit status.

    Args:
        lead: What rank 0 does; the others take part in its trainings.
    """
    if not team.leads:
        return serve(team, connect(team))
    open_meeting(team)
    try:
        return lead()
    finally:
        end_of_jobs(team)


def serve(team: Team, store: Any) -> int:
    """Take part in all trainings of rank 0; return the exit status.

    Args:
        store: Where rank 0 leaves words.
    """
    _be_quiet(team)
    os.environ.update(team.as_environment())
    for number in itertools.count():
        part = part_of(store, number)
        try:
            part.wait([JOB], _PATIENCE)
            content = part.get(JOB)
        except RuntimeError:  # rank 0 has ended
            return 0
        if not content:
            return 0
        if status := _take_part(part, content, team):
            _end(status)
    return 0


def _take_part(part: Any, content: bytes, team: Team) -> int:
    """Do one job's share; return the exit status."""
    try:
        with quiet_lightning():
            job = unpacked(content)
            session = Session(job.experiment, job.folder)
            session.prepare()
            part.set(READY.format(rank=team.rank), b"1")
            join(team, PrefixStore("connection", part), gpu=job.gpu)
            take_share(job, session, team)
    except SnnlabError as error:
        part.set(TROUBLE, f"rank {team.rank}: {error}".encode())
        return 2
    except BaseException as error:
        if received_signal(error):  # to one of the processes: all stop, and rank 0 tells
            return 0
        if not (isinstance(error, RuntimeError) and is_loss(error)):
            raise
        return LOST
    leave()  # only here: it waits for the others, which may not be there any more
    return 0


def _be_quiet(team: Team) -> None:
    rank_zero_only.rank = team.rank  # pyright: ignore[reportFunctionMemberAccess]
    for name in ("snnlab", "lightning.pytorch", "lightning.fabric", "py.warnings"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")


def _end_with_the_first(status: int, folder: str) -> None:
    """End this process when rank 0 does, however that ends: its end of the pipe closes then."""
    while os.read(0, 1):
        pass
    shutil.rmtree(folder, ignore_errors=True)  # which rank 0 cannot do where it was killed
    os._exit(status)


def _end(status: int) -> NoReturn:
    """End at once: the interpreter's own end would wait in torch for processes that are gone."""
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    try:
        _end(main())
    except BaseException:
        traceback.print_exc()
        _end(1)
