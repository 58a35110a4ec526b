"""Export arrays of a recorded run, for a figure or another program, or its network as a NIR file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from snnlab.cli.command import Checkpoint, ConfigDir, File, Milliseconds, Plugins, Run, Split, command
from snnlab.cli.predict import named_plugins
from snnlab.config.recorded_run import compose_run
from snnlab.console import console_logging, say
from snnlab.spec.interval import between
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

    make_session, opened_run, *_ = _import_session()
    session = make_session(experiment, folder, run=folder, checkpoint=checkpoint)
    session.use_threads()
    wanted = opened_run.ExportRequest(what, layers, samples, split)
    arrays = opened_run.collect_arrays(session, wanted)
    target = Path(out).expanduser()
    opened_run.write_arrays(target, arrays)
    for name, array in arrays.items():
        print(f"{name}  {list(array.shape)}  {array.dtype}")
    print(target)


@command("export --nir")
def export_nir(
    run: Run,
    *overrides: str,
    nir: Annotated[str, "file", File((".nir",))],
    lossy: bool = False,
    fold_norm: bool = False,
    for_: Literal["speck"] | None = None,
    checkpoint: Checkpoint = "best",
    config_dir: ConfigDir = None,
) -> None:
    """Write the network of a run as a NIR file, for other libraries and chips.

    What NIR cannot say is refused, with the layer and the setting to change.

    Args:
        nir: file of the network
        lossy: write the nearest that NIR can say, and print what is lost and how many answers on validation recordings
            differ; snnlab import still reads it back exactly
        fold_norm: fold batch normalizations into the layer before them
        for_: check the chip's limits, and assign layers to its cores

    Examples:
        snnlab export RUN --nir network.nir
    """
    folder = run_path(run)
    console_logging()
    experiment = compose_run(folder, overrides, config_dir, "data" if lossy or fold_norm else "network")
    if "download" in experiment.data:  # a measurement is no reason to fetch a dataset
        experiment = replace(experiment, data={**experiment.data, "download": False})

    make_session, _, network_export, _ = _import_session()
    target = Path(nir).expanduser()
    wanted = network_export.NirOptions(lossy, fold_norm, for_ is not None)
    session = make_session(experiment, folder, run=folder, checkpoint=checkpoint)
    session.use_threads()
    _say_written(network_export.export_nir(session, target, wanted), target)


@command("export --c")
def export_c(
    run: Run,
    *,
    c: Annotated[str, "folder"],
    recordings: Annotated[int, "number", between(1, 1000)] = 3,
    force: bool = False,
    dt: Milliseconds | None = None,
    fold_norm: bool = False,
    checkpoint: Checkpoint = "best",
    plugins: Plugins = None,
) -> None:
    """Write the network of a run as C99, for a microcontroller or any other program.

    The folder has the network (NAME.h, NAME.c: a state of fixed size, and a function that runs one step on its events),
    a program that replays a recording, a Makefile, and the network from Python with numpy alone. No library and no heap
    are used. Where a C compiler is found, the network is compiled, and its outputs and all states are compared with
    plain loops, bit for bit.

    Args:
        c: new folder of the network
        recordings: number of test recordings that are compared
        force: overwrite an earlier export
        dt: length of a step, by default that of the run
        fold_norm: fold batch normalizations into the layer before them

    Examples:
        snnlab export RUN --c board
        snnlab export RUN --c board --force --recordings 20
    """
    folder = run_path(run)
    console_logging()
    from snnlab.session.c_export import FormOptions, export_c

    options = FormOptions(checkpoint, named_plugins(plugins), recordings, dt, fold_norm, force)
    target = Path(c).expanduser()
    _say_written(export_c(folder, target, options), target)


@command("export --onnx")
def export_onnx(
    run: Run,
    *,
    onnx: Annotated[str, "file", File((".onnx",))],
    all_steps: bool = False,
    recordings: Annotated[int, "number", between(1, 1000)] = 3,
    force: bool = False,
    dt: Milliseconds | None = None,
    fold_norm: bool = False,
    checkpoint: Checkpoint = "best",
    plugins: Plugins = None,
) -> None:
    """Write the network of a run as an ONNX model, and compare it in ONNX Runtime.

    The model takes the frames of one step and all states, and gives the output and the states after the step; the
    number of samples is free. On test recordings each step is compared with plain loops that begin with the same
    states: states must be within 1e-5 of the largest in their layer, and a spike may differ only where its membrane is
    that near to the threshold. It needs onnx and onnxruntime: pip install 'snnlab-train[onnx]'.

    Args:
        onnx: file of the model
        all_steps: the model takes the frames of all steps at once, in a loop
        recordings: number of test recordings that are compared
        force: overwrite an earlier file
        dt: length of a step, by default that of the run
        fold_norm: fold batch normalizations into the layer before them

    Examples:
        snnlab export RUN --onnx network.onnx
        snnlab export RUN --onnx network.onnx --all-steps
    """
    folder = run_path(run)
    console_logging()
    from snnlab.session.onnx_export import FormOptions, export_onnx

    options = FormOptions(checkpoint, named_plugins(plugins), recordings, dt, fold_norm, force)
    target = Path(onnx).expanduser()
    _say_written(export_onnx(folder, target, options, all_steps=all_steps), target)


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
    _say_written(bundle_export.export_bundle(folder, target, checkpoint, licence), target)


def _say_written(lines: Iterable[str], target: Path) -> None:
    """Print what an export says, and last what it has written."""
    for line in lines:
        say(line)
    print(target)


def _import_session():
    from snnlab.session import Session, bundle_export, network_export, opened_run

    return Session, opened_run, network_export, bundle_export
