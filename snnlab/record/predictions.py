"""predictions.npz: what the chosen network answered to every validation and test recording."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L
import numpy as np
from torch import Tensor

from snnlab.events.targets import kind_of
from snnlab.training.confidence import confidences
from snnlab.training.module import Outputs, SpikingModule
from snnlab.training.processes.team import gathered


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
            spikes in each spiking layer; `_confidence` [N, T], see `snnlab.training.confidence`, and `_steps` [N], how
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
