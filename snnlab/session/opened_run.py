"""A recorded run, opened: its files, its network, its data, and arrays for export.

Axes: T steps, B recordings, then the layer's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor

from snnlab.config.recorded_run import compose_run
from snnlab.config.schema import Experiment
from snnlab.data.data_settings import DATASETS, DataSettings
from snnlab.data.events.frames import Batch
from snnlab.errors import ConfigError, did_you_mean, join_names
from snnlab.files import write_atomically, write_npz
from snnlab.nn import BuiltNetwork, Network
from snnlab.nn.record import NetworkRecord, record
from snnlab.nn.summary import learned
from snnlab.runs.recorded import RecordedRun, resolve_references
from snnlab.runs.run_folder import CheckpointName, summary_line
from snnlab.session.session import Session

if TYPE_CHECKING:
    from snnlab.data.data_module import EventDataModule  # imports Lightning

Indices = int | Sequence[int] | range | slice
PARTS = ("train", "val", "test")


@dataclass(frozen=True, repr=False)
class OpenedRun:
    """A recorded run, its network and its data.

    Attributes:
        plugins: Plugins that the user has named.
        overrides: Changes of the run's configuration.
    """

    folder: Path
    recorded: RecordedRun
    checkpoint: CheckpointName = "best"
    plugins: Sequence[str] = ()
    overrides: Sequence[str] = ()

    @cached_property
    def experiment(self) -> Experiment:
        """The experiment of `config.yaml`."""
        return compose_run(self.folder, self.all_overrides)

    @property
    def all_overrides(self) -> list[str]:
        """All overrides: the plugins, and the changes of the configuration."""
        return [*([f"plugins=[{','.join(self.plugins)}]"] if self.plugins else []), *self.overrides]

    @property
    def config(self) -> dict[str, Any]:
        """The content of `config.yaml`, with interpolations resolved."""
        return resolve_references(self.recorded.config)

    @property
    def metrics(self) -> dict[str, float]:
        """`test/accuracy`, `val/loss`, `test/rate_hz/lif1`, ..."""
        return self.recorded.metrics

    @cached_property
    def epochs(self) -> dict[str, np.ndarray]:
        """The columns of `metrics.csv`, a row per epoch."""
        return self.recorded.epochs()

    @cached_property
    def predictions(self) -> dict[str, np.ndarray]:
        """The arrays of `predictions.npz`."""
        return self.recorded.predictions()

    def class_names(self) -> list[str] | None:
        """Return the names of the classes: those that the run recorded, else those of its dataset; None: no names.

        Raises:
            DamagedError: if the run's `split.json` cannot be read, or names other classes.
        """
        number = self.session.settings.num_classes
        of_values = self.session.settings.targets in ("value", "series")
        if (recorded := self.recorded.class_names(number)) is not None or of_values:
            return recorded
        # A property of some datasets reads their files; of others it is a list.
        known = getattr(DATASETS.get(self.experiment.data["type"], "data"), "class_names", None)
        return list(known) if isinstance(known, list | tuple) and len(known) == number else None

    @cached_property
    def session(self) -> Session:
        """The experiment's objects; the network has the checkpoint's weights."""
        return Session(self.experiment, self.folder, run=self.folder, checkpoint=self.checkpoint)

    @cached_property
    def built(self) -> BuiltNetwork:
        """The network with the checkpoint's weights, in eval mode, and the shapes of its layers."""
        self.session.network.eval()
        return self.session.built

    @property
    def network(self) -> Network:
        """The network with the checkpoint's weights, in eval mode."""
        return self.built.network

    def __repr__(self) -> str:

        recorded = self.recorded
        line = summary_line(self.folder, recorded.name, recorded.status, recorded.seed, recorded.metrics)
        return f"Run({line})"

    @cached_property
    def data(self) -> EventDataModule:
        """The data module: packed recordings (`data.store`), split (`data.split`), loaders.

        The recordings must be on this machine; they are packed if needed.
        """
        return Session(compose_run(self.folder, self.all_overrides, use="data"), self.folder).data

    def batch(self, part: str = "test", indices: Indices = slice(None)) -> Batch:
        """Return recordings as a batch of frames with targets and lengths, as in an evaluation.

        Args:
            part: `train`, `val` or `test`.
            indices: Indices of its recordings, or windows: a number, a range, a slice, a sequence.

        Shape:
            `batch.x`: `[T, B, ...]`; `batch.targets` and `batch.lengths`: `[B, ...]`.
        """
        return self.data.on_after_batch_transfer(self.data.gather_events(self.store_indices(part, indices)), 0)

    def store_indices(self, part: str, indices: Indices) -> np.ndarray:
        """Return the indices in the store of recordings, or windows, of a split.

        Args:
            part: `train`, `val` or `test`.
            indices: Indices within the split.
        """
        require_part(part)
        available = self.data.epoch_items(getattr(self.data.split, part))
        try:
            return np.atleast_1d(available[indices if isinstance(indices, slice) else np.asarray(indices, np.int64)])
        except IndexError as error:
            raise IndexError(f"{part} has {len(available):,} recordings, 0 to {len(available) - 1}") from error

    def record(self, x: Tensor, layers: list[str] | None = None) -> NetworkRecord:
        """Run frames through the network and return spikes and states of its layers.

        Args:
            x: Frames.
            layers: Names of the layers; None: all with spikes or a state.

        Shape:
            x: `[T, B, ...]`.
        """
        found = record(self.network, x)
        if layers is None:
            return found
        known = found.spikes.keys() | found.states.keys()
        for name in layers:
            if name not in known:
                near = did_you_mean(name, known)
                raise ConfigError(
                    "record", f"no layer {name} has spikes or a state", near, () if near else sorted(known)
                )
        return found._replace(
            spikes={name: found.spikes[name] for name in layers if name in found.spikes},
            states={name: found.states[name] for name in layers if name in found.states},
        )


