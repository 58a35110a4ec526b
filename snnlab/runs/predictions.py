"""The predictions of a network for every recording (`predictions.npz`), and metrics computed from them.

Axes: N recordings, T steps, B samples, K classes or values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from snnlab.nn.losses import Loss
from snnlab.nn.network import Network
from snnlab.nn.record import step_spikes
from snnlab.runs.statistics import balanced_accuracy, confusion
from snnlab.target_kinds import IGNORED, kind_of
from snnlab.training.distributed import all_gather
from snnlab.training.module import Outputs, SpikingModule


def confidences(loss: Loss, y: Tensor, lengths: Tensor) -> Tensor:
    """Return the largest probability of the running readout at each step.

        c[t] = max_k softmax(readout(y[: t + 1]))[k],   by running sums

    After a sample's last valid step it is constant.

    Args:
        loss: The loss, whose readout gives classes.
        y: The network's output.
        lengths: Valid steps of each sample.

    Shape:
        y: `[T, B, K]`; lengths: `[B]`; returns float32 `[T, B]`.
    """
    confidence = loss.running(y).float().softmax(-1).amax(-1)
    at = torch.arange(len(y), device=y.device)[:, None].minimum(lengths - 1).clamp(min=0)
    return confidence.gather(0, at)


class CumulativeSpikes(L.Callback):
    """Runs the network on each test batch once more, step by step, and collects its cumulative spikes.

    The test itself gives only sums over time, since its layers may be fused.
    """

    def __init__(self) -> None:
        self._batches: list[np.ndarray] = []

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the array with a row for each recording.

        Shape:
            `test_spikes_so_far`: float64 `[N, T]`, spikes of all layers up to and including the step.
        """
        return {"test_spikes_so_far": np.concatenate(self._batches).cumsum(1, dtype=np.float64)}

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Add a batch."""
        assert isinstance(outputs, Outputs)
        network = pl_module.network
        assert isinstance(network, Network)
        with trainer.precision_plugin.test_step_context():
            spikes = step_spikes(network, outputs.batch.x, lengths=outputs.batch.lengths)
        self._batches.append(spikes.T.cpu().numpy())


class Predictions(L.Callback):
    """Collects the predictions of one pass over a set of recordings.

    Args:
        stage: `val` or `test`, the prefix of the arrays' names.
        groups: Number of the group of each recording of the store, such as its person; None: unknown.

    Shape:
        groups: int64 `[R]`.
    """

    def __init__(self, stage: str, groups: np.ndarray | None = None) -> None:
        self.stage, self.groups = stage, groups
        self._batches: list[dict[str, np.ndarray]] = []

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays, each with a row for each recording, or window of a recording.

        Shape:
            `<stage>_recording` [N], index in the store; `_group` [N], the same number for all recordings of a person or
            another group; `_start_us` [N], start of a window; `_target` [N]; `_readout` [N, K]; `_answers` [N, T],
            answer to the recording cut after that step; `_spikes` [N, L], spikes in each spiking layer;
            `_confidence` [N, T], largest probability of the running readout; `_steps` [N], number of steps.
            For values, which have no confidence, `_target` is [N, K] and `_answers` [N, T, K]; for values at each step,
            `_target` and `_readout` are [N, T, K] without the steps that the loss does not score.
            For labels over time, `_target` is [N, T], -100 for no label, and `_readout` [N, T, K].
        """
        if not self._batches:
            return {}
        return {f"{self.stage}_{k}": np.concatenate([b[k] for b in self._batches]) for k in self._batches[0]}

    def gather_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of all processes, in the order of a single process; all processes have to call it.

        Of P processes, process p reads the recordings p, p + P, p + 2P, ...
        """
        gathered_arrays = all_gather(self.arrays())
        if len(gathered_arrays) == 1 or not gathered_arrays[0]:
            return gathered_arrays[0]
        sizes = [len(arrays[f"{self.stage}_recording"]) for arrays in gathered_arrays]
        positions = np.concatenate([np.arange(size) * len(gathered_arrays) + rank for rank, size in enumerate(sizes)])
        order = np.argsort(positions, kind="stable")
        return {
            name: np.concatenate([arrays[name] for arrays in gathered_arrays])[order] for name in gathered_arrays[0]
        }

    def _add(self, module: SpikingModule, outputs: Outputs) -> None:
        y, counts, batch = outputs
        readout, answers = module.loss.readout(y, batch.lengths), module.loss.answers(y)  # type: ignore[operator]
        over_time, targets = kind_of(batch.targets) in ("steps", "series"), module.loss.readout_targets(batch.targets)  # type: ignore[operator]
        spikes = [n.flatten(1).sum(1) for n in counts.values()]
        confidence = _confidence(module, y, batch.lengths) if kind_of(batch.targets) == "class" else {}
        self._batches.append(
            {
                "recording": (index := batch.index.cpu().numpy()),
                **({} if self.groups is None else {"group": self.groups[index]}),
                **({} if batch.start is None else {"start_us": batch.start.cpu().numpy()}),
                "target": (targets.transpose(0, 1) if over_time else targets).cpu().numpy(),
                "readout": (readout.transpose(0, 1) if over_time else readout).float().cpu().numpy(),
                "answers": _to_numpy(answers.transpose(0, 1)),
                **confidence,
                "spikes": np.stack([n.cpu().numpy() for n in spikes], 1).astype(np.int64)
                if spikes
                else np.zeros((y.shape[1], 0), np.int64),
            }
        )

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Add a batch of the validation recordings."""
        if self.stage == "val":
            self._add(pl_module, outputs)

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Add a batch of the test recordings."""
        if self.stage == "test":
            self._add(pl_module, outputs)


def _confidence(module: SpikingModule, y: Tensor, lengths: Tensor) -> dict[str, np.ndarray]:
    confidence = confidences(module.loss, y, lengths)  # type: ignore[arg-type]
    return {"confidence": confidence.T.cpu().numpy(), "steps": lengths.cpu().numpy()}


def _to_numpy(answers: Tensor) -> np.ndarray:
    return (answers.float() if answers.is_floating_point() else answers.int()).cpu().numpy()


def layer_names(spiking: Mapping[str, tuple[int, ...]]) -> np.ndarray:
    """Return the names of the columns of `<stage>_spikes`."""
    return np.array(list(spiking), dtype=np.str_)


def prediction_metrics(
    targets: np.ndarray, readout: np.ndarray, answers: np.ndarray, names: Sequence[str]
) -> dict[str, Any]:
    """Return the metrics of predictions for `result.json`.

    For classes and for labels over time (without the steps that have no label): `accuracy_of_class` (correct, all),
    `balanced_accuracy`, `confusion`, `accuracy_over_time` (NaN at a step without labels). For values:
    `error_over_time`, the mean absolute error of each value for recordings cut after each step; for values at each
    step, that of this step (NaN for one without score).

    Args:
        targets: Classes, values, or labels over time.
        readout: The final output of the network.
        answers: Its answer at each step.
        names: Names of the classes or values.

    Shape:
        targets: `[N]`, `[N, K]`, `[N, T]` or `[N, T, K]`; readout: `[N, K]` or `[N, T, K]`; answers: `[N, T]` or
        `[N, T, K]`.
    """
    if (kind := kind_of(targets)) in ("value", "series"):
        errors = np.abs(answers - targets[:, None] if kind == "value" else readout - targets).mean(0)
        errors = np.pad(errors, ((answers.shape[1] - len(errors), 0), (0, 0)), constant_values=np.nan)
        return {"error_over_time": {name: errors[:, index].tolist() for index, name in enumerate(names)}}
    has_label = targets != IGNORED
    counts = confusion(targets[has_label], readout.argmax(-1)[has_label], len(names))
    each = targets[:, None] if targets.ndim == 1 else targets
    known = np.broadcast_to(each != IGNORED, answers.shape).sum(0)
    correct = ((answers == each) & (each != IGNORED)).sum(0)
    return {
        "accuracy_of_class": {
            name: [int(counts[index, index]), int(counts[index].sum())] for index, name in enumerate(names)
        },
        "balanced_accuracy": balanced_accuracy(counts),
        "confusion": counts.tolist(),
        "accuracy_over_time": np.where(known > 0, correct / np.maximum(known, 1), np.nan).tolist(),
    }
