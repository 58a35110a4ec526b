"""Export arrays of a recorded run, for a figure or another program, or the run as one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from snnlab.cli.command import Checkpoint, ConfigDir, File, Run, Split, command
from snnlab.config.recorded_run import compose_run
from snnlab.console import console_logging, say
from snnlab.zoo import run_path


@command("export", section="use a run", page="runs")
def export(
    run: Run,
    *overrides: str,
    what: Annotated[Sequence[str], "what,..."],
    out: Annotated[str, "file", File((".npz", ".h5"), makes_folder=True)],
    layers: Annotated[Sequence[str] | None, "name,..."] = None,
    samples: Annotated[str, "0:8"] = "0:8",
    split: Split = "test",
    checkpoint: Checkpoint = "best",
    config_dir: ConfigDir = None,
) -> None:
    """Export spikes, membranes, weights, gradients of a run as arrays: .npz or .h5.

    WHAT is any of

      input         frames, [T, B, C, H, W]
      spikes        of each spiking layer, [T, B, ...]
      v, i, ...     variables of the neurons' states, after each step, [T, B, ...]
      output        of the network at each step, [T, B, K]
      readout       the answer that the loss compares with the targets
      weights       parameters and buffers of the network; for trained neuron settings also the value, named with its
                    unit: weights/lif1.tau_mem_ms is the value, weights/lif1.learned.tau_mem the trained parameter
      gradients     of the loss on these recordings, for each parameter

    in arrays such as spikes/lif1 and weights/conv1.weight, always with recording, target, lengths and dt (ms).

    Args:
        what: arrays, or variables of the neurons' states
        out: file of the arrays
        layers: layers whose arrays are written; all by default
        samples: indices of recordings in the split, 0:8 or 3,5,7

    Examples:
        snnlab export outputs/NAME/TIME_SEED --what spikes,v --layers lif1 --samples 0:4 --out fig.npz
        snnlab export RUN --what weights,gradients --out weights.h5
    """
    folder = run_path(run)
    console_logging()
    experiment = compose_run(folder, overrides, config_dir, "data")

    make_session, opened_run, _ = _import_session()
    session = make_session(experiment, folder, run=folder, checkpoint=checkpoint)
    session.use_threads()
    wanted = opened_run.ExportRequest(what, layers, samples, split)
    arrays = opened_run.collect_arrays(session, wanted)
    target = Path(out).expanduser()
    opened_run.write_arrays(target, arrays)
    for name, array in arrays.items():
        print(f"{name}  {list(array.shape)}  {array.dtype}")
    print(target)


@command("export --bundle")
def export_bundle(
    run: Run,
    *,
    bundle: Annotated[str, "file", File((".snn",))],
    licence: Annotated[str | None, "text"] = None,
    checkpoint: Checkpoint = "best",
) -> None:
    """Write the network of a run into one file, which opens on another machine like a run's folder.

    It holds the weights as safetensors, the configuration with the preprocessing and without the folders of this
    machine, the result, the names of the classes, and a card with the licence. It holds no code, no recordings and no
    predictions; checksums of the training recordings keep others from testing on them.

    Args:
        bundle: the file
        licence: of the weights, for the card

    Examples:
        snnlab export RUN --bundle gestures.snn --licence 'CC BY 4.0'
        snnlab predict gestures.snn one.npy
        snnlab train init_from=gestures.snn
    """
    folder = run_path(run)
    *_, bundle_export = _import_session()
    target = Path(bundle).expanduser()
    for line in bundle_export.export_bundle(folder, target, checkpoint, licence):
        say(line)
    print(target)


def _import_session():
    from snnlab.session import Session, bundle_export, opened_run

    return Session, opened_run, bundle_export
