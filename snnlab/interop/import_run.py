"""Writes an imported network as a folder that every command takes as a run's."""

from __future__ import annotations

import hashlib
import math
import platform
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml

from snnlab.config.compose import compose_experiment
from snnlab.config.schema import Experiment
from snnlab.data.data_settings import read_settings
from snnlab.errors import ConfigError, RunFolderError
from snnlab.files import unwritable, write_atomically
from snnlab.interop.nir_files import nir_package, read_graph
from snnlab.interop.nir_import import ReadNetwork, read_network
from snnlab.interop.nir_options import ReadOptions
from snnlab.nn.network import BuiltNetwork
from snnlab.nn.neurons.base import Neuron
from snnlab.runs.provenance import CODE, code_state, config_hash
from snnlab.runs.run_folder import CHECKPOINTS, Result, config_text, create_run_folder
from snnlab.settings import key_of

_PACKAGES = ("snnlab-train", "torch", "numpy", "nir", "h5py")


def import_nir(
    path: Path, folder: Path, options: ReadOptions, overrides: Sequence[str], config_dir: str | Path | None = None
) -> ReadNetwork:
    """Read a NIR graph from a file, and write its network as the folder of a run.

    Args:
        path: The file.
        folder: The new folder.
        options: How the graph is read where it leaves something open.
        overrides: Settings of the experiment, such as `data=nmnist`.
        config_dir: A folder of the user's YAML files.

    Raises:
        SnnlabError: if the file or an override is wrong, or the folder has content; nothing is written then.
    """
    require_new(folder)
    file = read_graph(path)
    read = read_network(file, str(path), options)
    built = read.build()
    experiment = compose_imported(read, built, path.stem, overrides, config_dir)
    source = {
        "file": str(path.absolute()),
        "sha256": file.sha256,
        "format": f"nir {file.version}" if file.version else "nir",
        "read_by": f"nir {nir_package().__version__}",
        "options": vars(options),
        "assumptions": read.assumptions,
        "layer_of_node": read.names,
    }
    write_imported(folder, experiment, built, source)
    return read


def require_new(folder: Path) -> None:
    """Raise a RunFolderError if a folder exists and is not empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunFolderError("import", f"--out: {folder} exists and is not empty", "choose a new folder")


def compose_imported(
    read: ReadNetwork,
    built: BuiltNetwork,
    name: str,
    overrides: Sequence[str],
    config_dir: str | Path | None = None,
) -> Experiment:
    """Return the experiment of an imported network; without an override of data, that of a folder of recordings.

    Raises:
        ConfigError: if the shape of the input is not that of frames, or an override is wrong.
    """
    own = [] if any(key_of(text) == "data" for text in overrides) else _folder_data(read, built)
    last = list(built.network.layers())[-1][1]
    spiking = isinstance(last, Neuron) and last.spiking
    readout = read.readout or ("sum" if spiking else "mean")
    # A single output is no class.
    loss = "mse" if "data.targets=value" in own else "cross_entropy"
    chosen = ["model=imported", f"loss={loss}", f"loss.readout={readout}", f"name={_plain(name)}", *own]
    with tempfile.TemporaryDirectory() as made:
        if config_dir is not None:
            shutil.copytree(config_dir, made, dirs_exist_ok=True)
        place = Path(made) / "model"
        place.mkdir(exist_ok=True)
        text = yaml.safe_dump({"layers": read.layers}, sort_keys=False)
        (place / "imported.yaml").write_text(f"# snnlab train model=imported\n{text}", encoding="utf-8")
        experiment, _ = compose_experiment([*chosen, *overrides], made)
    settings = read_settings(experiment.data)[0]
    frames, step = settings.frame_shape, settings.step_ms
    if frames != read.in_shape:
        message = f"its frames are {list(frames)}, but the input of the network is {list(read.in_shape)}"
        raise ConfigError("data", message, "leave it out, or choose other recordings")
    if read.fixed_dt and (step is None or read.dt is None or not math.isclose(step, read.dt)):
        length = "no length" if step is None else f"{step:g} ms"
        raise ConfigError("data.dt", f"a step has {length}, but the network was read with --dt {read.dt:g}")
    return experiment


def _plain(name: str) -> str:
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


def write_imported(folder: Path, experiment: Experiment, built: BuiltNetwork, source: Mapping[str, Any]) -> None:
    """Write the files of a run's folder for an imported network: config.yaml, weights, result.json.

    Args:
        folder: The new folder; it appears whole or not at all.
        experiment: The experiment, with the network's layers.
        built: The network with its weights.
        source: Where it comes from, and what was assumed; for the provenance.

    Raises:
        RunFolderError: if it cannot be written.
    """
    text = config_text(experiment.record or {})
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        create_run_folder(folder, text)
        state = {f"network.{key}": value.clone() for key, value in built.network.state_dict().items()}
        for name in ("best", "last"):
            target = folder / CHECKPOINTS / f"{name}.ckpt"
            write_atomically(target, lambda file: torch.save({"state_dict": state, "epoch": 0}, file))
        _result(folder, experiment, built, source, text).write()
    except BaseException as error:
        (shutil.rmtree(folder, ignore_errors=True) if new else _empty(folder))
        if isinstance(error, OSError):
            raise unwritable(folder, error, "--out") from error
        raise


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _result(folder: Path, experiment: Experiment, built: BuiltNetwork, source: Mapping[str, Any], text: str) -> Result:
    params = sum(parameter.numel() for parameter in built.network.parameters())
    provenance = {
        "git": code_state(CODE),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "config_hash": config_hash(text),
        "weights_hash": _weights_hash(built),
        "imported": dict(source),
    }
    return Result(
        folder,
        "completed",
        experiment.seed,
        metrics={"params": float(params)},
        provenance=provenance,
        name=experiment.name,
    )


def _weights_hash(built: BuiltNetwork) -> str:
    total = hashlib.sha256()
    for key, value in built.network.state_dict().items():
        total.update(key.encode())
        total.update(value.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
