"""`snnlab convert`: a network of ReLU layers, made one of integrate-and-fire neurons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from snnlab.cli.command import Checkpoint, ConfigDir, command
from snnlab.config.compose import compose_experiment
from snnlab.config.recorded_run import compose_run
from snnlab.console import console_logging, until_pipe_closes
from snnlab.errors import ConfigError
from snnlab.spec.field import Help
from snnlab.spec.interval import between
from snnlab.spec.override_texts import key_of, literal
from snnlab.zoo import run_path


@dataclass(frozen=True)
class ConversionOptions:
    """How activations become spikes."""

    percentile: Annotated[
        float, between(50, 100), Help("of a ReLU's outputs, which is one spike a step; 100: largest")
    ] = 99.9
    per: Annotated[Literal["layer", "channel"], Help("whether a layer has one scale, or each channel its own")] = (
        "channel"
    )
    within: Annotated[float, between(0, 1), Help("loss of right answers that is allowed, a fraction of them all")] = (
        0.01
    )


DEFAULT = ConversionOptions()


@command("convert", section="use a run", page="convert")
def convert(
    network: Annotated[str, "run|file"],
    *overrides: str,
    input_: Literal["constant", "events"],
    out: Annotated[str, "folder"],
    steps: Annotated[Sequence[str], "number,..."] = ("8", "16", "32", "64", "128"),
    how: ConversionOptions = DEFAULT,
    checkpoint: Checkpoint = "best",
    config_dir: ConfigDir = None,
) -> None:
    """Make a run's folder of integrate-and-fire neurons of a network of ReLU layers.

    The network is that of a run, or with model=NAME a state dict of PyTorch (torch.save) for that model. Batch norms
    are folded, biases kept. Activations are divided by a percentile of those of the training recordings; neurons start
    at half their threshold. Each number of steps is tried on the validation recordings, and the first is taken that
    answers almost as many of them correctly as the ReLU layers do. A table has right answers and spikes for each;
    conversion.png in the folder has both over time. Every command takes the folder as a run's; it is printed last.

    --input constant: the steps of a frame have that frame, which needs its events before its first step.
    --input events: each step has its own events. Max pooling is refused, and frames must be counts of events.

    Args:
        network: the network of ReLU layers
        input_: what a step gets: the whole frame, or its own events
        out: the new folder
        steps: numbers of steps to try, for each frame that the ReLU layers see of a recording

    Examples:
        snnlab train model=cnn_frames data.num_bins=1
        snnlab convert outputs/NAME/TIME_SEED --input constant --out spiking
        snnlab convert RUN --input events --steps 320 --percentile 100 --per layer --out spiking
        snnlab convert ann.pth model=my_ann data=nmnist data.root=FOLDER data.num_bins=1 --input events --out spiking
        snnlab train spiking/config.yaml init_from=spiking            fine-tuning
    """
    numbers = [_number(text) for text in steps]
    console_logging()
    path = Path(network).expanduser()
    if named := any(key_of(text) == "model" for text in overrides):
        chosen = [*overrides, f"model.weights.file={literal(str(path.absolute()))}"]
        experiment, run = compose_experiment(chosen, config_dir)[0], None
    elif path.is_file() and run_path(path) == path:
        raise ConfigError(path, "is a file: which model is it of?", "add model=NAME data=NAME")
    else:
        run = run_path(network)
        experiment = compose_run(run, overrides, config_dir, "another")

    from snnlab.interop.session.convert_run import ConversionRequest, convert_run

    request = ConversionRequest(input_, numbers, how.percentile, how.per, how.within)
    file = path if named else None
    with until_pipe_closes():
        for line in convert_run(experiment, run, file, checkpoint, Path(out).expanduser(), request):
            print(line, flush=True)
        print(out)


def _number(text: str) -> int:
    if not text.strip().isdecimal() or not int(text):
        raise ConfigError("convert: --steps", f"expected numbers of steps such as 16,32,64, got {text}")
    return int(text)
