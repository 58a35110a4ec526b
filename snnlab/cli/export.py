"""`snnlab export`: arrays out of a recorded run, for a figure or another program.

Axes: T steps, B recordings, then the layer's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from snnlab.cli.options import split_options, split_run
from snnlab.errors import ConfigError, did_you_mean, listing

if TYPE_CHECKING:
    import numpy as np

    from snnlab.data.events.frames import Batch
    from snnlab.nn import Network
    from snnlab.nn.record import Recording
    from snnlab.session import Session
    from snnlab.session.weights import Checkpoint
USAGE = """usage: snnlab export RUN --what WHAT,... --out FILE [--layers NAME,...] [--samples 0:8]
                     [--split test|val|train] [--checkpoint best|last] [OVERRIDES]

Write what a run's network does with some recordings, and what it has learned, into FILE (.npz or .h5). WHAT is any of

  input         frames, [T, B, C, H, W]
  spikes        of each spiking layer, [T, B, ...]
  v, i, ...     variables of the neurons' states, after each step, [T, B, ...]
  output        of the network at each step, [T, B, K]
  readout       what is compared with the targets
  weights       parameters and buffers of the network; of what neurons learn the values too, named with their unit:
                weights/lif1.tau_mem_ms, for which weights/lif1.learned.tau_mem is the number that is trained
  gradients     of the loss of these recordings, for each parameter

in arrays such as spikes/lif1 and weights/conv1.weight, always with recording, target, lengths and dt (ms).
--samples are places among the recordings of the split: 0:8, or 3,5,7 (0:8 without it).

  snnlab export outputs/NAME/TIME_SEED --what spikes,v --layers lif1 --samples 0:4 --out fig.npz
  snnlab export RUN --what weights,gradients --out weights.h5
"""
ALWAYS = ("input", "spikes", "output", "readout", "weights", "gradients")
SPLITS = ("test", "val", "train")
Arrays = dict[str, "np.ndarray"]


class Wanted(NamedTuple):
    """What is asked for.

    Attributes:
        what: Names of `ALWAYS`, and of state variables.
        layers: The layers; None for all.
        samples: Places among the recordings of the split, as words.
        split: test, val or train.
        checkpoint: best or last.
    """

    what: Sequence[str]
    layers: Sequence[str] | None
    samples: str
    split: str
    checkpoint: Checkpoint


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    options, words = split_options("export", arguments)
    run, overrides = split_run(words)
    if run is None:
        raise ConfigError("export", "the first argument is a run's folder, such as outputs/NAME/TIME_SEED")
    target = Path(options.get("--out", "")).expanduser()
    if target.suffix not in (".npz", ".h5"):
        raise ConfigError(
            "export", f"--out must be a file that ends in .npz or .h5, got {options.get('--out', 'nothing')}"
        )
    wanted = _wanted(options)

    from snnlab.config.recorded_run import compose_run
    from snnlab.console import console_logging
    from snnlab.session import Session

    console_logging()
    experiment = compose_run(run, overrides, options.get("--config-dir"), "data")
    with experiment.located_errors():
        session = Session(experiment, run, run=run, checkpoint=wanted.checkpoint)
        session.use_threads()
        arrays = collect(session, wanted)
    _write(target, arrays)
    for name, array in arrays.items():
        print(f"{name}  {list(array.shape)}  {array.dtype}")
    print(target)
    return 0


def collect(run: Session, wanted: Wanted) -> Arrays:
    """Return the arrays that are asked for, by name.

    Raises:
        ConfigError: if there are no such variables, layers or recordings.
    """
    import numpy as np

    from snnlab.nn.record import record

    batch = _batch(run, wanted)
    network = run.network.eval()
    recording = record(network, batch.x, lengths=batch.lengths)
    variables = {name for of in recording.states.values() for name in of}
    for name in wanted.what:
        if name not in ALWAYS and name not in variables:
            known = [*ALWAYS, *sorted(variables)]
            raise ConfigError("export", f"--what {name} is none of {listing(known)}", did_you_mean(name, known))
    _check_layers(wanted.layers, recording)
    parts: dict[str, Callable[[], Arrays]] = {
        "input": lambda: {"input": batch.x.numpy()},
        "spikes": lambda: _of_layers("spikes", recording.spikes, wanted.layers),
        "output": lambda: {"output": recording.y.numpy()},
        "readout": lambda: {"readout": run.loss.readout(recording.y, batch.lengths).numpy()},
        "weights": lambda: _weights(network),
        "gradients": lambda: _gradients(run, batch),
    }
    found: Arrays = {}
    for name in wanted.what:
        of_states = {layer: of[name] for layer, of in recording.states.items() if name in of}
        found |= parts[name]() if name in parts else _of_layers(name, of_states, wanted.layers)
    found |= {name: getattr(batch, part).numpy() for name, part in _ABOUT.items()}
    return found | ({} if run.settings.step_ms is None else {"dt": np.array(run.settings.step_ms)})


_ABOUT = {"recording": "index", "target": "targets", "lengths": "lengths"}


def _of_layers(kind: str, values: dict[str, Any], layers: Sequence[str] | None) -> Arrays:
    return {f"{kind}/{name}": value.numpy() for name, value in values.items() if layers is None or name in layers}


def _weights(network: Network) -> Arrays:
    from snnlab.nn.summary import learned

    stored = {f"weights/{name}": value.numpy() for name, value in network.state_dict().items()}
    return stored | {f"weights/{each.layer}.{each.key}": each.values.numpy() for each in learned(network)}


def _check_layers(layers: Sequence[str] | None, recording: Recording) -> None:
    known = sorted(recording.spikes.keys() | recording.states.keys())
    for name in layers or ():
        if name not in known:
            near = did_you_mean(name, known)
            raise ConfigError("export", f"--layers: no layer {name} has spikes or a state", near, () if near else known)


def _gradients(run: Session, batch: Batch) -> Arrays:
    """Return the gradient of the recordings' loss for each parameter, in evaluation mode."""
    import torch

    network = run.network
    counts: dict[str, Any] = {}
    y, _ = network(batch.x, lengths=batch.lengths, counts=counts)
    loss, _ = run.counted_loss(y, batch.targets, batch.lengths, counts)
    named = [(name, value) for name, value in network.named_parameters() if value.requires_grad]
    gradients = torch.autograd.grad(loss, [value for _, value in named], allow_unused=True)
    return {
        f"gradients/{name}": (torch.zeros_like(value) if gradient is None else gradient).detach().numpy()
        for (name, value), gradient in zip(named, gradients, strict=True)
    }


