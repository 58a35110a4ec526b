"""predictions.npz: what the chosen network answered to every recording, and what is found in that.

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
from snnlab.runs.plots.answers import confusion
from snnlab.target_kinds import IGNORED, kind_of
from snnlab.training.distributed import gathered
from snnlab.training.module import Outputs, SpikingModule


def confidences(loss: Loss, y: Tensor, lengths: Tensor) -> Tensor:
    """Return the largest probability of the running readout at each step.

        c[t] = max_k softmax(readout(y[: t + 1]))[k],   by sums that are carried from step to step

    After a sample's last valid step it stays as it was.

    Args:
        loss: What reads the outputs out, as classes.
        y: The network's output.
        lengths: Valid steps of each sample.

    Shape:
        y: `[T, B, K]`; lengths: `[B]`; returns float32 `[T, B]`.
    """
    sure = loss.running(y).float().softmax(-1).amax(-1)
    at = torch.arange(len(y), device=y.device)[:, None].minimum(lengths - 1).clamp(min=0)
    return sure.gather(0, at)


class SpikesSoFar(L.Callback):
    """Lets the network answer to each test batch once more, step by step, and collects its spikes.

    Not on the way of the test itself: there a neuron may do its neighbours' work, and only its sums are known.
    """

    def __init__(self) -> None:
        self._batches: list[np.ndarray] = []

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the array, with a row a recording.

        Shape:
            `test_spikes_so_far`: float64 `[N, T]`, of all layers, those of the step itself too.
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
    """Collects the answers of one pass over a set of recordings.

    Args:
        stage: `val` or `test`, the first part of the arrays' names.
        groups: A number for the group of each recording of the store, such as its person; None: nobody knows.

    Shape:
        groups: int64 `[R]`.
    """

    def __init__(self, stage: str, groups: np.ndarray | None = None) -> None:
        self.stage, self.groups = stage, groups
        self._batches: list[dict[str, np.ndarray]] = []

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays, each with a row a recording, or a window of one.

        Shape:
            `<stage>_recording` [N], its place in the store; `_group` [N], the same number for the recordings of a
            person, or of another group; `_start_us` [N], of windows of recordings; `_target` [N];
            `_readout` [N, K]; `_answers` [N, T], the answer if the recording had ended at that step; `_spikes` [N, L],
            spikes in each spiking layer; `_confidence` [N, T], see `snnlab.runs.predictions`, and `_steps` [N], how
            many the recording has. Of values, which have no confidence, `_target` is [N, K] and `_answers` [N, T, K].
            Of labels over time, `_target` is [N, T], -100 where there is none, and `_readout` [N, T, K].
        """
        if not self._batches:
            return {}
        return {f"{self.stage}_{k}": np.concatenate([b[k] for b in self._batches]) for k in self._batches[0]}

    def of_all(self) -> dict[str, np.ndarray]:
        """Return the arrays of all processes, see `arrays`, in the order in which one process has them.

        Each process reads every so manieth recording; all have to ask.
        """
        shares = gathered(self.arrays())
        if len(shares) == 1 or not shares[0]:
            return shares[0]
        sizes = [len(share[f"{self.stage}_recording"]) for share in shares]
        turns = np.concatenate([np.arange(size) * len(shares) + rank for rank, size in enumerate(sizes)])
        order = np.argsort(turns, kind="stable")
        return {name: np.concatenate([share[name] for share in shares])[order] for name in shares[0]}

    def _add(self, module: SpikingModule, outputs: Outputs) -> None:
        y, counts, batch = outputs
        readout, answers = module.loss.readout(y, batch.lengths), module.loss.answers(y)  # type: ignore[operator]
        over_time = kind_of(batch.targets) == "steps"
        spikes = [n.flatten(1).sum(1) for n in counts.values()]
        sure = _confidence(module, y, batch.lengths) if kind_of(batch.targets) == "class" else {}
        self._batches.append(
            {
                "recording": (index := batch.index.cpu().numpy()),
                **({} if self.groups is None else {"group": self.groups[index]}),
                **({} if batch.start is None else {"start_us": batch.start.cpu().numpy()}),
                "target": (batch.targets.T if over_time else batch.targets).cpu().numpy(),
                "readout": (readout.transpose(0, 1) if over_time else readout).float().cpu().numpy(),
                "answers": _plain(answers.transpose(0, 1)),
                **sure,
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
    sure = confidences(module.loss, y, lengths)  # type: ignore[arg-type]
    return {"confidence": sure.T.cpu().numpy(), "steps": lengths.cpu().numpy()}


def _plain(answers: Tensor) -> np.ndarray:
    return (answers.float() if answers.is_floating_point() else answers.int()).cpu().numpy()


def layer_names(spiking: Mapping[str, tuple[int, ...]]) -> np.ndarray:
    """Return the names of the columns of `<stage>_spikes`."""
    return np.array(list(spiking), dtype=np.str_)


def findings(targets: np.ndarray, readout: np.ndarray, answers: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Return what `result.json` says of the answers.

    Of classes, and labels over time, where steps without a label count for nothing: `accuracy_of_class` (right, all),
    `confusion`, `accuracy_over_time` (NaN at a step without labels). Of values: `error_over_time`, of each the mean
    absolute error if recordings had ended at each step.

    Args:
        targets: Classes, values, or labels over time.
        readout: What the network answers in the end.
        answers: What it answers at each step.
        names: What classes or values are called.

    Shape:
        targets: `[N]`, `[N, K]` or `[N, T]`; readout: `[N, K]` or `[N, T, K]`; answers: `[N, T]` or `[N, T, K]`.
    """
    if kind_of(targets) == "value":
        errors = np.abs(answers - targets[:, None]).mean(0)
        return {"error_over_time": {name: errors[:, place].tolist() for place, name in enumerate(names)}}
    labelled = targets != IGNORED
    counts = confusion(targets[labelled], readout.argmax(-1)[labelled], len(names))
    each = targets[:, None] if targets.ndim == 1 else targets
    known = np.broadcast_to(each != IGNORED, answers.shape).sum(0)
    right = ((answers == each) & (each != IGNORED)).sum(0)
    return {
        "accuracy_of_class": {
            name: [int(counts[place, place]), int(counts[place].sum())] for place, name in enumerate(names)
        },
        "confusion": counts.tolist(),
        "accuracy_over_time": np.where(known > 0, right / np.maximum(known, 1), np.nan).tolist(),
    }
