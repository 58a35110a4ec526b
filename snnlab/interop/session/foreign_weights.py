"""`model.weights.file`: the weights of another project's file, as a setting of an experiment."""

from __future__ import annotations

from pathlib import Path

from snnlab.config.schema import ForeignWeights
from snnlab.errors import ConfigError, DataError, error_context
from snnlab.interop.state_dicts import load_state_dict, loaded_text
from snnlab.nn import Network
from snnlab.runs.signature import file_hash


def load_foreign(network: Network, weights: ForeignWeights) -> str:
    """Load the weights of another project's file, and return a log line."""
    path = Path(weights.file or "").expanduser()
    with error_context("model.weights"):
        try:
            loaded = load_state_dict(network, path, weights.rename)
        except DataError as error:
            raise ConfigError("file", f"{error.place}: {error.message}", error.hint) from error
    return loaded_text(loaded, path, file_hash(path))
