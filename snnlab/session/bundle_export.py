"""Writes the network of a run into one file, without the folders of this machine."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import save

from snnlab.bundles import FILES, NEEDED
from snnlab.files import json_text, unwritable, write_atomically
from snnlab.printable import map_texts
from snnlab.runs.public_parts import public_config, public_result, public_text
from snnlab.runs.recorded import RecordedRun, read_run
from snnlab.runs.run_folder import CONFIG, HOT_PIXELS, RESULT, SPLIT, TRAINED_ON, WEIGHTS, CheckpointName, config_text
from snnlab.session.weights import run_weights
from snnlab.zoo import CARD_FILE

_FIRST_DATE = (1980, 1, 1, 0, 0, 0)


def write_bundle(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a bundle; equal files give equal bytes.

    Raises:
        OSError: if it cannot be written.
    """
    assert set(NEEDED) <= files.keys() <= set(FILES), files.keys()

    def write(file: object) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[arg-type]
            for name in FILES:
                if name in files:
                    kind = zipfile.ZIP_STORED if name == WEIGHTS else zipfile.ZIP_DEFLATED
                    archive.writestr(zipfile.ZipInfo(name, _FIRST_DATE), files[name], kind)

    write_atomically(path, write)


def export_bundle(folder: Path, target: Path, checkpoint: CheckpointName, licence: str | None) -> Iterator[str]:
    """Write the network of a run into a bundle, and yield lines that say what it holds.

    Raises:
        RunFolderError: if the run cannot be read, or the file cannot be written.
    """
    recorded = read_run(folder)
    weights = run_weights(folder, checkpoint)
    config = _without_folders(recorded.config)
    files = {
        CONFIG: config_text(config).encode(),
        RESULT: json_text(public_result(recorded.content)).encode(),
        WEIGHTS: save({name: values.contiguous() for name, values in weights.items()}),
        CARD_FILE: yaml.safe_dump(_card(recorded, folder, licence), sort_keys=False, allow_unicode=True).encode(),
    }
    if split := recorded.split():
        files[SPLIT] = json_text(map_texts(split, public_text)).encode()
    for name in (HOT_PIXELS, TRAINED_ON):
        if (folder / name).is_file():
            files[name] = (folder / name).read_bytes()
    try:
        write_bundle(target, files)
    except OSError as error:
        raise unwritable(target.parent, error) from error
    yield f"{len(weights)} tensors, {sum(values.numel() for values in weights.values()):,} numbers; {', '.join(files)}"
    if plugins := config.get("plugins"):
        yield f"it holds no code: who opens it needs the plugins {', '.join(plugins)}; for others: --onnx, --c"
    if licence is None:
        yield "no licence is stated: --licence TEXT"


def _without_folders(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration without the folders of this machine, and without the weights that it began with."""
    public = map_texts(public_config(config), public_text)
    data = public["data"] | ({"root": None} if "root" in public["data"] else {})
    return {**public, "data": data} | ({"init_from": None} if "init_from" in public else {})


def _card(recorded: RecordedRun, folder: Path, licence: str | None) -> dict[str, Any]:
    """Return the facts of `card.yaml`: those of the run's own card, or its measured accuracy."""
    own = folder / CARD_FILE
    card: dict[str, Any] = yaml.safe_load(own.read_text(encoding="utf-8")) if own.is_file() else {}
    if not card:
        metrics = recorded.metrics
        stages = [stage for stage in ("test", "val") if f"{stage}/accuracy" in metrics]
        card["checked"] = [
            f"{stage} accuracy {metrics[f'{stage}/accuracy']:.1%} of {metrics.get(f'{stage}/recordings', 0):,.0f}"
            f" recordings, one seed ({recorded.seed})"
            for stage in stages
        ]
    return card | ({} if licence is None else {"licence": licence})
