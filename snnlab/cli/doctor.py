"""`snnlab doctor`: diagnoses a network on one batch, and proposes a setting that fixes the problem."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from snnlab.cli.options import CHECKPOINTS, option_choice, parse_milliseconds, split_options, split_run
from snnlab.cli.predict import named_plugins
from snnlab.config.compose import compose_experiment
from snnlab.config.overrides import merge_overrides
from snnlab.config.recorded_run import compose_run
from snnlab.config.schema import Experiment
from snnlab.console import console_logging, quiet_lightning, until_pipe_closes
from snnlab.errors import ConfigError, DataError

USAGE = """usage: snnlab doctor [RUN] [--config-dir DIR] [OVERRIDES]
       snnlab doctor --stream RUN [RECORDING] [--dt MS] [--checkpoint best|last] [--fold-norm]
                     [--time-unit UNIT] [--time-origin first|zero] [--columns t,x,y,p]

Send one batch of training recordings through a network, forward and backward, and print input, activity and gradients
of each layer. If the network will not train, doctor prints the cause and proposes a setting; the setting was tried on
the same batch, and a network built with it does not have the problem. The overrides are those of snnlab train. Nothing
is written. Exit status: 0 no problem was found, 1 a problem was found, 2 the configuration or the data has a mistake.

  snnlab doctor
  snnlab doctor model=my_net data=dvsgesture neuron.tau_mem=5
  snnlab doctor outputs/NAME/TIME_SEED            the network of a run, with the chosen epoch's weights

With --stream: run a recording, by default the first of the test split, through the engine of snnlab stream, through
plain dense loops, and through the network in PyTorch, and compare them after every step. It prints the membranes, in
all layers, whose bits are not those of dense loops; the spikes that differ in PyTorch, and how far the first is from
its threshold; whether all weights lie on a grid of powers of two, on which sums in any order have the same bits, or
which layer does not and why; and the time of a step, with that of ONNX Runtime where it is installed. --fold-norm folds
batch normalizations. Exit status: 0 the bits are equal, 1 they differ, 2 a mistake.

  snnlab doctor --stream outputs/NAME/TIME_SEED one.npy --dt 1
"""
_READING = ("--time-unit", "--time-origin", "--columns")


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    if "--stream" in arguments:
        return _certify(arguments)
    options, others = split_options("doctor", arguments)
    run, typed = split_run(others)
    config_dir = options.get("--config-dir")

    def compose(more: Sequence[str]) -> tuple[Experiment, Path]:
        overrides = merge_overrides([*typed, *more]) if more else typed
        if run is None:
            return compose_experiment(overrides, config_dir)
        return compose_run(run, overrides, config_dir, "data"), run

    console_logging()
    composed = compose(())

    from snnlab.session import diagnosis

    doctor = diagnosis.Diagnosis(compose, run)
    with quiet_lightning():
        measured = doctor.measured(*composed)
        with until_pipe_closes():
            diagnosis.print_statistics(composed[0].name, measured)
            for problem in (problems := doctor.data_problems):
                print(f"data: {problem}")
        if (fixes := doctor.fixes(measured)) is None:
            return 1 if problems else 0
    with until_pipe_closes():
        diagnosis.print_findings(fixes)
        if fixes.overrides:
            command = " ".join(map(shlex.quote, merge_overrides([*typed, *fixes.overrides])))
            if run is not None:
                print(f"  snnlab doctor {run} {command}\n  and add the same overrides to the snnlab train of that run")
            else:
                print(f"  snnlab train {f'--config-dir {config_dir} ' if config_dir else ''}{command}")
    return 1


def _certify(arguments: list[str]) -> int:
    """Print the certificate of a run's stream; return the exit status."""
    options, words = split_options("doctor --stream", arguments)
    plugins, words = named_plugins(words)
    if not 1 <= len(words) <= 2:
        raise ConfigError("doctor", "name a run's folder, such as outputs/NAME/TIME_SEED, then at most one recording")
    checkpoint = option_choice("doctor", options, "--checkpoint", CHECKPOINTS)
    dt = parse_milliseconds("doctor", options, "--dt")
    recording = Path(words[1]).expanduser() if len(words) > 1 else None
    if recording is not None and not recording.is_file():
        raise DataError("doctor", f"there is no file {words[1]}")
    reading = {name: options[name] for name in _READING if name in options}
    console_logging()

    from snnlab.session import stream_doctor

    given = stream_doctor.StreamDoctorOptions(recording, checkpoint, plugins, dt, "--fold-norm" in options, reading)
    doctor = stream_doctor.StreamDoctor(words[0], given)
    with until_pipe_closes():
        for line in doctor.lines():
            print(line, flush=True)
    return 0 if doctor.certificate.is_equal else 1
