"""A look at a dataset's recordings, in a worker, before a suite trains with them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from snnlab.commands.trial import quiet
from snnlab.errors import DataError, MissingPackageError, SnnlabError, UnsetError
from snnlab.suite.plan import Survey

if TYPE_CHECKING:
    from snnlab.config.schema import Experiment
    from snnlab.data.splits import Split


def survey(probes: Sequence[Sequence[str]], config_dir: str | None, place: str) -> Survey:
    """Find and pack the recordings of the first list of overrides that describes an experiment; train nothing.

    Args:
        probes: Overrides of the arms.
        config_dir: The user's folder of YAML files.
        place: The working folder.
    """
    from snnlab.config.composing import compose_once
    from snnlab.config.plugins import import_plugins

    os.chdir(place)
    mistake: str | None = None
    with quiet():
        for probe in probes:
            try:
                experiment, _ = compose_once(list(probe), Path(config_dir) if config_dir else None)
                import_plugins(experiment.plugins)
            except UnsetError as error:
                return Survey(gap=str(error))
            except SnnlabError as error:
                mistake = mistake or str(error)
                continue
            return _recordings(experiment)
    return Survey(mistake=mistake)


def _recordings(experiment: Experiment) -> Survey:
    import torch

    from snnlab.config import assemble

    try:
        settings = assemble.data_settings(experiment)
        dataset = assemble.dataset(experiment)
        data = assemble.data_module(experiment, settings, assemble.store(dataset, settings), dataset)
        assemble.data_notes(data)
    except (DataError, MissingPackageError) as error:
        copies = str(error) if "two parts of the split" in str(error) else None
        return Survey(gap=str(error), duplicates=copies and copies.splitlines()[0])
    except SnnlabError as error:
        return Survey(mistake=str(error))
    return Survey(duplicates=_duplicates(data.split), gpus=torch.cuda.device_count())


def _duplicates(split: Split) -> str:
    """Return what a split that could be made says of recordings in several of its parts."""
    number = split.train.size + split.val.size + split.test.size
    left_out = split.rule.partition("; ")[2]
    return f"{number:,} recordings, none in two parts by its events{f'; {left_out}' if left_out else ''}"