def require_part(part: str) -> None:
    """Refuse a part of the recordings that does not exist."""
    if part not in PARTS:
        raise ConfigError("", f"there is no split {part}", did_you_mean(part, PARTS), PARTS)


def hot_pixel_mask(run: OpenedRun, settings: DataSettings) -> Tensor | None:
    """Return the hot-pixel mask that a run has recorded; None if it removes none.

    Shape:
        bool `[H * W]`.
    """
    if settings.hot_pixels_hz is None:
        return None
    width, height, _ = settings.size
    hot = torch.zeros(width * height, dtype=torch.bool)
    hot[run.recorded.hot_pixels(width * height)] = True
    return hot


Arrays = dict[str, np.ndarray]


class ExportRequest(NamedTuple):
    """The arrays to export.

    Attributes:
        what: Names of arrays, such as `spikes`, and of state variables.
        layers: The layers; None for all.
        samples: Indices of recordings within the split, as text.
        split: test, val or train.
    """

    what: Sequence[str]
    layers: Sequence[str] | None
    samples: str
    split: str


def collect_arrays(run: Session, wanted: ExportRequest) -> Arrays:
    """Return the requested arrays by name."""
    batch = _load_batch(run, wanted)
    network = run.network.eval()
    recording = record(network, batch.x, lengths=batch.lengths)
    parts: dict[str, Callable[[], Arrays]] = {
        "input": lambda: {"input": batch.x.numpy()},
        "spikes": lambda: _layer_arrays("spikes", recording.spikes, wanted.layers),
        "output": lambda: {"output": recording.y.numpy()},
        "readout": lambda: {"readout": run.loss.readout(recording.y, batch.lengths).numpy()},
        "weights": lambda: _weight_arrays(network),
        "gradients": lambda: _gradients(run, batch),
    }
    variables = {name for of in recording.states.values() for name in of}
    for name in wanted.what:
        if name not in parts and name not in variables:
            known = [*parts, *sorted(variables)]
            raise ConfigError("export", f"--what {name} is none of {join_names(known)}", did_you_mean(name, known))
    _check_layers(wanted.layers, recording)
    found: Arrays = {}
    for name in wanted.what:
        state_values = {layer: of[name] for layer, of in recording.states.items() if name in of}
        found |= parts[name]() if name in parts else _layer_arrays(name, state_values, wanted.layers)
    found |= {name: getattr(batch, part).numpy() for name, part in _BATCH_FIELDS.items()}
    return found | ({} if run.settings.step_ms is None else {"dt": np.array(run.settings.step_ms)})


_BATCH_FIELDS = {"recording": "index", "target": "targets", "lengths": "lengths"}


def _layer_arrays(kind: str, values: dict[str, Any], layers: Sequence[str] | None) -> Arrays:
    return {f"{kind}/{name}": value.numpy() for name, value in values.items() if layers is None or name in layers}


def _weight_arrays(network: Network) -> Arrays:
    stored = {f"weights/{name}": value.numpy() for name, value in network.state_dict().items()}
    return stored | {f"weights/{each.layer}.{each.key}": each.values.numpy() for each in learned(network)}


def _check_layers(layers: Sequence[str] | None, recording: NetworkRecord) -> None:
    known = sorted(recording.spikes.keys() | recording.states.keys())
    for name in layers or ():
        if name not in known:
            near = did_you_mean(name, known)
            raise ConfigError("export", f"--layers: no layer {name} has spikes or a state", near, () if near else known)


def _gradients(run: Session, batch: Batch) -> Arrays:
    """Return the gradient of the loss for each parameter, in eval mode."""
    network = run.network
    counts: dict[str, Any] = {}
    y, _ = network(batch.x, lengths=batch.lengths, counts=counts)
    loss, _ = run.loss_with_class_counts(y, batch.targets, batch.lengths, counts)
    named = [(name, value) for name, value in network.named_parameters() if value.requires_grad]
    gradients = torch.autograd.grad(loss, [value for _, value in named], allow_unused=True)
    return {
        f"gradients/{name}": (torch.zeros_like(value) if gradient is None else gradient).detach().numpy()
        for (name, value), gradient in zip(named, gradients, strict=True)
    }


def _load_batch(run: Session, wanted: ExportRequest) -> Batch:
    data = run.data
    items = data.epoch_items(getattr(data.split, wanted.split))
    events = data.gather_events(items[_parse_samples(wanted.samples, items.size, wanted.split)])
    return data.frame_builder(events)


def _parse_samples(text: str, size: int, part: str) -> list[int]:
    """Parse `0:8` or `3,5,7` to indices."""
    try:
        if ":" in text:
            bounds = [int(bound) if bound else None for bound in text.split(":")]
            found = list(range(size))[slice(*bounds)]
        else:
            found = [int(index) for index in text.split(",")]
    except (TypeError, ValueError):
        raise ConfigError("export", f"--samples must look like 0:8 or 3,5,7, got {text}") from None
    if not found or not all(0 <= number < size for number in found):
        raise ConfigError("export", f"--samples {text}: there are {size:,} {part} recordings, 0 to {size - 1}")
    return found


def write_arrays(target: Path, arrays: Arrays) -> None:
    """Write arrays into a .npz or a .h5 file."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == ".npz":
            write_npz(target, arrays)
            return

        def write(file: Any) -> None:
            with h5py.File(file, "w") as into:
                for name, array in arrays.items():
                    into.create_dataset(name, data=array, compression="gzip" if array.ndim else None)

        write_atomically(target, write)
    except OSError as error:
        raise ConfigError("export", f"{target} cannot be written ({error.strerror or error})") from error
