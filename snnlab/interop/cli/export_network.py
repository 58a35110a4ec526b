"""`snnlab export --nir`, `--c`, `--onnx`: the network of a run in the format of other programs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from snnlab.cli.command import Checkpoint, ConfigDir, File, Milliseconds, Plugins, Run, command
from snnlab.cli.predict import named_plugins
from snnlab.config.recorded_run import compose_run
from snnlab.console import console_logging, say
from snnlab.spec.field import Help
from snnlab.spec.interval import between
from snnlab.zoo import run_path

Compared = Annotated[int, "number", between(1, 1000), Help("number of test recordings that are compared")]
Overwrites = Annotated[bool, Help("overwrite an earlier export")]
StepLength = Annotated[Milliseconds, Help("length of a step, by default that of the run")] | None
FoldNorm = Annotated[bool, Help("fold batch normalizations into the layer before them")]


@command("export --nir")
def export_nir(
    run: Run,
    *overrides: str,
    nir: Annotated[str, "file", File((".nir",))],
    lossy: bool = False,
    fold_norm: FoldNorm = False,
    checkpoint: Checkpoint = "best",
    config_dir: ConfigDir = None,
) -> None:
    """Write the network of a run as a NIR file, for other libraries and chips.

    What NIR cannot say is refused, with the layer and the setting to change. A network in whole numbers, of iaf
    neurons, is written with them, and what they cost is printed: answers on validation recordings.

    Args:
        nir: file of the network
        lossy: write the nearest that NIR can say, and print what is lost and how many answers on validation recordings
            differ; snnlab import still reads it back exactly

    Examples:
        snnlab export RUN --nir network.nir
    """
    folder = run_path(run)
    console_logging()
    is_whole = compose_run(folder, config_dir=config_dir, use="record").quantize is not None
    measures = lossy or fold_norm or is_whole
    experiment = compose_run(folder, overrides, config_dir, "data" if measures else "network")
    if "download" in experiment.data:  # a measurement is no reason to fetch a dataset
        experiment = replace(experiment, data={**experiment.data, "download": False})

    from snnlab.interop.session.network_export import NirOptions, export_nir

    target = Path(nir).expanduser()
    options = NirOptions(checkpoint, lossy, fold_norm)
    _say_written(export_nir(experiment, folder, target, options), target)


@command("export --c")
def export_c(
    run: Run,
    *,
    c: Annotated[str, "folder"],
    recordings: Compared = 3,
    force: Overwrites = False,
    dt: StepLength = None,
    fold_norm: FoldNorm = False,
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

    Examples:
        snnlab export RUN --c board
        snnlab export RUN --c board --force --recordings 20
    """
    folder = run_path(run)
    console_logging()
    from snnlab.interop.session.c_export import FormOptions, export_c

    options = FormOptions(checkpoint, named_plugins(plugins), recordings, dt, fold_norm, force)
    target = Path(c).expanduser()
    _say_written(export_c(folder, target, options), target)


@command("export --onnx")
def export_onnx(
    run: Run,
    *,
    onnx: Annotated[str, "file", File((".onnx",))],
    all_steps: bool = False,
    recordings: Compared = 3,
    force: Overwrites = False,
    dt: StepLength = None,
    fold_norm: FoldNorm = False,
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

    Examples:
        snnlab export RUN --onnx network.onnx
        snnlab export RUN --onnx network.onnx --all-steps
    """
    folder = run_path(run)
    console_logging()
    from snnlab.interop.session.onnx_export import FormOptions, export_onnx

    options = FormOptions(checkpoint, named_plugins(plugins), recordings, dt, fold_norm, force)
    target = Path(onnx).expanduser()
    _say_written(export_onnx(folder, target, options, all_steps=all_steps), target)


def _say_written(lines: Iterable[str], target: Path) -> None:
    """Print what an export says, and last what it has written."""
    for line in lines:
        say(line)
    print(target)
