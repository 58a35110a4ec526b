"""Writes a network of a foreign file, NIR or a state dict, as a folder that every command takes as a run's."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import h5py
import torch

from snnlab.config.compose import compose_experiment
from snnlab.config.plugins import plugin_files
from snnlab.config.schema import Experiment
from snnlab.errors import ConfigError, DataError, RunFolderError, SnnlabError
from snnlab.files import unwritable
from snnlab.interop.nir_files import nir_package, read_graph
from snnlab.interop.nir_import import ReadNetwork, read_network
from snnlab.interop.nir_options import NIRReadOptions
from snnlab.interop.session.foreign_weights import load_foreign
from snnlab.nn.network import BuiltNetwork, Network
from snnlab.nn.neurons.base import Neuron
from snnlab.nn.neurons.brf import BRF
from snnlab.runs.provenance import software
from snnlab.runs.recorded import RunFiles
from snnlab.runs.run_folder import (
    HOT_PIXELS,
    SPLIT,
    TRAINED_ON,
    CheckpointName,
    Result,
    config_text,
    create_run_folder,
)
from snnlab.runs.signature import file_hash
from snnlab.session.session import Session
from snnlab.spec.override_texts import key_of, literal
from snnlab.training.checkpoints import tensors_hash, write_weights

_PACKAGES = ("snnlab-train", "torch", "numpy", "nir", "h5py")


def import_file(
    path: Path, folder: Path, options: NIRReadOptions, overrides: Sequence[str], config_dir: str | Path | None = None
) -> list[str]:
    """Write the network of a file as the folder of a run, and return what was assumed or loaded as lines.

    Args:
        path: A state dict of PyTorch if the overrides name a model, else a NIR file.
        folder: The new folder.
        options: How a NIR graph is read where it leaves something open.
        overrides: Settings of the experiment, such as `data=nmnist`.
        config_dir: A folder of the user's YAML files.
    """
    if any(key_of(text) == "model" for text in overrides):
        return import_weights(path, folder, overrides, config_dir)
    return import_nir(path, folder, options, overrides, config_dir).assumptions


def import_nir(
    path: Path, folder: Path, options: NIRReadOptions, overrides: Sequence[str], config_dir: str | Path | None = None
) -> ReadNetwork:
    """Read a NIR graph from a file, and write its network as the folder of a run.

    Args:
        path: The file.
        folder: The new folder.
        options: How the graph is read where it leaves something open.
        overrides: Settings of the experiment, such as `data=nmnist`.
        config_dir: A folder of the user's YAML files.
    """
    require_new("import", folder)
    file = read_graph(path)
    read = read_network(file, str(path), options)
    experiment = compose_imported(read, read.build(), path.stem, overrides, config_dir)
    session = Session(experiment, folder)
    session.build("built", "loss")
    read.load_into(session.built.network)
    step = session.settings.step_ms
    if None not in (step, read.dt) and step != read.dt:
        fix = f"set data.dt={read.dt:g}, or --dt {step:g}"
        read.assumptions.append(
            f"dt: the data have steps of {step:g} ms, the network was read for {read.dt:g} ms; {fix}"
        )
    imported = {
        "file": str(path.absolute()),
        "sha256": file.sha256,
        "format": f"nir {file.version}" if file.version else "nir",
        "read_by": f"nir {nir_package().__version__}",
        "options": dict(read.options or vars(options)),
        "dt": read.dt,
        "assumptions": read.assumptions,
        "layer_of_node": read.names,
    }
    write_run(folder, experiment, session.built, {"imported": imported})
    return read


def import_weights(
    path: Path, folder: Path, overrides: Sequence[str], config_dir: str | Path | None = None
) -> list[str]:
    """Load a state dict into the network of an experiment and write it as a run's folder; return what was loaded.

    Args:
        path: A file of `torch.save`, see `snnlab.interop.state_dicts`.
        folder: The new folder.
        overrides: The experiment, such as `model=speck_gesture data=dvsgesture data.dt=10`; `model.weights.rename` of
            the model maps the names of the file.
        config_dir: A folder of the user's YAML files.
    """
    require_new("import", folder)
    if path.is_file() and h5py.is_hdf5(path):
        raise DataError(path, "is an HDF5 file, not one of torch.save", "without model=NAME it is read as a NIR file")
    chosen = [*overrides, f"model.weights.file={literal(str(path.absolute()))}"]
    experiment, _ = compose_experiment(chosen, config_dir)
    session = Session(experiment, folder)
    try:
        session.build("built", "loss")
        weights = experiment.foreign_weights
        assert weights is not None
        assumptions = [load_foreign(session.built.network, weights), *_oscillator_notes(session.built.network)]
    except SnnlabError as error:
        raise _with_data(error, session, overrides) from None
    source = {
        "file": str(path.absolute()),
        "sha256": file_hash(path),
        "format": "state dict",
        "read_by": f"torch {torch.__version__}",
        "assumptions": assumptions,
    }
    record = dict(experiment.record or {})
    record["model"] = {key: value for key, value in record["model"].items() if key != "weights"}
    # A training from its config.yaml gets the weights by init_from, as from any run.
    write_run(folder, replace(experiment, record=record), session.built, {"imported": source})
    return assumptions


def _oscillator_notes(network: Network) -> list[str]:
    """Return which layers may be of another neuron: a vanilla RF's state dict has the names and shapes of a BRF's."""
    return [
        f"model.layers.{name}: read as brf; a vanilla RF has the same names: set model.layers.{name}.type=vanilla_rf"
        for name, layer in network.layers()
        if any(isinstance(part, BRF) for part in layer.modules())
    ]


def _with_data(error: SnnlabError, session: Session, overrides: Sequence[str]) -> SnnlabError:
    """Return an error of layers or weights that do not fit with the data that the user chose, or did not choose."""
    known = any(key_of(text) == "data" for text in overrides)
    if error.hint or not error.place.startswith("model.layers." if known else ("model.layers.", "model.weights")):
        return error
    settings = session.settings
    data = f"data={session.experiment.data['type']} has frames {list(settings.frame_shape)}"
    return error.with_fields(hint=data if known else f"{data} and {settings.num_classes} classes; set data=NAME")


def require_new(command: str, folder: Path) -> None:
    """Raise a RunFolderError if a folder exists and is not empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunFolderError(command, f"--out: {folder} exists and is not empty", "choose a new folder")


