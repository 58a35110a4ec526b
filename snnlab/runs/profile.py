"""Profile of a training step: times of each layer, as a table and as files."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.profilers import Profiler
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from snnlab.files import write_json, write_text
from snnlab.runs.tables import Table

_log = logging.getLogger(__name__)

LOSS, OPTIMIZER, READING, FRAMES, REST = "loss and metrics", "optimizer", "reading", "frames", "rest"
WARM_UP = 5
_TRANSFER, _STEP_END = ".batch_to_device", "on_train_batch_end"


class LayerTimes(L.Callback):
    """Measures the time of each part of a training step.

    A layer's backward pass begins when the gradient of its output is computed, and ends when that of its input is.
    These times come from hooks on the tensors between the layers, which do not change the graph.
    """

    def __init__(self) -> None:
        self.steps, self.samples = 0, 0
        self.wall_ms = 0.0
        self.layers: list[str] = []
        self._stopwatch = Stopwatch(torch.device("cpu"))
        self._handles: list[RemovableHandle] = []
        self._profiler: Profiler | None = None
        self._steps_seen, self._step_start, self._active, self._backward_of = 0, 0.0, False, LOSS

    def parts(self) -> dict[str, float]:
        """Return the mean time of each part of a step, ms; the parts of a layer are NAME/forward and NAME/backward."""
        return {name: ms / max(self.steps, 1) for name, ms in self._stopwatch.milliseconds().items()}

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Register the hooks."""
        self._stopwatch = Stopwatch(trainer.strategy.root_device)
        self._profiler = trainer.profiler  # type: ignore[attr-defined]
        trainer.profiler = _ActionProfiler(self._on_action)  # type: ignore[attr-defined]
        network: nn.Module = pl_module.network
        self.layers = [name for name, _ in network.named_children()]
        for name, layer in network.named_children():
            self._handles.append(layer.register_forward_pre_hook(lambda *_: self._mark(REST)))
            self._handles.append(layer.register_forward_hook(self._forward_hook(name)))
        for optimizer in trainer.optimizers:
            self._handles.append(optimizer.register_step_post_hook(lambda *_: self._mark(OPTIMIZER)))

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Mark the end of the data transfer."""
        self._mark(REST)
        self.samples += batch.lengths.numel() if self._active else 0

    def on_before_zero_grad(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Mark the end of the forward pass of the loss."""
        self._mark(f"{LOSS}/forward")

    def on_before_backward(self, trainer: L.Trainer, pl_module: Any, loss: Tensor) -> None:
        """Mark the end of `zero_grad`."""
        self._mark(OPTIMIZER)
        self._backward_of = LOSS

    def on_after_backward(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Mark the end of the backward pass."""
        self._mark(f"{self._backward_of}/backward")

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Pause during the validation, which is no part of a step."""
        self._active = False

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Remove the hooks."""
        self._active = False
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        assert self._profiler is not None
        trainer.profiler = self._profiler  # type: ignore[attr-defined]

    def _forward_hook(self, name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: Any, output: Any) -> None:
            self._mark(f"{name}/forward")
            y = output[0] if isinstance(output, tuple) else output
            if self._active and y.requires_grad:
                y.register_hook(lambda _: self._enter_backward(name))

        return hook

    def _enter_backward(self, name: str) -> None:
        """Mark the end of the backward pass of the next layer, and the begin of that of this layer."""
        self._mark(f"{self._backward_of}/backward")
        self._backward_of = name

    def _on_action(self, action: str, begins: bool) -> None:
        """Mark the ends of reading, of making frames and of the step, which only Lightning's profiler reports."""
        if action.endswith(_TRANSFER):
            self._mark(READING if begins else FRAMES)
        elif action.startswith("[LightningModule]") and action.endswith(_STEP_END) and not begins:
            self._end_step()

    def _end_step(self) -> None:
        self._mark(REST)
        now = time.perf_counter()
        self._steps_seen += 1
        if self._active:
            self.steps += 1
            self.wall_ms += 1000 * (now - self._step_start)
        elif self._steps_seen >= WARM_UP:
            self._active = True
            self._stopwatch.start()
        self._step_start = time.perf_counter()

    def _mark(self, name: str) -> None:
        if self._active:
            self._stopwatch.mark(name)


class _ActionProfiler(Profiler):
    """Calls a function when Lightning begins and ends an action."""

    def __init__(self, on_action: Callable[[str, bool], None]) -> None:
        super().__init__()
        self.on_action = on_action

    def start(self, action_name: str) -> None:
        self.on_action(action_name, True)

    def stop(self, action_name: str) -> None:
        self.on_action(action_name, False)


class Stopwatch:
    """Adds the time since the last mark to a named part, so that the parts always add up to the total.

    On a GPU the marks are events on its stream: CPU work while the GPU is busy is not counted, and nothing is
    synchronized before `milliseconds`.

    Args:
        device: The device that is measured.
    """

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self._marks: list[tuple[str | None, float | torch.cuda.Event]] = []

    def start(self) -> None:
        """Start or continue: the time since the last mark belongs to no part."""
        self.mark(None)

    def mark(self, name: str | None) -> None:
        """Add the time since the last mark to the part `name`."""
        self._marks.append((name, self._now()))

    def milliseconds(self) -> dict[str, float]:
        """Return the total time of each part, ms."""
        if self.cuda:
            torch.cuda.synchronize()
        times: dict[str, float] = defaultdict(float)
        for (_, before), (name, after) in pairwise(self._marks):
            if name is not None:
                times[name] += _elapsed_ms(before, after)
        return dict(times)

    def _now(self) -> float | torch.cuda.Event:
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def _elapsed_ms(before: float | torch.cuda.Event, after: float | torch.cuda.Event) -> float:
    if isinstance(before, float) and isinstance(after, float):
        return 1000 * (after - before)
    assert isinstance(before, torch.cuda.Event)
    assert isinstance(after, torch.cuda.Event)
    return before.elapsed_time(after)


_WIDTH = 80


class ProfileReport(L.Callback):
    """Logs and writes the profile of the training steps at the end of a fit.

    Args:
        times: The callback that measured it.
    """

    def __init__(self, folder: Path, times: LayerTimes) -> None:
        self.folder, self.times = folder, times

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the profile, and write `profile.json` and `profile.txt`."""
        if not trainer.is_global_zero:
            return
        if not self.times.steps:
            _log.info("profile: the training ended before the first measured step; it needs more batches")
            return
        record = as_record(self.times, str(trainer.strategy.root_device))
        text = as_text(record)
        write_json(self.folder / "profile.json", record)
        write_text(self.folder / "profile.txt", text + "\n")
        _log.info("%s", text)


def as_record(times: LayerTimes, device: str) -> dict[str, Any]:
    """Return the profile: times of a mean step, ms."""
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
    """Return the table of a profile."""
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
    title = f"profile: {steps}, {record['device']}; {record['step_ms']:.1f} ms of wall time"
    head = ("part of a step", "forward (ms)", "backward (ms)", "both (ms)", "share")
    return Table(head, rows, title, sum=True).text(_WIDTH)
