"""Imports another project's weights for a model of ours: a folder that every command takes as a run's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from snnlab.config.compose import compose_experiment
from snnlab.interop.import_run import require_new, write_imported
from snnlab.runs.signature import file_hash
from snnlab.session.session import Session
from snnlab.session.weights import load_foreign
from snnlab.settings import literal


def import_weights(path: Path, folder: Path, overrides: Sequence[str], config_dir: str | Path | None = None) -> str:
    """Load a state dict into the network of an experiment, write it as the folder of a run, and return what was loaded.

    Args:
        path: A file of `torch.save`, see `snnlab.interop.state_dicts`.
        folder: The new folder.
        overrides: The experiment, such as `model=speck_gesture data=dvsgesture data.dt=10`; `model.weights.rename` of
            the model maps the names of the file.
        config_dir: A folder of the user's YAML files.

    Raises:
        SnnlabError: if the file, its weights or an override is wrong, or the folder has content; nothing is written
            then.
    """
    require_new(folder)
    chosen = [*overrides, f"model.weights.file={literal(str(path.absolute()))}"]
    experiment, _ = compose_experiment(chosen, config_dir)
    with experiment.located_errors():
        session = Session(experiment, folder)
        session.build("built", "loss")
        weights = experiment.foreign_weights
        assert weights is not None
        loaded = load_foreign(session.built.network, weights)
    source = {
        "file": str(path.absolute()),
        "sha256": file_hash(path),
        "format": "state dict",
        "read_by": f"torch {torch.__version__}",
        "assumptions": [loaded],
    }
    write_imported(folder, experiment, session.built, source)
    return loaded
