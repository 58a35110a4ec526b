"""The weights of recorded runs, given to networks."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from snnlab.errors import ConfigError, RecordError
from snnlab.nn import Network
from snnlab.training.checkpoints import network_weights

Checkpoint = Literal["best", "last"]
CHECKPOINTS: tuple[Checkpoint, ...] = ("best", "last")


def checkpoint_file(folder: Path, checkpoint: Checkpoint) -> Path:
    """Return where a run's weights are.

    Raises:
        RecordError: if they are not there.
    """
    path = folder / "checkpoints" / f"{checkpoint}.ckpt"
    if not path.is_file():
        why = "the run ended before" if (folder / "config.yaml").is_file() else "it is no run's folder"
        raise RecordError(folder, f"there is no checkpoints/{checkpoint}.ckpt in it", why)
    return path


def load_weights(network: Network, run: Path, checkpoint: Checkpoint) -> None:
    """Give a network the weights of a run.

    Raises:
        RecordError: if there are none, or they are damaged.
        ConfigError: if they are of another network.
    """
    weights = network_weights(checkpoint_file(run, checkpoint))
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ConfigError(run, f"its weights do not fit this network: {reason}") from error


def init_from(network: Network, run: Path) -> str:
    """Give a network a run's weights wherever name and shape are the same, and return what was done, in words.

    Raises:
        RecordError: if the folder is no run's, or has no weights.
        ConfigError: if none of its weights fits.
    """
    try:
        weights = network_weights(checkpoint_file(run, "best"))
    except RecordError as error:
        raise RecordError("init_from", error) from error
    own = network.state_dict()
    taken = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    if not taken:
        raise ConfigError("init_from", f"no layer of {run} has the name and the shape of one of this network's")
    network.load_state_dict(taken, strict=False)
    new = [name for name in own if name not in taken]
    rest = f"; at random: {', '.join(new)}" if new else ""
    return f"begins with {len(taken)} of {len(own)} tensors from {run}{rest}"
