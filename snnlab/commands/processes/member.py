"""Any process of a training but the first: it does its share, writes nothing, and says only what went wrong."""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
import warnings
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

from snnlab.commands.processes.job import LOST, connection_key, job_key, ready_key, trouble_key, unpacked
from snnlab.commands.processes.outside import Outside, connect
from snnlab.errors import SnnlabError

if TYPE_CHECKING:
    from snnlab.training.processes.meeting import Meeting
    from snnlab.training.processes.team import Team

# The first process may have to pack a large dataset first.
_PATIENCE = timedelta(days=7)


def main() -> int:
    """Take part in the one training of the process that started this one; return the exit status."""
    port, rank, world = map(int, sys.argv[1:])
    threading.Thread(target=_end_with_the_first, daemon=True).start()

    from snnlab.training.processes.meeting import Meeting
    from snnlab.training.processes.team import Team

    return take_part(Meeting.at(port), 0, Team(rank, world, rank, world))


def serve(place: Outside) -> int:
    """Take part in all trainings of a command that torchrun or SLURM has started; return the exit status.

    Args:
        place: Which of its processes this is.
    """
    from snnlab.training.processes.team import Team

    meeting = connect(place)
    team, number = Team(place.rank, place.world, place.local_rank, place.local_world), 0
    while True:
        try:
            meeting.await_word(job_key(number), _PATIENCE)
            over = not meeting.told(job_key(number))
        except RuntimeError:  # the first process has ended
            return 0
        if over:
            return 0
        if status := take_part(meeting, number, team):
            _end(status)
        number += 1


def take_part(meeting: Meeting, number: int, team: Team) -> int:
    """Do one job's share; return the exit status.

    Args:
        meeting: Where the processes find each other.
        number: Of the job.
        team: The processes.
    """
    from snnlab.commands.fit import take_share
    from snnlab.commands.interruption import received_signal
    from snnlab.commands.train import assembled
    from snnlab.console import quiet_lightning
    from snnlab.training.processes.team import is_loss, join, leave

    _be_quiet(team)
    job = unpacked(meeting.told(job_key(number)))
    try:
        with quiet_lightning():
            module, data, built = assembled(job.experiment, job.folder)
            meeting.tell(ready_key(number, team.rank), b"1")
            join(team, meeting.part(connection_key(number)), gpu=job.gpu)
            take_share(job, module, data, built, team)
    except SnnlabError as error:
        meeting.tell(trouble_key(number), f"rank {team.rank}: {error}".encode())
        return 2
    except BaseException as error:
        if received_signal(error):  # to one of the processes: all stop, and the first one tells
            return 0
        if not (isinstance(error, RuntimeError) and is_loss(error)):
            raise
        return LOST
    leave()  # only here: it waits for the others, which may not be there any more
    return 0


def _be_quiet(team: Team) -> None:
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    rank_zero_only.rank = team.rank  # pyright: ignore[reportFunctionMemberAccess]
    for name in ("snnlab", "lightning.pytorch", "lightning.fabric", "py.warnings"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")


def _end_with_the_first() -> None:
    """End this process when the first one does, however that ends: its end of the pipe closes then."""
    while os.read(0, 1):
        pass
    os._exit(LOST)


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
