"""`snnlab export`: arrays of a recorded run, for a figure or another program, or its network as a NIR file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from snnlab.cli.options import CHECKPOINTS, SPLITS, option_choice, split_options, split_run
from snnlab.config.recorded_run import compose_run
from snnlab.console import console_logging, say
from snnlab.errors import ConfigError

USAGE = """usage: snnlab export RUN --what WHAT,... --out FILE [--layers NAME,...] [--samples 0:8]
                     [--split test|val|train] [--checkpoint best|last] [OVERRIDES]
       snnlab export RUN --nir FILE [--lossy] [--fold-norm] [--for speck] [--checkpoint best|last] [OVERRIDES]

Write the activity of a run's network on some recordings, and its weights, into FILE (.npz or .h5). WHAT is any of

  input         frames, [T, B, C, H, W]
  spikes        of each spiking layer, [T, B, ...]
  v, i, ...     variables of the neurons' states, after each step, [T, B, ...]
  output        of the network at each step, [T, B, K]
  readout       the answer that the loss compares with the targets
  weights       parameters and buffers of the network; for trained neuron settings also the value, named with its unit:
                weights/lif1.tau_mem_ms is the value, weights/lif1.learned.tau_mem the trained parameter
  gradients     of the loss on these recordings, for each parameter

in arrays such as spikes/lif1 and weights/conv1.weight, always with recording, target, lengths and dt (ms).
--samples are indices of recordings in the split: 0:8 (the default), or 3,5,7.

--nir writes the network into FILE (.nir), for other libraries and chips. What NIR cannot say is refused, with the
layer and the setting to change. --lossy writes the nearest that NIR can say, and prints what is lost and how many
answers on validation recordings differ; `snnlab import` still reads it back exactly. --fold-norm folds batch
normalizations into the layer before them. --for speck checks the chip's limits and assigns layers to its cores.

  snnlab export outputs/NAME/TIME_SEED --what spikes,v --layers lif1 --samples 0:4 --out fig.npz
  snnlab export RUN --what weights,gradients --out weights.h5
  snnlab export RUN --nir network.nir
"""


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    options, positional = split_options("export", arguments)
    run, overrides = split_run(positional)
    if run is None:
        raise ConfigError("export", "the first argument is a run's folder, such as outputs/NAME/TIME_SEED")
    if "--nir" in options:
        return _export_nir(run, overrides, options)
    for option in ("--lossy", "--fold-norm", "--for"):
        if option in options:
            raise ConfigError("export", f"{option} needs --nir FILE")
    target = Path(options.get("--out", "")).expanduser()
    if target.suffix not in (".npz", ".h5"):
        raise ConfigError(
            "export", f"--out must be a file that ends in .npz or .h5, got {options.get('--out', 'nothing')}"
        )
    what = [argument for argument in options.get("--what", "").split(",") if argument]
    if not what:
        wrong = "--what must name arrays or state variables, such as spikes,v"
        raise ConfigError("export", wrong, "snnlab export --help lists them")
    split = option_choice("export", options, "--split", SPLITS)
    checkpoint = option_choice("export", options, "--checkpoint", CHECKPOINTS)
    layers = options["--layers"].split(",") if "--layers" in options else None
    console_logging()
    experiment = compose_run(run, overrides, options.get("--config-dir"), "data")

    make_session, opened_run, _ = _import_session()
    session = make_session(experiment, run, run=run, checkpoint=checkpoint)
    session.use_threads()
    wanted = opened_run.ExportRequest(what, layers, options.get("--samples", "0:8"), split)
    arrays = opened_run.collect_arrays(session, wanted)
    opened_run.write_arrays(target, arrays)
    for name, array in arrays.items():
        print(f"{name}  {list(array.shape)}  {array.dtype}")
    print(target)
    return 0


def _export_nir(run: Path, overrides: list[str], options: dict[str, str]) -> int:
    """Write the network of a run as a NIR file."""
    for option in ("--what", "--out", "--layers", "--samples", "--split"):
        if option in options:
            raise ConfigError("export", f"{option} is for arrays, not for --nir")
    if options.get("--for", "speck") != "speck":
        raise ConfigError("export", f"--for must be speck, got {options['--for']}")
    target = _nir_target(options["--nir"])
    checkpoint = option_choice("export", options, "--checkpoint", CHECKPOINTS)
    console_logging()
    measured = {"--lossy", "--fold-norm"} & {*options}
    experiment = compose_run(run, overrides, options.get("--config-dir"), "data" if measured else "network")
    if "download" in experiment.data:  # a measurement is no reason to fetch a dataset
        experiment = replace(experiment, data={**experiment.data, "download": False})

    make_session, _, network_export = _import_session()
    wanted = network_export.NirOptions("--lossy" in options, "--fold-norm" in options, "--for" in options)
    session = make_session(experiment, run, run=run, checkpoint=checkpoint)
    session.use_threads()
    for line in network_export.export_nir(session, target, wanted):
        say(line)
    print(target)
    return 0


def _import_session():
    from snnlab.session import Session, network_export, opened_run

    return Session, opened_run, network_export


def _nir_target(text: str) -> Path:
    """Return the file of `--nir`."""
    target = Path(text).expanduser()
    if target.suffix != ".nir":
        raise ConfigError("export", f"--nir must be a file that ends in .nir, got {text or 'nothing'}")
    if not target.absolute().parent.is_dir():
        raise ConfigError("export", f"there is no folder {target.parent}")
    return target