def compose_imported(
    read: ReadNetwork,
    built: BuiltNetwork,
    name: str,
    overrides: Sequence[str],
    config_dir: str | Path | None = None,
) -> Experiment:
    """Return the experiment of an imported network; without an override of data, that of a folder of recordings."""
    own = [] if any(key_of(text) == "data" for text in overrides) else _folder_data(read, built)
    last = list(built.network.layers())[-1][1]
    spiking = isinstance(last, Neuron) and last.spiking
    readout = read.readout or ("sum" if spiking else "mean")
    # A single output is no class.
    loss = "mse" if "data.targets=value" in own else "cross_entropy"
    chosen = ["model=imported", f"loss={loss}", f"loss.readout={readout}", f"name={_plain_name(name)}", *own]
    typed = {key_of(text) for text in overrides}
    chosen = [text for text in chosen if key_of(text) not in typed]
    experiment, _ = compose_experiment([*chosen, *overrides], config_dir, {"model/imported": {"layers": read.layers}})
    settings = Session(experiment).settings
    frames, step = settings.frame_shape, settings.step_ms
    if frames != read.in_shape:
        message = f"its frames are {list(frames)}, but the input of the network is {list(read.in_shape)}"
        raise experiment.locate(ConfigError("data", message, "leave it out, or choose other recordings"))
    if read.fixed_dt and (step is None or read.dt is None or not math.isclose(step, read.dt)):
        length = "no length" if step is None else f"{step:g} ms"
        problem = f"a step has {length}, but the network was read with --dt {read.dt:g}"
        raise experiment.locate(ConfigError("data.dt", problem))
    return experiment


def _plain_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in name) or "imported"


def _folder_data(read: ReadNetwork, built: BuiltNetwork) -> list[str]:
    """Return the settings of recordings that fit the input and the output of a network."""
    shape, outputs = read.in_shape, list(built.shapes.values())[-1]
    if len(shape) == 3 and shape[1] > 1:
        channels, height, width = shape
    elif len(shape) == 2 and shape[0] > 1:
        channels, height, width = shape[0], 1, shape[1]
    elif len(shape) == 1:
        channels, height, width = 1, 1, shape[0]
    else:
        raise ConfigError(
            "import",
            f"an input of shape {list(shape)} is none of frames: [P, H, W], [P, W] or [W]",
            "snnlab.nn.from_nir reads it in Python",
        )
    dt = read.dt or 1.0
    single = not outputs or outputs[0] == 1
    return [
        "data=folder",
        "data.root=data",
        *(["data.targets=value"] if single else []),
        f"data.sensor_size=[{width},{height},{channels}]",
        f"data.num_classes={outputs[0] if outputs else 1}",
        f"data.duration_ms={100 * dt:g}",
        f"data.dt={dt:g}",
    ]


def write_run(
    folder: Path, experiment: Experiment, built: BuiltNetwork, origin: Mapping[str, Any], run: Path | None = None
) -> None:
    """Write the files of a run's folder for a network that was not trained here: config.yaml, weights, result.json.

    Args:
        folder: The new folder; it appears whole or not at all.
        experiment: The experiment, with the network's layers.
        built: The network with its weights.
        origin: Where it comes from, for the provenance: `imported`, what was assumed; `converted`; `quantized`.
        run: The run that it was made of; what that was trained on, and its split, go with it.
    """
    text = config_text(experiment.record or {})
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        create_run_folder(folder, text, plugin_files(experiment.plugins))
        for name in get_args(CheckpointName):
            write_weights(RunFiles(folder).checkpoint(name), built.network.state_dict())
        for path in () if run is None else [run / name for name in (SPLIT, TRAINED_ON, HOT_PIXELS)]:
            if path.is_file():
                shutil.copyfile(path, folder / path.name)
        _write_result(folder, experiment, built, origin, text).write()
    except BaseException as error:
        (shutil.rmtree(folder, ignore_errors=True) if new else _delete_content(folder))
        if isinstance(error, OSError):
            raise unwritable(folder, error, "--out") from error
        raise


def _delete_content(folder: Path) -> None:
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _write_result(
    folder: Path, experiment: Experiment, built: BuiltNetwork, origin: Mapping[str, Any], text: str
) -> Result:
    params = sum(parameter.numel() for parameter in built.network.parameters())
    return Result(
        folder,
        "completed",
        experiment.seed,
        metrics={"params": float(params)},
        provenance={**software(text, _PACKAGES), **origin},
        name=experiment.name,
        weights=dict.fromkeys(get_args(CheckpointName), tensors_hash(built.network.state_dict())),
    )
