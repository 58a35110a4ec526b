"""`snnlab doctor --stream`: the stream of a run, compared with the network in PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from snnlab.cli.command import AS_RECORDED, Checkpoint, FileReading, Milliseconds, Plugins, Run, command
from snnlab.cli.predict import named_plugins
from snnlab.console import console_logging, until_pipe_closes
from snnlab.errors import DataError


@command("doctor --stream", page="doctor")
def certify(
    run: Run,
    recording: Annotated[str | None, "file"] = None,
    *,
    dt: Milliseconds | None = None,
    checkpoint: Checkpoint = "best",
    fold_norm: bool = False,
    reading: FileReading = AS_RECORDED,
    plugins: Plugins = None,
) -> int:
    """Compare the stream of a run with the network in PyTorch, after every step of a recording.

    The recording runs through the engine of snnlab stream, through plain dense loops, and through the network in
    PyTorch. It prints the states, in all layers, whose bits are not those of dense loops; the spikes that differ in
    PyTorch, and how far the first is from its threshold; and the time of a step. Exit status: 0 the bits are equal,
    1 they differ, 2 a mistake.

    Args:
        recording: file of events, by default the first recording of the test split
        dt: length of a step, by default that of the run
        fold_norm: fold batch normalizations into the layers before them

    Examples:
        snnlab doctor --stream outputs/NAME/TIME_SEED one.npy --dt 1
    """
    path = None if recording is None else Path(recording).expanduser()
    if path is not None and not path.is_file():
        raise DataError("doctor", f"there is no file {recording}")
    console_logging()

    from snnlab.streaming.session import stream_doctor

    options = stream_doctor.StreamDoctorOptions(path, checkpoint, named_plugins(plugins), dt, fold_norm, reading.given)
    compared = stream_doctor.StreamDoctor(run, options)
    with until_pipe_closes():
        for line in compared.lines():
            print(line, flush=True)
    return 0 if compared.certificate.is_equal else 1
