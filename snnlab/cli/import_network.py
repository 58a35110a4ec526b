"""`snnlab import`: makes of a network in a foreign file a folder that every command takes as a run's."""

from __future__ import annotations

from pathlib import Path

from snnlab.cli.options import split_options
from snnlab.console import console_logging, say
from snnlab.errors import ConfigError
from snnlab.spec.override_texts import is_override, key_of

USAGE = """usage: snnlab import FILE.nir --out FOLDER [OPTIONS] [OVERRIDES]
       snnlab import FILE --out FOLDER model=NAME [OVERRIDES]

Read a network from a NIR file, and write it as a folder that every command takes as a run's: config.yaml with named
layers, the weights, and in result.json the hash of the file, versions, and all that was assumed, which is also printed,
a line each. The folder is printed last. A file that snnlab wrote is read exactly. What others leave open:

  --time-unit s|ms|steps         unit of time constants; s is what most programs write, Sinabs writes steps
  --dt MS                        length of a step, ms, 1e-6 or more; 1
  --discretization exact|euler   factor of one step: exp(-dt / tau), or 1 - dt / tau
  --spikes impulse|current       a spike is an impulse of 1, or a current of 1 during its step: for IF r or r dt; by
                                 default an impulse for IF and I, a current for neurons that leak
  --reset subtract|zero          by default to v_reset where the file has it, else the threshold is subtracted
  --threshold strict|inclusive   a spike above the threshold, as NIR says, or at it too
  --spikes-per-step one|several  several: one for each multiple of the threshold, as Sinabs does
  --floor V                      lower bound of the membranes; none
  --synapse jump_first|decay_first|next_step   an input reaches the membrane whole in its own step; less the decay of
                                 a step; or a step later
  --cycle-delay N                steps by which a population's output returns to itself; 1
  --ignore-metadata              read a file of snnlab by these options too, whatever it is meant with

Without data=NAME the config.yaml describes a folder of recordings that fit the input.

With model=NAME the file is a state dict of PyTorch (torch.save) for that model; nothing in it is executed. The table
model.weights.rename of the model maps its names: neurobench_gesture and speck_gesture have one. With
model.weights.rename=spikingjelly, the setting of the PLIF, SEW and VGG networks, or snntorch, the n-th layer of each
type in the file is the n-th of the model.

  snnlab import cnn_sinabs.nir --out cnn --spikes-per-step several --floor -1
  snnlab evaluate cnn data=nmnist data.root=FOLDER data.dt=1
  snnlab show cnn
  snnlab train cnn/config.yaml init_from=cnn data=nmnist data.root=FOLDER data.dt=1
  snnlab import dvs_gesture_params.pt --out speck model=speck_gesture data=dvsgesture data.dt=10
"""


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    options, positional = split_options("import", arguments)
    files = [argument for argument in positional if not is_override(argument)]
    if len(files) != 1:
        raise ConfigError("import", f"name one file, such as network.nir, got {len(files)}")
    if not options.get("--out"):
        raise ConfigError("import", "--out must name the new folder")
    overrides = [argument for argument in positional if is_override(argument)]
    folder, path = Path(options.pop("--out")).expanduser(), Path(files[0]).expanduser()
    config_dir = options.pop("--config-dir", None)
    if options and any(key_of(argument) == "model" for argument in overrides):
        raise ConfigError("import", f"{next(iter(options))} is for NIR files, and model=NAME for state dicts")
    console_logging()

    from snnlab.session.import_run import import_file

    for line in import_file(path, folder, options, overrides, config_dir):
        say(line)
    print(folder)
    return 0
