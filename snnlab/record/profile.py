"""Where a step's time went, as a table and as profile.json and profile.txt."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lightning as L

from snnlab.files import write_json, write_text
from snnlab.record.tables import Table
from snnlab.training.callbacks.layer_times import FRAMES, LOSS, OPTIMIZER, READING, REST, LayerTimes

_log = logging.getLogger(__name__)
_WIDTH = 80


class ProfileReport(L.Callback):
    """Says at the end of a fit where its steps' time went, and writes it down.

    Args:
        times: Where it was measured.
    """

    def __init__(self, folder: Path, times: LayerTimes) -> None:
        self.folder, self.times = folder, times

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say it."""
        if not self.times.steps:
            _log.info("profile: the training was over before the first step was measured; give it more batches")
            return
        record = as_record(self.times, str(trainer.strategy.root_device))
        text = as_text(record)
        write_json(self.folder / "profile.json", record)
        write_text(self.folder / "profile.txt", text + "\n")
        _log.info("%s", text)


def as_record(times: LayerTimes, device: str) -> dict[str, Any]:
    """Return what was measured: ms of a mean step."""
    parts = times.parts()
    both = {
        name: {way: parts.get(f"{name}/{way}", 0.0) for way in ("forward", "backward")}
        for name in (*times.layers, LOSS)
    }
    return {
        "device": device,
        "steps": times.steps,
        "samples_per_step": times.samples / times.steps,
        "step_ms": times.wall_ms / times.steps,
        "layers_ms": {name: both[name] for name in times.layers},
        "loss_and_metrics_ms": both[LOSS],
        **{f"{name}_ms": parts.get(name, 0.0) for name in (READING, FRAMES, OPTIMIZER, REST)},
    }


def as_text(record: dict[str, Any]) -> str:
    """Return the table of such a record."""
    parts = {f"data: {name}": (record[f"{name}_ms"], None) for name in (READING, FRAMES)}
    layers = {**record["layers_ms"], LOSS: record["loss_and_metrics_ms"]}
    parts |= {name: (each["forward"], each["backward"]) for name, each in layers.items()}
    parts |= {name: (record[f"{name}_ms"], None) for name in (OPTIMIZER, REST)}
    total = sum(forward + (backward or 0.0) for forward, backward in parts.values())
    rows = []
    for name, (forward, backward) in parts.items():
        both = forward + (backward or 0.0)
        ways = ("", "") if backward is None else (f"{forward:.2f}", f"{backward:.2f}")
        rows.append((name, *ways, f"{both:.2f}", f"{both / total:.1%}"))
    rows.append(("a step", "", "", f"{total:.2f}", ""))
    steps = f"mean of {record['steps']} steps of {record['samples_per_step']:.0f} samples"
    title = f"profile: {steps}, {record['device']}; {record['step_ms']:.1f} ms by the clock"
    head = ("part of a step", "forward (ms)", "backward (ms)", "both (ms)", "share")
    return Table(head, rows, title, sum=True).text(_WIDTH)
