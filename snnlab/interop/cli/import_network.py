"""`snnlab import`: a network in a foreign file, made a folder that every command takes as a run's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from snnlab.cli.command import ConfigDir, command
from snnlab.console import console_logging, say
from snnlab.errors import ConfigError
from snnlab.interop.nir_options import NIRReadOptions, check_options
from snnlab.spec.override_texts import key_of

AS_MEANT = NIRReadOptions()


@command("import", section="use a run", page="nir")
def import_network(
    file: Annotated[str, "file"],
    *overrides: str,
    out: Annotated[str, "folder"],
    reading: NIRReadOptions = AS_MEANT,
    config_dir: ConfigDir = None,
) -> None:
    """Make a run's folder of a network in a foreign file: NIR, state dict.

    Every command takes the folder as a run's: config.yaml with named layers, the weights, and in result.json the hash
    of the file, versions, and all that was assumed, which is also printed, a line each. The folder is printed last.

    A NIR file that snnlab wrote is read exactly; the options say what others leave open. Without data=NAME the
    config.yaml describes a folder of recordings that fit the input.

    With model=NAME the file is a state dict of PyTorch (torch.save) for that model; nothing in it is executed. The
    table model.weights.rename of the model maps its names: neurobench_gesture and speck_gesture have one. With
    model.weights.rename=spikingjelly, the setting of the PLIF, SEW and VGG networks, or snntorch, the n-th layer of
    each type in the file is the n-th of the model.

    Args:
        file: the network
        out: the new folder

    Examples:
        snnlab import cnn_sinabs.nir --out cnn --spikes-per-step several --floor -1
        snnlab evaluate cnn data=nmnist data.root=FOLDER data.dt=1
        snnlab show cnn
        snnlab train cnn/config.yaml init_from=cnn data=nmnist data.root=FOLDER data.dt=1
        snnlab import dvs_gesture_params.pt --out speck model=speck_gesture data=dvsgesture data.dt=10
    """
    _check(reading, overrides)
    console_logging()

    from snnlab.interop.session.import_run import import_file

    target = Path(out).expanduser()
    for line in import_file(Path(file).expanduser(), target, reading, overrides, config_dir):
        say(line)
    print(target)


def _check(reading: NIRReadOptions, overrides: Sequence[str]) -> None:
    """Refuse options that contradict each other, or are for another kind of file."""
    given = [name for name, value in vars(reading).items() if value != getattr(AS_MEANT, name)]
    if given and any(key_of(text) == "model" for text in overrides):
        raise ConfigError(_option(given[0]), "is for NIR files, and model=NAME for state dicts")
    try:
        check_options(reading)
    except ConfigError as error:
        raise error.with_fields(place=_option(error.place)) from None


def _option(name: str) -> str:
    return f"import: --{name.replace('_', '-')}"
