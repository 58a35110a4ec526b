"""A look at a dataset's recordings, in a worker, before a suite trains with them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnlab.commands.trial import number_of_gpus, quiet
from snnlab.errors import DataError, MissingPackageError, SnnlabError, UnsetError
from snnlab.suite.plan import Survey

if TYPE_CHECKING:
    from snnlab.config.schema import Experiment
    from snnlab.data.duplicates import Duplicates


def survey(probes: Sequence[Sequence[str]], config_dir: str | None, place: str) -> Survey:
    """Find and pack the recordings of the first list of overrides that builds; train nothing.

    Args:
        probes: Overrides of the arms.
        place: The working folder.
    """
    from snnlab.config.composing import compose_once
    from snnlab.session.session import check_build

    os.chdir(place)
    mistake: SnnlabError | None = None
    own = Path(config_dir) if config_dir else None
    with quiet():
        for probe in probes:
            try:
                check_build(list(probe), own)
            except (UnsetError, MissingPackageError) as error:
                return Survey(gap=error)
            except SnnlabError as error:
                mistake = mistake or error
            else:
                return _recordings(compose_once(list(probe), own)[0])
    return Survey(mistake=mistake)


def _recordings(experiment: Experiment) -> Survey:
    from snnlab.config.launch import shares_gpus
    from snnlab.session import Session
    from snnlab.session.build_data import data_notes
    from snnlab.session.packing import find_duplicates

    copies: Duplicates | None = None
    try:
        session = Session(experiment)
        copies = find_duplicates(session.settings, session.store, session.dataset)
        data_notes(session.data)
    except (DataError, MissingPackageError) as error:
        return Survey(gap=error, **_said(copies))
    except SnnlabError as error:
        return Survey(mistake=error)
    return Survey(gpus=number_of_gpus() if shares_gpus(experiment.trainer) else 0, **_said(copies))


def _said(copies: Duplicates | None) -> dict[str, Any]:
    return {} if copies is None else {"duplicates": copies.said, "apart": copies.passed}
