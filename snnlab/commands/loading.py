"""`snnlab.load`: a recorded run, opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from snnlab.config.schema import Experiment
    from snnlab.data.module import EventDataModule
    from snnlab.data.registry import Dataset
    from snnlab.data.settings import DataSettings
    from snnlab.nn import BuiltNetwork, Network
    from snnlab.nn.record import Recording
    from snnlab.record.run_reading import Recorded
    from snnlab.training.losses import Loss

Checkpoint = Literal["best", "last"]


def load(run: str | Path, checkpoint: Checkpoint = "best", plugins: Sequence[str] = ()) -> Run:
    """Open a run of `snnlab train`: its network with the chosen epoch's weights, its configuration, what it recorded.

    Args:
        run: The run's folder.
        checkpoint: Whose weights: those of the chosen epoch, `best`, or of the `last` one.
        plugins: The plugins that it needs, which are code: of a run that somebody else has recorded, or that was moved
            or edited, none is imported that is not named here.

    Raises:
        RecordError: if the folder is no run's.
    """
    from snnlab.record.run_reading import read_run

    folder = Path(run).expanduser()
    return Run(folder, read_run(folder), checkpoint, tuple(plugins))


@dataclass(frozen=True)
class Run:
    """A recorded run.

    Attributes:
        folder: Its folder.
        recorded: What it recorded.
        checkpoint: Whose weights the network has.
        plugins: Plugins that its user has named.
    """

    folder: Path
    recorded: Recorded
    checkpoint: Checkpoint = "best"
    plugins: Sequence[str] = ()

    @cached_property
    def experiment(self) -> Experiment:
        """The experiment, as `config.yaml` has it."""
        from snnlab.config.of_run import compose_run

        return compose_run(self.folder, self.naming)

    @property
    def naming(self) -> list[str]:
        """The override that names the plugins."""
        return [f"plugins=[{','.join(self.plugins)}]"] if self.plugins else []

    @property
    def config(self) -> dict[str, Any]:
        """What `config.yaml` says, references to its own values followed."""
        from snnlab.record.run_config import read_plain

        return read_plain(self.folder / "config.yaml")

    @property
    def metrics(self) -> dict[str, float]:
        """`test/accuracy`, `val/loss`, `test/rate_hz/lif1`, ..."""
        return self.recorded.metrics

    @cached_property
    def epochs(self) -> dict[str, np.ndarray]:
        """The columns of `metrics.csv`, a row an epoch."""
        return self.recorded.epochs()

    @cached_property
    def predictions(self) -> dict[str, np.ndarray]:
        """The arrays of `predictions.npz`."""
        return self.recorded.predictions()

    @cached_property
    def built(self) -> BuiltNetwork:
        """The network with the checkpoint's weights, in evaluation, and the shapes of its layers."""
        from snnlab.config import assemble
        from snnlab.config.plugins import import_plugins

        import_plugins(self.experiment)
        from snnlab.training.checkpoints import network_weights

        built = assemble.network(self.experiment, assemble.data_settings(self.experiment))
        built.network.load_state_dict(network_weights(checkpoint_file(self.folder, self.checkpoint)))
        built.network.eval()
        return built

    @property
    def network(self) -> Network:
        """The network with the checkpoint's weights, in evaluation."""
        return self.built.network

    def record(self, x: Tensor, layers: list[str] | None = None) -> Recording:
        """Run frames through the network and return spikes and states of its layers.

        Args:
            x: Frames.
            layers: Names of the layers; None: all that spike or have a state.

        Shape:
            x: `[T, B, ...]`.

        Raises:
            ConfigError: if a layer is not there, or has neither.
        """
        from snnlab.errors import ConfigError, did_you_mean, listing
        from snnlab.nn.record import record

        found = record(self.network, x)
        if layers is None:
            return found
        known = found.spikes.keys() | found.states.keys()
        for name in layers:
            if name not in known:
                hint = did_you_mean(name, known) or f" There are {listing(sorted(known))}."
                raise ConfigError(f"record: no layer {name} has spikes or a state.{hint}")
        return found._replace(
            spikes={name: found.spikes[name] for name in layers if name in found.spikes},
            states={name: found.states[name] for name in layers if name in found.states},
        )


class Assembled(NamedTuple):
    """A run's network with its weights, and the data of its experiment."""

    settings: DataSettings
    loss: Loss
    built: BuiltNetwork
    dataset: Dataset
    data: EventDataModule


def assembled_run(run: Path, experiment: Experiment, checkpoint: Checkpoint) -> Assembled:
    """Build what an experiment says, and give its network the weights of a run.

    Args:
        run: The run's folder.
        experiment: Its experiment, perhaps with overrides.
        checkpoint: Whose weights.

    Raises:
        SnnlabError: for a mistake in the overrides, the data or the run.
    """
    from snnlab.config import assemble
    from snnlab.config.goal import check_goal
    from snnlab.config.plugins import import_plugins
    from snnlab.errors import ConfigError
    from snnlab.training.checkpoints import network_weights

    import_plugins(experiment)
    weights = network_weights(checkpoint_file(run, checkpoint))
    assemble.set_threads(experiment.threads)
    settings, loss = assemble.data_settings(experiment), assemble.loss(experiment)
    built = assemble.network(experiment, settings)
    check_goal(experiment, settings, loss, built)
    try:
        built.network.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ConfigError(f"{run}: its weights do not fit this network: {reason}") from error
    dataset = assemble.dataset(experiment)
    data = assemble.data_module(experiment, settings, assemble.store(dataset, settings), dataset)
    assemble.count_classes(loss, data)
    return Assembled(settings, loss, built, dataset, data)


def init_from(network: Network, run: Path) -> str:
    """Give a network a run's weights wherever name and shape are the same, and return what was done, in words.

    Args:
        network: The network.
        run: The run's folder.

    Raises:
        RecordError: if the folder is no run's, or has no weights.
        ConfigError: if none of its weights fits.
    """
    from snnlab.errors import ConfigError, RecordError
    from snnlab.training.checkpoints import network_weights

    try:
        weights = network_weights(checkpoint_file(run, "best"))
    except RecordError as error:
        raise RecordError(f"init_from: {error}") from error
    own = network.state_dict()
    taken = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    if not taken:
        raise ConfigError(f"init_from: no layer of {run} has the name and the shape of one of this network's")
    network.load_state_dict(taken, strict=False)
    new = [name for name in own if name not in taken]
    rest = f"; at random: {', '.join(new)}" if new else ""
    return f"begins with {len(taken)} of {len(own)} tensors from {run}{rest}"


def checkpoint_file(folder: Path, checkpoint: Checkpoint) -> Path:
    """Return where a run's weights are.

    Raises:
        RecordError: if they are not there.
    """
    from snnlab.errors import RecordError

    path = folder / "checkpoints" / f"{checkpoint}.ckpt"
    if not path.is_file():
        why = "the run ended before" if (folder / "config.yaml").is_file() else "it is no run's folder"
        raise RecordError(f"{folder}: there is no checkpoints/{checkpoint}.ckpt in it; {why}")
    return path
