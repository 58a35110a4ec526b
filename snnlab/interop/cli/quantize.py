"""`snnlab quantize`: the network of a run, made one in whole numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from snnlab.cli.command import Checkpoint, ConfigDir, Run, command
from snnlab.config.folders import group_files, user_folder
from snnlab.config.recorded_run import compose_run
from snnlab.console import console_logging, until_pipe_closes
from snnlab.errors import ConfigError
from snnlab.spec.interval import between
from snnlab.spec.override_texts import key_of
from snnlab.zoo import run_path


@command("quantize", section="use a run", page="quantize")
def quantize(
    run: Run,
    *overrides: str,
    out: Annotated[str, "folder"],
    recordings: Annotated[int, "number", between(1, 100_000)] = 500,
    fold_norm: bool = False,
    checkpoint: Checkpoint = "best",
    config_dir: ConfigDir = None,
) -> None:
    """Make a run's folder of the network of a run in whole numbers: weights, thresholds and states of few bits.

    quantize=TARGET says the widths, rounding and overflow: int8, int4 or loihi2; docs/quantize.md has the table. The
    scales of the weights are those with the least error on training recordings. It prints, on validation recordings,
    loss and right answers of the real network, of one layer at a time in whole numbers, and of all; by layer the
    weights that are clipped and the sums that do not fit; and the recording in which most do not. Every command takes
    the folder as a run's, and computes in these whole numbers; it is printed last.

    Args:
        out: the new folder
        recordings: number of training recordings for the scales, and of validation recordings for the answers
        fold_norm: fold batch normalizations into the layer before them

    Examples:
        snnlab quantize outputs/NAME/TIME_SEED quantize=int8 --out whole
        snnlab quantize RUN quantize=int4 quantize.layer_bits='{out: 8}' --out whole
        snnlab train whole/config.yaml init_from=whole    training in whole numbers
    """
    folder = run_path(run)
    console_logging()
    if not any(key_of(text) == "quantize" for text in overrides):
        known = group_files("quantize", user_folder(config_dir))
        raise ConfigError("quantize", "no target is chosen", "set quantize=int8", known)
    if compose_run(folder, config_dir=config_dir, use="record").quantize is not None:
        raise ConfigError(folder, "is in whole numbers already", "quantize the run that it was made of")
    experiment = compose_run(folder, overrides, config_dir, "data")

    from snnlab.interop.session.quantize_run import QuantizationOptions, quantize_run

    options = QuantizationOptions(checkpoint, recordings, fold_norm)
    with until_pipe_closes():
        for line in quantize_run(experiment, folder, Path(out).expanduser(), options):
            print(line, flush=True)
        print(out)
