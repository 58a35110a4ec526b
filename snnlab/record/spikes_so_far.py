"""How many spikes a network had given to each recording at each step of a test."""

from __future__ import annotations

from typing import Any

import lightning as L
import numpy as np

from snnlab.nn.network import Network
from snnlab.nn.record import step_spikes
from snnlab.training.module import Outputs


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