def _batch(run: Session, wanted: Wanted) -> Batch:
    data = run.data
    places = data.places_of(getattr(data.split, wanted.split))
    events = data.events_of(places[_samples(wanted.samples, places.size, wanted.split)])
    with data.store.blamed(events.index.numpy):
        return data.framing(events)


def _samples(words: str, size: int, part: str) -> list[int]:
    """Return the places that `0:8`, or `3,5,7`, means."""
    try:
        if ":" in words:
            bounds = [int(word) if word else None for word in words.split(":")]
            found = list(range(size))[slice(*bounds)]
        else:
            found = [int(word) for word in words.split(",")]
    except (TypeError, ValueError):
        raise ConfigError("export", f"--samples must be such as 0:8 or 3,5,7, got {words}") from None
    if not found or not all(0 <= place < size for place in found):
        raise ConfigError("export", f"--samples {words}: there are {size:,} {part} recordings, 0 to {size - 1}")
    return found


def _wanted(options: dict[str, str]) -> Wanted:
    what = [word for word in options.get("--what", "").split(",") if word]
    if not what:
        raise ConfigError("export", f"--what must name some of {listing(ALWAYS)}, or state variables such as v")
    split, checkpoint = options.get("--split", "test"), options.get("--checkpoint", "best")
    if split not in SPLITS:
        raise ConfigError("export", f"--split must be one of {listing(SPLITS)}, got {split}")
    if checkpoint not in ("best", "last"):
        raise ConfigError("export", f"--checkpoint must be best or last, got {checkpoint}")
    layers = options["--layers"].split(",") if "--layers" in options else None
    return Wanted(what, layers, options.get("--samples", "0:8"), split, "last" if checkpoint == "last" else "best")


def _write(target: Path, arrays: Arrays) -> None:
    from snnlab.files import write_atomically, write_npz

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == ".npz":
            write_npz(target, arrays)
            return
        import h5py

        def write(file: Any) -> None:
            with h5py.File(file, "w") as into:
                for name, array in arrays.items():
                    into.create_dataset(name, data=array, compression="gzip" if array.ndim else None)

        write_atomically(target, write)
    except OSError as error:
        raise ConfigError("export", f"{target} cannot be written ({error.strerror or error})") from error
